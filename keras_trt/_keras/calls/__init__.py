"""What happens while a model's layers are called: listening, and what they are told by their callers."""
