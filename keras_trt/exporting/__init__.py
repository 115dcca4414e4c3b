"""A Keras model to a checked ONNX file and a bundle: trace, tf2onnx, passes, checks."""
