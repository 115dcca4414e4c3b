"""What a bundle holds, for people."""
