"""Whole channels: which live together, which go, and the model without them."""
