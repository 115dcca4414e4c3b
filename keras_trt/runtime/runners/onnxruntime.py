"""Runs the ONNX file on the CPU with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from keras_trt import _deps
from keras_trt._formats import FOR_CPUS, rounds_in_bfloat16
from keras_trt.bundle.read import Bundle
from keras_trt.errors import RunnerError
from keras_trt.runtime.runners.runner import Runner
from keras_trt.runtime.runners.saturation import saturates


class ONNXRuntimeRunner(Runner):
    """ONNX Runtime's CPU provider. Right, but no faster with int8 placed the way TensorRT wants it.

    Args:
        bundle: What to run.
        optimize: False runs the file as it is written, node by node.
    """

    name = "onnxruntime"

    def __init__(self, bundle: Bundle, *, optimize: bool = True) -> None:
        super().__init__(bundle.manifest)
        ort = _deps.require("onnxruntime", install="keras-trt[onnxruntime]", why="runner='onnxruntime'")
        options = ort.SessionOptions()
        options.log_severity_level = 4  # its errors come as exceptions
        if saturates():  # then int8 becomes uint8, which fails on a quantiser or weight with several readers
            options.add_session_config_entry("session.x64quantprecision", "1")
        if not optimize:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
            # Else it makes floats of all layers' weights at once, and keeps the memory.
            options.execution_order = ort.ExecutionOrder.PRIORITY_BASED
            options.enable_cpu_mem_arena = False
        try:
            self._session = ort.InferenceSession(
                str(bundle.onnx_path),
                options,
                providers=["CPUExecutionProvider"],
                # The first takes zeros around a MaxPool for the pool's own padding, which is -inf (1.31,
                # ResNetV2); the second rounds the biases of int8 layers, which the graph does not.
                disabled_optimizers=[
                    "Pad_Fusion",
                    "WeightBiasQuantization",
                    "ReluQuantRewrite",  # these two drop the ReLU before an fp8 quantiser (1.32)
                    "ClipQuantRewrite",
                ],
            )
        except Exception as e:  # its exception classes share no base but Exception
            way_out = f" {FOR_CPUS}" if rounds_in_bfloat16(bundle.manifest.precision) else ""
            raise RunnerError(f"ONNX Runtime cannot load `{bundle.onnx_path}`: {e}{way_out}") from e

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:  # noqa: D102
        names = [spec.name for spec in self.outputs]
        try:
            return dict(zip(names, self._session.run(names, dict(feeds)), strict=True))
        except Exception as e:
            shapes = {name: array.shape for name, array in feeds.items()}
            raise RunnerError(f"ONNX Runtime failed on inputs of shapes {shapes}: {e}") from e
