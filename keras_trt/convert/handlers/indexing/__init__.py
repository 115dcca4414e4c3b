"""Operators that move, pick or place elements."""
