"""Operators on single numbers."""
