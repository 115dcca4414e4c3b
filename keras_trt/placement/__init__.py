"""Where quantisers go, and which number formats they take: TensorRT's rules as pure functions."""
