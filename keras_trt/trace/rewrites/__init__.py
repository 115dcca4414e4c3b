"""What a traced graph is simplified by, before it is converted."""
