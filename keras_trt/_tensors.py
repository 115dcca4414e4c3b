"""What a model takes and returns: named tensors, with the same words for Keras, ONNX and runners."""

from __future__ import annotations

from dataclasses import dataclass

BATCH_AXIS = "batch"


@dataclass(frozen=True)
class TensorSpec:
    """One input or output.

    Attributes:
        name: The name that Keras shows, which is the graph's.
        shape: One entry an axis: its size, or the name of a dynamic axis; the batch axis is `"batch"`.
        dtype: The numpy name of the element type, e.g. `"float32"`, or `"bfloat16"`.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: str
