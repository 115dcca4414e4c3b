"""What a pruned variable holds: zero where it is pruned, and nowhere else.

Files and checkpoints hold no masks, only zeros. But training brings weights to exactly 0, too (`NonNeg`,
Ftrl, inputs that are always 0), and such a weight must be free to come back after the file has been read.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np

from keras_trt._keras.types import Tensor


def pruned(ops: ModuleType, value: Tensor | np.ndarray, mask: Tensor | np.ndarray) -> Tensor:
    """A tensor's values under a mask.

    Args:
        ops: The operators of their backend.
        value: Floats of any shape.
        mask: Boolean, of the same shape, False where pruned.

    Returns:
        Zero where pruned. A zero elsewhere becomes a number too small to count in any sum.
    """
    value, mask = ops.convert_to_tensor(value), ops.convert_to_tensor(mask)
    # Well above the smallest float32, which averaging would take to 0; float16 holds no less than its value.
    least = ops.constant(6e-8 if ops.dtype_name(value) == "float16" else 1e-30, value.dtype)
    return ops.where(mask, ops.where(value == 0, least, value), ops.zeros_like(value))
