"""What TensorRT takes, and in which types it computes."""
