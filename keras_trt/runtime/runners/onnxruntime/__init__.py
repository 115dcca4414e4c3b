"""The ONNX file by ONNX Runtime, on a CPU or by its providers for GPUs."""
