"""Rows to compare on."""
