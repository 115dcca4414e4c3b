"""Keras beside a runner: on probe rows, layer by layer, and on a user's data."""
