"""A TensorFlow graph to ONNX, through tf2onnx."""
