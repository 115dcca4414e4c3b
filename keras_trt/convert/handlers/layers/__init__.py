"""Operators that are whole layers."""
