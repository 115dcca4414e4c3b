"""Passes on the order of axes."""
