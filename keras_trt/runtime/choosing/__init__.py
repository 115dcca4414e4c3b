"""What runs a bundle here: a plan that fits or is built, or the ONNX file, and whether it is right."""
