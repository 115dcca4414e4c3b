"""Layers that are traced in another way than Keras calls them."""
