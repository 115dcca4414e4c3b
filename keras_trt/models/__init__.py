"""Whole models: what was done to them, their plain form, and their way to disk and back."""
