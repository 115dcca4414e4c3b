"""Exports a model of JAX or PyTorch in a process of its own, where Keras runs on TensorFlow."""
