"""Pruning masks in the training graph."""
