"""Passes that make one operator of two."""
