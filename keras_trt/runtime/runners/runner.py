"""What every runner does: take named arrays, return named arrays."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType

import numpy as np

from keras_trt._base.tensors import TensorSpec, fixed_batch
from keras_trt.bundle.manifest import Manifest
from keras_trt.errors import RunnerError
from keras_trt.runtime.runners.lifetime import Lifetime
from keras_trt.runtime.runners.tensorrt.device_array import DeviceArray


class ProfileError(RunnerError):
    """The engine was not built for inputs of these sizes."""


@dataclass(frozen=True)
class Executed:
    """One operator that a runner executed.

    Attributes:
        name: The graph's node, or several behind commas.
        operator: The runner's own word for it.
        type: What it computes in, in the runner's word.
        seconds: The median over the calls.
    """

    name: str
    operator: str
    type: str
    seconds: float


class Runner(ABC):
    """Runs one model. To add a runner, subclass this and pass an instance to `EngineModel`.

    Attributes:
        name: e.g. `"openvino"`.
        reason: Why this runner was chosen; one sentence, or empty.
        inputs: The graph's inputs.
        outputs: The graph's outputs.
        batch_range: The smallest and largest batch one `run` takes; None means no limit.
        precision: What it computes in where that is not what the bundle's graph carries; else None.
        lifetime: Of its use: `with runner.lifetime.use()` around calls of `run` holds off `close`.
    """

    name: str
    reason: str = ""
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    batch_range: tuple[int, int | None]
    precision: str | None = None
    lifetime: Lifetime

    def __new__(cls, *_: object, **__: object) -> Runner:
        """Gives each its lifetime, also where a subclass has an `__init__` of its own."""
        made = super().__new__(cls)
        made.lifetime = Lifetime()
        return made

    def __init__(self, manifest: Manifest) -> None:
        self.inputs, self.outputs = manifest.inputs, manifest.outputs
        fixed = fixed_batch(manifest.inputs)
        self.batch_range = (1, None) if fixed is None else (fixed, fixed)

    @abstractmethod
    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs one batch.

        Args:
            feeds: One C-contiguous array per input, in the shape and dtype of its spec.

        Returns:
            One array per output, owned by the caller.

        Raises:
            RunnerError: The engine failed.
        """

    def run_many(
        self, batches: Iterable[Mapping[str, np.ndarray]]
    ) -> Generator[dict[str, np.ndarray], None, None]:
        """Runs batches in order. A runner on another device may take a few ahead, to copy while it computes.

        Args:
            batches: The feeds of `run`, batch by batch.

        Yields:
            The results of `run`, in the same order.

        Raises:
            RunnerError: The engine failed at a batch; those before it may be lost, the runner stays whole.
        """
        for feeds in batches:
            yield self.run(feeds)

    def run_on_device(self, feeds: Mapping[str, object]) -> dict[str, DeviceArray]:
        """Runs one batch, and leaves the results on the GPU.

        Raises:
            RunnerError: This runner computes on the CPU, or the engine failed.
        """
        raise RunnerError(f"{self.name} computes on the CPU: it has no results on a GPU.")

    def device_array(self, value: object) -> DeviceArray | None:
        """An array on this runner's GPU as one that it takes, without a copy; None for any other object.

        Raises:
            InputError: An array on a GPU that cannot be taken so.
        """
        return None

    def batch_for(self, rows: int) -> int:
        """The smallest batch of at least so many rows that it takes; `rows` are at most the largest."""
        return max(rows, self.batch_range[0])

    def executed(self, feeds: Mapping[str, np.ndarray], calls: int) -> list[Executed]:
        """Every operator that is executed for a batch, in order; made ready for it anew, so it takes a while.

        Raises:
            RunnerError: This runner does not tell, or failed.
        """
        raise RunnerError(
            f"The runner {self.name!r} does not tell what it executes. "
            "Load the bundle with runner='openvino' or runner='onnxruntime'."
        )

    def close(self) -> None:
        """Waits for calls under way, then frees memory and threads. The runner cannot run afterwards.

        Raises:
            RunnerError: Called from inside such a call.
        """
        self.lifetime.end()

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.reason!r})" if self.reason else f"{type(self).__name__}()"


def explained(runner: Runner, reason: str) -> Runner:
    """A runner that says why it was taken."""
    runner.reason = reason
    return runner
