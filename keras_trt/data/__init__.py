"""What Keras users call data, as batches."""
