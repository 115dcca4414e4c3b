"""Runs the ONNX file on the CPU with OpenVINO, the default where no GPU is."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_trt._machine import deps
from keras_trt.bundle.read import Bundle
from keras_trt.errors import RunnerError
from keras_trt.runtime.runners.lifetime import check_process
from keras_trt.runtime.runners.openvino.model import repair
from keras_trt.runtime.runners.openvino.profile import executed_nodes
from keras_trt.runtime.runners.openvino.read import read
from keras_trt.runtime.runners.runner import Executed, Runner

_NO_MEMORY = ("allocate", "bad_alloc")


class OpenVINORunner(Runner):
    """OpenVINO on the CPU. int8 Q/DQ runs in int8, floats in float32.

    Args:
        bundle: What to run.
        low_precision: False computes int8 layers in float32, rounded as the graph says: slower, and right
            where OpenVINO's int8 transformations are not.
    """

    name = "openvino"

    def __init__(self, bundle: Bundle, *, low_precision: bool = True) -> None:
        super().__init__(bundle.manifest)
        self._bundle, self._low_precision = bundle, low_precision
        self._compiled: Any = self._opened()
        # An infer request serves one call at a time. Thread-local ones would die with TensorFlow's threads,
        # inside Python's clean-up of the thread, which crashes the process.
        self._idle: list[Any] = []
        self._opening = threading.Lock()

    def _opened(self, **more: str) -> Any:
        """A compiled model, with more options."""
        openvino = deps.require("openvino", install="keras-trt[openvino]", why="runner='openvino'")
        check_process("openvino")
        options = {
            "INFERENCE_PRECISION_HINT": "f32",  # else it computes in bfloat16 on CPUs with AMX, with an error
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",  # else it rounds activations where only weights are int8
            "PERFORMANCE_HINT": "LATENCY",
            **more,
        }
        try:
            core = openvino.Core()
            model = read(core, openvino, self._bundle.onnx_path)
            repair(model, openvino)
            if not self._low_precision:
                options["LP_TRANSFORMS_MODE"] = "NO"  # int8 rounding, float arithmetic
            return core.compile_model(model, "CPU", options)
        except RuntimeError as e:
            raise RunnerError(
                f"OpenVINO cannot load `{self._bundle.onnx_path}`: {_shortened(e)} "
                "ONNX Runtime may: load it with runner='onnxruntime'."
            ) from e

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:  # noqa: D102
        with self.lifetime.use():
            return self._run(feeds)

    def _run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        try:
            compiled, request = self._request()
            request.infer(dict(feeds), share_inputs=True)
            # By position: OpenVINO merges equal nodes, and one of two outputs loses its name.
            arrays = [np.array(request.get_output_tensor(i).data) for i in range(len(self.outputs))]
        except RuntimeError as e:
            if any(word in str(e) for word in _NO_MEMORY):
                self._forget()
            shapes = {name: array.shape for name, array in feeds.items()}
            raise RunnerError(f"OpenVINO failed on inputs of shapes {shapes}: {_shortened(e)}") from e
        if compiled is self._compiled:
            self._idle.append(request)
        return dict(zip((spec.name for spec in self.outputs), arrays, strict=True))

    def _request(self) -> tuple[Any, Any]:
        """The compiled model, and a request of it that no other thread uses."""
        with self._opening:
            if self._compiled is None:
                self._compiled = self._opened()
            return self._compiled, self._idle.pop() if self._idle else self._compiled.create_infer_request()

    def _forget(self) -> None:
        """Drops a model that was refused memory: its requests ask for that again, whatever they are fed."""
        with self._opening:
            self._idle.clear()
            self._compiled = None

    def executed(self, feeds: Mapping[str, np.ndarray], calls: int) -> list[Executed]:
        """From OpenVINO's counters, in a model compiled for it."""
        with self.lifetime.use():
            return executed_nodes(self._opened(PERF_COUNT="YES"), feeds, calls)

    def close(self) -> None:
        """Frees the weights and the threads."""
        if self.lifetime.end():
            self._idle.clear()
            self._compiled = None


def _shortened(error: Exception, limit: int = 300) -> str:
    """The end of OpenVINO's text, which says what is wrong; before it stand lines of its own source files."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[-1] if lines else type(error).__name__
    return text if len(text) <= limit else f"{text[:limit]} ..."
