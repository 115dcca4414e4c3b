"""Which variables of a model are pruned, and the mask that each one gets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from keras_trt._keras.flavor import Flavor
from keras_trt._keras.kernels import Kernel, is_depthwise
from keras_trt._keras.masks import masking
from keras_trt._keras.select import located, selected
from keras_trt._keras.types import Choices, Model
from keras_trt.errors import InputError, ModelError
from keras_trt.prune.masks import threshold_mask
from keras_trt.prune.pattern import Pattern


class Weight(NamedTuple):
    """One variable that is to be pruned."""

    path: str
    layer: Any
    kernel: Kernel
    variable: Any

    @property
    def name(self) -> str:
        """`path.kernel`, unique in the model."""
        return f"{self.path}.{self.kernel.name}"


def find_weights(
    flavor: Flavor, model: Model, pattern: Pattern, only: Choices | None, skip: Choices
) -> list[Weight]:
    """The variables that `prune_model` prunes.

    Raises:
        ModelError: There is none.
    """
    chosen = [weight for weight, reason in examine(flavor, model, pattern, only, skip) if reason is None]
    if not chosen:
        reasons = [
            f"{w.path}: {reason}" for w, reason in examine(flavor, model, pattern, only, skip) if reason
        ]
        listed = "\n  ".join(reasons[:10]) or "it has no layer with weights that can be pruned"
        raise ModelError(f"Nothing to prune in model {model.name!r}:\n  {listed}")
    return chosen


def examine(
    flavor: Flavor, model: Model, pattern: Pattern, only: Choices | None, skip: Choices
) -> Iterator[tuple[Weight, str | None]]:
    """Every weight variable of a model with the reason why it is not pruned, or None."""
    only, skip = (located(flavor, model, choice) for choice in (only, skip))
    for path, layer, kernel, variable in masking.weights_in(flavor, model):
        weight = Weight(path, layer, kernel, variable)
        if not selected(path, layer, only, skip):
            yield weight, "not selected"
        elif only is None and is_depthwise(kernel):
            yield weight, "depthwise kernels and embeddings are pruned only when named in `only`"
        else:
            yield weight, pattern.unfit(tuple(variable.shape), kernel, by_hand=only is not None)


def new_mask(weight: Weight, pattern: Pattern, sparsity: float | None, threshold: float | None) -> np.ndarray:
    """The mask (False where pruned) for one variable as it is now.

    Raises:
        ModelError: The weights hold NaN or infinity.
        InputError: `threshold` would leave nothing.
    """
    values = masking.value_of(weight.variable).astype(np.float32, copy=False)
    if not np.isfinite(values).all():
        raise ModelError(
            f"The weights of layer {weight.path!r} ({weight.kernel.name}) hold NaN or infinity, so their "
            "magnitudes say nothing. Load finite weights before pruning."
        )
    if threshold is None:
        return pattern.mask(values, weight.kernel, sparsity or 0.0)
    mask = threshold_mask(values, threshold)
    if not mask.any():
        largest = float(np.abs(values).max() / np.std(values, dtype=np.float64))
        raise InputError(
            f"`threshold={threshold:g}` would zero all of layer {weight.path!r} ({weight.kernel.name}): its "
            f"largest weight is {largest:.3g} standard deviations. Lower it, or pass skip={weight.path!r}."
        )
    return mask
