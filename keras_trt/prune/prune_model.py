"""`prune_model`: a copy of a model whose smallest weights are zero and stay zero."""

from __future__ import annotations

import math
from contextlib import nullcontext

from keras_trt._base.arguments import is_number
from keras_trt._keras.masks import masking
from keras_trt._keras.rebuilding.in_place import in_place
from keras_trt._keras.select import check_choices, located
from keras_trt._keras.types import Choices, M
from keras_trt.errors import InputError
from keras_trt.prune.channels.importance import ChannelPattern
from keras_trt.prune.channels.shrink import remove_channels
from keras_trt.prune.numbers import check_sparsity
from keras_trt.prune.pattern import NofM, Pattern, parse_pattern
from keras_trt.prune.pruner import Pruner
from keras_trt.prune.schedule import Schedule, as_numbers
from keras_trt.prune.strategy import parse_strategy
from keras_trt.tfmot.accept import accept


def prune_model(
    model: M,
    sparsity: float | None = None,
    *,
    threshold: float | None = None,
    pattern: object = "unstructured",
    pooling: str = "avg",
    schedule: object = None,
    strategy: object = "uniform",
    only: Choices | None = None,
    skip: Choices = (),
    copy: bool = True,
) -> M:
    """A copy of a model with its smallest weights set to zero; training keeps them there.

    The masks are constraints on the weight variables: no wrapper layer, no callback, the same
    `summary()` and weight names. Pruning a pruned model adds to its zeros, and a new amount replaces a
    schedule that its layers remember. Without `only`, the weights of Dense, EinsumDense, convolution and
    recurrent layers are pruned; depthwise kernels (one input channel, little to gain) and embeddings are
    left alone.

    Args:
        model: A built Keras 3 or tf_keras model, quantised or not. It is not changed, unless `copy=False`.
        sparsity: Fraction of each layer's weights that becomes zero, in [0, 1). Follows from the
            pattern for `"n:m"`.
        threshold: Instead of `sparsity`: weights with |w| < threshold * std(w), of their own layer,
            become zero (Han et al. 2015).
        pattern: `"unstructured"`; `"2:4"` or any `"n:m"` (n of every m consecutive input channels
            stay); (rows, cols) blocks of the (inputs, outputs) matrix; or `"channel"` (or a
            `ChannelPattern`): whole channels of a Functional or Sequential model are removed and its
            tensors shrink, the channels tied by Add and the like together.
        pooling: What makes a block important, `"avg"` or `"max"` of its magnitudes.
        schedule: Instead of an amount: a `Schedule`, or `PolynomialDecay` or `ConstantSparsity` of TF-MOT,
            that `callbacks.Prune()` follows during `fit` and that is saved with the model. Until then,
            and without the callback, the model is pruned to where the schedule begins.
        strategy: How `sparsity` is shared out: `"uniform"`, every layer the same; `"global"`, the smallest
            magnitudes of the whole model go; `"lamp"`, the same with magnitudes made comparable between
            layers, often the most accurate; or the result of `keras_trt.prune.costs.sensitivity`.
        only: Prune only these layers: names, classes, regular expression or callable.
        skip: Leave these layers as they are.
        copy: False prunes the model itself and returns it, compiled as it is; for models that cannot be
            copied, or of which memory holds no second. Not for channels, whose removal makes new layers.

    Returns:
        A new, uncompiled model of the same Keras; with `copy=False` the model itself.

    Raises:
        InputError: An argument is out of range, matches no layer, or would zero a whole layer.
        ModelError: The model is not built, its weights are not finite, or it has nothing to prune.

    Example:
        >>> pruned = keras_trt.prune_model(model, sparsity=0.8)
        >>> pruned.compile("adam", "sparse_categorical_crossentropy"); pruned.fit(x, y)
    """
    flavor, model, _ = accept(model, in_place=not copy)
    if pattern == "channel" or isinstance(pattern, ChannelPattern):
        shrunk = pattern if isinstance(pattern, ChannelPattern) else ChannelPattern()
        if schedule is not None:
            raise InputError(
                "Channels are removed at once, not on a schedule, for the shape changes. Give `sparsity`. "
                f"Received: pattern={shrunk.name!r}, schedule={schedule!r}"
            )
        if not copy:
            raise InputError(
                "Removing channels makes new, smaller layers. Leave `copy` out. "
                f"Received: pattern={shrunk.name!r}, copy=False"
            )
        amount = check_amount(sparsity, threshold, shrunk)
        return remove_channels(model, amount or 0.0, shrunk, strategy, only, skip)
    shape = parse_pattern(pattern, pooling)
    parse_strategy(strategy, shape)
    if schedule is None:
        refuse_shared_threshold(threshold, strategy)
        sparsity, plan = check_amount(sparsity, threshold, shape), None
    else:
        plan = saved_schedule(schedule, sparsity, threshold, strategy)
        sparsity = plan.initial
    check_choices(flavor.walk(model), only, skip)
    made = nullcontext(flavor.clone(model)) if copy else in_place(flavor, model)
    with flavor.strategy_scope(model), made as new:
        masking.rebind(new)  # weights of another level may have been restored since
        only, skip = (located(flavor, model, choice, new) for choice in (only, skip))
        pruner = Pruner(new, shape, strategy, only, skip)
        if plan is None:
            pruner.prune(sparsity, threshold)
        else:
            pruner.follow(plan)
    return new


def saved_schedule(
    schedule: object, sparsity: float | None, threshold: float | None, strategy: object
) -> Schedule:
    """The schedule as numbers that can be saved.

    Raises:
        InputError: It is a function, or an amount is given beside it.
    """
    if sparsity is not None or threshold is not None:
        raise InputError(
            "`schedule` says how much to prune; leave the amount out. "
            f"Received: sparsity={sparsity}, threshold={threshold}, schedule={schedule!r}"
        )
    if not isinstance(strategy, str):
        raise InputError("A measured sensitivity is not saved with the model: give it to `callbacks.Prune`.")
    return as_numbers(schedule)


def refuse_shared_threshold(threshold: float | None, strategy: object) -> None:
    """A threshold already says how much goes from every layer.

    Raises:
        InputError: There is a threshold, and a strategy beside it.
    """
    if threshold is not None and strategy != "uniform":
        raise InputError(
            "`strategy` shares out a `sparsity`; a `threshold` decides in every layer for itself. Leave one "
            f"out. Received: threshold={threshold!r}, strategy={strategy!r}"
        )


def check_amount(
    sparsity: float | None, threshold: float | None, pattern: Pattern | ChannelPattern
) -> float | None:
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
        if not (is_number(threshold) and math.isfinite(threshold) and threshold >= 0):
            raise InputError(f"`threshold` must be a number >= 0. Received: threshold={threshold!r}")
        return None
    if isinstance(pattern, NofM):
        implied = 1 - pattern.n / pattern.m
        if sparsity is not None and not (is_number(sparsity) and abs(sparsity - implied) <= 1e-6):
            raise InputError(
                f"Pattern {pattern.name!r} means a sparsity of {implied:g}; leave `sparsity` out. "
                f"Received: sparsity={sparsity!r}"
            )
        return implied
    if sparsity is None:
        raise InputError(
            "Say how much to prune: `sparsity=0.8` (fraction of zeros) or `threshold=0.5` (times the "
            "standard deviation of each layer). Received: neither"
        )
    check_sparsity(sparsity)
    return float(sparsity)
