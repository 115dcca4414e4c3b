"""Runs the ONNX file with ONNX Runtime."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_trt._base.formats import is_quantized
from keras_trt._machine import deps
from keras_trt.bundle.read import Bundle
from keras_trt.errors import MissingDependencyError, RunnerError
from keras_trt.runtime.runners.lifetime import check_process
from keras_trt.runtime.runners.onnxruntime.model import cpu_model, weights_folder
from keras_trt.runtime.runners.onnxruntime.profile import executed_nodes
from keras_trt.runtime.runners.runner import Executed, Runner

PROVIDERS = {
    "onnxruntime": "CPUExecutionProvider",
    "onnxruntime-cuda": "CUDAExecutionProvider",
    "onnxruntime-tensorrt": "TensorrtExecutionProvider",
}
"""What each runner of ONNX Runtime computes with."""

_WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"


class ONNXRuntimeRunner(Runner):
    """ONNX Runtime with one of its execution providers; what a provider on a GPU lacks, the CPU computes.

    Args:
        bundle: What to run.
        low_precision: False computes int8 layers in float32, rounded as the graph says.
        optimize: False runs the file as it is written, node by node.
        name: One of `PROVIDERS`.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        low_precision: bool = True,
        optimize: bool = True,
        name: str = "onnxruntime",
    ) -> None:
        super().__init__(bundle.manifest)
        self.name = name
        self._bundle, self._low_precision, self._optimize = bundle, low_precision, optimize
        self._session: Any = self._opened()

    def _opened(self, profile: Path | None = None) -> Any:
        """A session; with a profile, its times go into a file of that name's beginning."""
        ort = deps.require("onnxruntime", install="keras-trt[onnxruntime]", why=f"runner={self.name!r}")
        providers = _providers(ort, self.name)
        check_process("onnxruntime")
        bundle, int8 = self._bundle, self._low_precision and self._optimize
        # The first takes zeros around a MaxPool for the pool's own padding, which is -inf (1.31, ResNetV2);
        # the second rounds the biases of int8 layers, which the graph does not; the next two drop the ReLU
        # before an fp8 quantiser (1.32).
        disabled = ["Pad_Fusion", "WeightBiasQuantization", "ReluQuantRewrite", "ClipQuantRewrite"]
        if is_quantized(bundle.manifest.precision):
            disabled.append("MatMulAddFusion")  # hides a Dense with a bias from the search for int8 kernels
        options = self._options(ort, int8, profile)
        try:
            model = cpu_model(bundle, int8=int8) if self.name == "onnxruntime" else str(bundle.onnx_path)
            if isinstance(model, bytes):  # a graph without a place of its own
                options.add_session_config_entry(_WEIGHTS_FOLDER, str(weights_folder(bundle)))
            session = ort.InferenceSession(
                model,
                options,
                providers=providers,
                disabled_optimizers=disabled,
            )
        except Exception as e:  # its exception classes share no base but Exception
            raise RunnerError(f"ONNX Runtime cannot load `{bundle.onnx_path}`: {e}") from e
        if session.get_providers()[0] != providers[0]:  # it falls back to the CPU without an error
            raise RunnerError(
                f"ONNX Runtime could not start its {providers[0]}, e.g. for want of CUDA's libraries or of a "
                f"GPU. Received: {session.get_providers()}. Use runner='onnxruntime' to run on the CPU."
            )
        return session

    def _options(self, ort: Any, int8: bool, profile: Path | None) -> Any:
        options = ort.SessionOptions()
        options.log_severity_level = 4  # its errors come as exceptions
        if profile is not None:
            options.enable_profiling, options.profile_file_prefix = True, str(profile)
        # Else it looks for int8 kernels, of which CUDA has none, and unpacks weights at each call. TensorRT
        # wants the pairs as they are.
        if self.name == "onnxruntime-cuda" or not int8:
            options.add_session_config_entry("session.disable_quant_qdq", "1")
        if not self._optimize:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
            # Else it makes floats of all layers' weights at once, and keeps the memory.
            options.execution_order = ort.ExecutionOrder.PRIORITY_BASED
            options.enable_cpu_mem_arena = False
        return options

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:  # noqa: D102
        names = [spec.name for spec in self.outputs]
        with self.lifetime.use():
            return self._run(names, feeds)

    def _run(self, names: list[str], feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        try:
            return dict(zip(names, self._session.run(names, dict(feeds)), strict=True))
        except Exception as e:
            shapes = {name: array.shape for name, array in feeds.items()}
            raise RunnerError(f"ONNX Runtime failed on inputs of shapes {shapes}: {e}") from e

    def executed(self, feeds: Mapping[str, np.ndarray], calls: int) -> list[Executed]:
        """From ONNX Runtime's own profiler, in a session of its own."""
        with self.lifetime.use(), tempfile.TemporaryDirectory() as folder:
            session = self._opened(Path(folder) / "profile")
            for _ in range(calls + 1):  # the first one sets up
                session.run(None, dict(feeds))
            events = json.loads(Path(session.end_profiling()).read_text())
        return executed_nodes(events)

    def close(self) -> None:
        """Frees the weights and the threads."""
        if self.lifetime.end():
            self._session = None


def _providers(ort: Any, name: str) -> list[str]:
    """The provider of a runner, and the CPU's for what it lacks.

    Raises:
        MissingDependencyError: The ONNX Runtime that is installed was built without it.
    """
    wanted, available = PROVIDERS[name], ort.get_available_providers()
    if wanted not in available:
        raise MissingDependencyError(
            f"runner={name!r} needs ONNX Runtime's {wanted}. Received: available are {available}. "
            "Install it with: pip uninstall onnxruntime; pip install onnxruntime-gpu"
        )
    return list(dict.fromkeys([wanted, PROVIDERS["onnxruntime"]]))
