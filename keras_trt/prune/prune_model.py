"""`prune_model`: a copy of a model whose smallest weights are zero and stay zero."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from keras_trt._keras import masking
from keras_trt._keras.flavor import Flavor, check_model
from keras_trt._keras.kernels import Kernel, is_depthwise
from keras_trt._keras.select import check_choices, selected
from keras_trt.errors import InputError, ModelError
from keras_trt.prune.masks import threshold_mask
from keras_trt.prune.pattern import NofM, Pattern, parse_pattern


class Weight(NamedTuple):
    """One variable that is to be pruned."""

    path: str
    layer: Any
    kernel: Kernel
    variable: Any


def prune_model(
    model: Any,
    sparsity: float | None = None,
    *,
    threshold: float | None = None,
    pattern: Any = "unstructured",
    pooling: str = "avg",
    only: Any = None,
    skip: Any = (),
) -> Any:
    """A copy of a model with its smallest weights set to zero; training keeps them there.

    The masks are constraints on the weight variables: no wrapper layer, no callback, the same
    `summary()` and weight names. Pruning a pruned model adds to its zeros. Without `only`, the weights
    of Dense, EinsumDense, convolution and recurrent layers are pruned; depthwise kernels (one input
    channel, little to gain) and embeddings are left alone.

    Args:
        model: A built Keras 3 or tf_keras model, quantised or not. It is not changed.
        sparsity: Fraction of each layer's weights that becomes zero, in [0, 1). Follows from the
            pattern for `"n:m"`.
        threshold: Instead of `sparsity`: weights with |w| < threshold * std(w), of their own layer,
            become zero (Han et al. 2015).
        pattern: `"unstructured"`; `"2:4"` or any `"n:m"` (n of every m consecutive input channels
            stay); or (rows, cols) blocks of the (inputs, outputs) matrix.
        pooling: What makes a block important, `"avg"` or `"max"` of its magnitudes.
        only: Prune only these layers: names, classes, regular expression or callable.
        skip: Leave these layers as they are.

    Returns:
        A new, uncompiled model of the same Keras.

    Raises:
        InputError: An argument is out of range, matches no layer, or would zero a whole layer.
        ModelError: The model is not built, its weights are not finite, or it has nothing to prune.

    Example:
        >>> pruned = keras_trt.prune_model(model, sparsity=0.8)
        >>> pruned.compile("adam", "categorical_crossentropy"); pruned.fit(x, y)
    """
    shape = parse_pattern(pattern, pooling)
    sparsity = check_amount(sparsity, threshold, shape)
    flavor = check_model(model)
    check_choices(flavor.walk(model), only, skip)
    for weight in find_weights(flavor, model, shape, only, skip):  # before anything is copied
        new_mask(weight, shape, sparsity, threshold)
    copy = masking.rebind(flavor.clone(model))
    info = {"pattern": shape.name, "sparsity": sparsity, "threshold": threshold}
    for weight in find_weights(flavor, copy, shape, only, skip):
        mask = new_mask(weight, shape, sparsity, threshold)
        old = masking.mask_of(flavor, weight.variable)
        masking.set_mask(flavor, weight.layer, weight.kernel, mask if old is None else mask & old, info)
    masking.mark_containers(flavor, copy)
    return copy


def check_amount(sparsity: float | None, threshold: float | None, pattern: Pattern) -> float | None:
    """The sparsity to use, after checking that the arguments say one thing.

    Raises:
        InputError: Neither or both are given, or one is out of range.
    """
    if threshold is not None:
        if sparsity is not None or isinstance(pattern, NofM) or pattern.name != "unstructured":
            raise InputError(
                "`threshold` decides weight by weight: it goes with neither `sparsity` nor a pattern. "
                f"Received: sparsity={sparsity}, threshold={threshold}, pattern={pattern.name!r}"
            )
        if not (math.isfinite(threshold) and threshold >= 0):
            raise InputError(f"`threshold` must be a number >= 0. Received: threshold={threshold}")
        return None
    if isinstance(pattern, NofM):
        implied = 1 - pattern.n / pattern.m
        if sparsity is not None and abs(sparsity - implied) > 1e-6:
            raise InputError(
                f"Pattern {pattern.name!r} means a sparsity of {implied:g}; leave `sparsity` out. "
                f"Received: sparsity={sparsity}"
            )
        return implied
    if sparsity is None:
        raise InputError(
            "Say how much to prune: `sparsity=0.8` (fraction of zeros) or `threshold=0.5` (times the "
            "standard deviation of each layer). Received: neither"
        )
    if not 0 <= sparsity < 1:
        raise InputError(f"`sparsity` is a fraction in [0, 1). Received: sparsity={sparsity}")
    return float(sparsity)


def find_weights(flavor: Flavor, model: Any, pattern: Pattern, only: Any, skip: Any) -> list[Weight]:
    """The variables that `prune_model` prunes.

    Raises:
        ModelError: There is none.
    """
    found = [weight for weight, reason in examine(flavor, model, pattern, only, skip) if reason is None]
    if not found:
        reasons = [
            f"{w.path}: {reason}" for w, reason in examine(flavor, model, pattern, only, skip) if reason
        ]
        listed = "\n  ".join(reasons[:10]) or "it has no layer with weights that can be pruned"
        raise ModelError(f"Nothing to prune in model {model.name!r}:\n  {listed}")
    return found


def examine(
    flavor: Flavor, model: Any, pattern: Pattern, only: Any, skip: Any
) -> Iterator[tuple[Weight, str | None]]:
    """Every weight variable of a model with the reason why it is not pruned, or None."""
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
