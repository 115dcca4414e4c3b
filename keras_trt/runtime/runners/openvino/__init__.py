"""The ONNX file by OpenVINO, on a CPU."""
