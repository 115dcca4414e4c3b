"""A model as one frozen TensorFlow graph, with its weights beside it."""
