"""How the ONNX file of a bundle can run without an engine, fastest way first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from keras_trt._base.formats import is_quantized
from keras_trt._machine import deps
from keras_trt.bundle.manifest import Manifest
from keras_trt.bundle.read import Bundle
from keras_trt.runtime.runners.onnxruntime.runner import PROVIDERS, ONNXRuntimeRunner
from keras_trt.runtime.runners.openvino.runner import OpenVINORunner
from keras_trt.runtime.runners.runner import Runner
from keras_trt.runtime.runners.saturation import saturates

CPU_RUNNERS: dict[str, Callable[[Bundle], Runner]] = {
    "openvino": OpenVINORunner,
    "onnxruntime": ONNXRuntimeRunner,
}
ONNX_RUNNERS: dict[str, Callable[[Bundle], Runner]] = {
    **CPU_RUNNERS,
    **{name: partial(ONNXRuntimeRunner, name=name) for name in PROVIDERS if name not in CPU_RUNNERS},
}
"""All that run the ONNX file, by name; those on a GPU only where they are asked for."""


@dataclass(frozen=True)
class Setting:
    """One way to run a bundle.

    Attributes:
        name: The runner's, e.g. `"openvino"`.
        make: Makes the runner of a bundle.
        without: What of the runner's is switched off, for people; empty in its fastest setting.
    """

    name: str
    make: Callable[[Bundle], Runner]
    without: str = ""

    def __str__(self) -> str:
        return f"{self.name} without {self.without}" if self.without else self.name


_INT8 = "its int8 arithmetic"
_SETTINGS = (
    Setting("openvino", OpenVINORunner),
    Setting("openvino", partial(OpenVINORunner, low_precision=False), _INT8),
    Setting("onnxruntime", ONNXRuntimeRunner),
    Setting("onnxruntime", partial(ONNXRuntimeRunner, low_precision=False), _INT8),
    Setting("onnxruntime", partial(ONNXRuntimeRunner, optimize=False), "its optimisations"),
)

REFERENCE = _SETTINGS[-1]
"""The one that does what the file says, node by node."""

FAITHFUL_FIRST = (REFERENCE.name, *(name for name in CPU_RUNNERS if name != REFERENCE.name))
"""The runners on the CPU in the order in which their numbers are trusted, not that of their speed."""

INSTALL = f"pip install {next(iter(CPU_RUNNERS))}"
"""What brings the fastest of them."""


def settings(manifest: Manifest, names: tuple[str, ...] = tuple(CPU_RUNNERS)) -> Iterator[Setting]:
    """The ways to run a bundle with the packages that are installed, fastest first."""
    left_out: str | None = _INT8  # in float it is the fastest again
    if is_quantized(manifest.precision):
        left_out = "" if saturates() else None
    asked_for = (Setting(name, ONNX_RUNNERS[name]) for name in names if name not in CPU_RUNNERS)
    for setting in (*_SETTINGS, *asked_for):
        left = setting.name in CPU_RUNNERS and setting.without == left_out
        if setting.name in names and installed(setting.name) and not left:
            yield setting


def installed(name: str) -> bool:
    """Whether the package of a runner is; `onnxruntime-cuda` is one of `onnxruntime`."""
    return deps.available(name.partition("-")[0])
