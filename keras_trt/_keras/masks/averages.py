"""Pruned weights are zero in their moving averages, too (`use_ema=True`).

Both Kerases update the averages of weights before they apply constraints, so what an optimiser step adds to
a masked weight would stay in its average, and come back where averages are written over the weights.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from keras_trt._base.private import private
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.masks.noted import noted_mask
from keras_trt._keras.masks.values import pruned
from keras_trt._keras.types import Tensor
from keras_trt._machine.process import alone

_METHOD = "_update_model_variables_moving_average"


def mask_averages(flavor: Flavor) -> None:
    """Teaches the optimizers of one Keras, once, to apply masks to averages."""
    private(flavor.keras.optimizers.Optimizer, _METHOD, flavor.keras.__name__)
    with alone():
        _mask_averages(flavor)


def _mask_averages(flavor: Flavor) -> None:
    keras = flavor.keras
    owner = next(cls for cls in keras.optimizers.Optimizer.__mro__ if _METHOD in vars(cls))
    original = vars(owner)[_METHOD]
    if hasattr(original, "__wrapped__"):
        return

    @functools.wraps(original)
    def update(self: Any, variables: Any) -> None:
        variables = list(variables)
        original(self, variables)
        for variable, average in _averages(keras.__name__, self, variables):
            mask = noted_mask(variable)
            if mask is None:
                mask = getattr(getattr(variable, "constraint", None), "mask_for", lambda _: None)(variable)
            if mask is not None:
                _apply(flavor, average, mask)

    setattr(owner, _METHOD, update)


def _averages(package: str, optimizer: Any, variables: list[Any]) -> Iterator[tuple[Any, Any]]:
    """Variables with their averages, which tf_keras looks up by a number and Keras 3 lists in order."""
    if not optimizer.use_ema:
        return
    averages = private(optimizer, "_model_variables_moving_average", package)
    numbers = private(optimizer, "_index_dict", package) if package == "tf_keras" else None
    for i, variable in enumerate(variables):
        average = averages[i if numbers is None else numbers[optimizer._var_key(variable)]]
        if average is not None:
            yield variable, average


def _apply(flavor: Flavor, average: Any, mask: Any) -> None:
    def masked(average: Any, mask: Any) -> Tensor:
        return average.assign(pruned(flavor.ops, average, mask))

    if not flavor.has_graphs:
        masked(average, mask)
        return
    tf = flavor.tf
    if tf.distribute.has_strategy() and tf.distribute.in_cross_replica_context():
        raw = getattr(average, "value", None)
        raw = average if raw is None or callable(raw) else raw
        tf.distribute.get_strategy().extended.update(raw, masked, args=(mask,), group=False)
    else:
        masked(average, mask)
