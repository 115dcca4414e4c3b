"""Plans on a GPU: TensorRT, its lean runtime, TensorRT-RTX."""
