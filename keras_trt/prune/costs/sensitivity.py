"""How much a model suffers from pruning each layer alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any

from keras_trt._base.arguments import check_verbose
from keras_trt._keras.masks import masking
from keras_trt._keras.select import check_choices
from keras_trt._keras.types import Choices, Model
from keras_trt.data.batches import check_data, input_count
from keras_trt.data.cache import Cache, data_chunks, described, model_chunks, told
from keras_trt.data.measure import inputs_and_targets, loss_against, score_or_change
from keras_trt.errors import InputError
from keras_trt.prune.channels.importance import ChannelPattern
from keras_trt.prune.channels.shrink import plan_channels, remove_channels
from keras_trt.prune.costs.table import Sensitivity
from keras_trt.prune.numbers import is_fraction
from keras_trt.prune.pattern import NofM, Pattern, parse_pattern
from keras_trt.prune.weights import Weight, find_weights, new_mask
from keras_trt.tfmot.accept import accept

Trial = tuple[str, Callable[[float], float]]
"""What is pruned alone, and the loss by sparsity."""

LEVELS = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)


def sensitivity(
    model: Model,
    data: object,
    *,
    metric: object = None,
    levels: Sequence[float] = LEVELS,
    pattern: object = "unstructured",
    only: Choices | None = None,
    skip: Choices = (),
    cache: object = None,
    batch_size: int = 32,
    verbose: int = 1,
) -> Sensitivity:
    """Measures how much the model suffers when each layer alone is pruned.

    Args:
        model: A built model; its weights are restored after each trial.
        data: Inputs, or (inputs, targets) as arrays.
        metric: `"accuracy"`, another name that Keras knows, a metric or loss of Keras's, or a function of
            (targets, predictions), larger being better; the loss is by how much it gets worse. Without one,
            the loss is the mean squared change of the first output over its variance; `"kl"`: its mean
            divergence in nats.
        levels: Sparsities to try.
        pattern: As in `prune_model`, not `"n:m"`, whose sparsity is fixed. With `"channel"`, each group of
            tied layers is measured without its least important channels.
        only: As in `prune_model`.
        skip: As in `prune_model`.
        cache: A JSON file; what it already holds for this model, data, metric and pattern is
            not measured again.
        batch_size: For `predict`.
        verbose: 1 shows progress.

    Returns:
        A table that `prune_model(strategy=...)` and `callbacks.Prune(strategy=...)` take.

    Raises:
        InputError: Wrong levels, or a metric without targets.

    Example:
        >>> table = keras_trt.prune.sensitivity(model, x_val[:512])
        >>> pruned = keras_trt.prune_model(model, 0.8, strategy=table)
    """
    fractions = isinstance(levels, Sequence) and all(is_fraction(level) for level in levels)
    if not fractions or not levels or list(levels) != sorted({0.0, *levels})[1:]:
        raise InputError(f"`levels` must be numbers that rise between 0 and 1. Received: levels={levels!r}")
    levels = tuple(float(level) for level in levels)
    flavor, model, _ = accept(model)
    score = score_or_change(metric, flavor)
    check_verbose(verbose)
    check_data(data, batch_size)
    x, y = inputs_and_targets(data, score, input_count(flavor, model))
    check_choices(flavor.walk(model), only, skip)
    watched = _Remembering(score.of)
    if metric is not None and metric != "kl":
        score = replace(score, of=watched)
    loss = loss_against(model, x, y, score, batch_size)
    shape = ChannelPattern() if pattern == "channel" else pattern
    if isinstance(shape, ChannelPattern):
        trials = _channel_trials(model, shape, only, skip, loss)
    else:
        shape = parse_pattern(pattern)
        if isinstance(shape, NofM):
            raise InputError(
                f"Pattern {shape.name!r} fixes the sparsity of every layer, so there are no levels to "
                f"measure. Received: pattern={pattern!r}"
            )
        trials = _weight_trials(find_weights(flavor, model, shape, only, skip), shape, loss)
    choices = [tuple(c) if isinstance(c, (list, set)) else c for c in (only, skip)]
    choice = tuple(choices) if isinstance(shape, ChannelPattern) else ()  # decides what is tied
    options = (*told(metric), watched.first, *vars(shape).items(), shape.name, choice)
    known = Cache(cache, chain(model_chunks(flavor, model), data_chunks([x, y]), described(options)))
    losses: dict[str, tuple[float, ...]] = {}
    for name, trial in _progress(trials, verbose):
        losses[name] = tuple(known.measured(f"{name}@{level:g}", partial(trial, level)) for level in levels)
    return Sensitivity(levels, losses, shape.name)


def _weight_trials(weights: list[Weight], pattern: Pattern, loss: Callable[..., float]) -> list[Trial]:
    """Per variable: masks it alone, measures, and puts it back."""

    def trial(weight: Weight, level: float) -> float:
        original = masking.value_of(weight.variable)
        weight.variable.assign(original * new_mask(weight, pattern, level, None))
        try:
            return loss()
        finally:
            weight.variable.assign(original)

    return [(weight.name, partial(trial, weight)) for weight in weights]


def _channel_trials(
    model: Model, pattern: ChannelPattern, only: Choices | None, skip: Choices, loss: Callable[..., float]
) -> list[Trial]:
    """Per group of tied layers: measures a copy without some of its channels."""
    groups = plan_channels(model, 0.0, pattern, "uniform", only, skip)[1]
    names = [group.name for group in groups if group.reason is None]

    def trial(name: str, level: float) -> float:
        return loss(remove_channels(model, level, pattern, {name: level}, only, skip))

    return [(name, partial(trial, name)) for name in names]


def _progress(trials: list[Trial], verbose: int) -> Iterator[Trial]:
    if not verbose:
        return iter(trials)
    from rich.progress import track

    return iter(track(trials, description="Sensitivity"))


class _Remembering:
    """A function of a score that keeps its first value: that of the model as it is."""

    def __init__(self, of: Callable[[Any, Any], float]) -> None:
        self.of = of
        self.first: float | None = None

    def __call__(self, targets: object, predictions: Any) -> float:
        value = self.of(targets, predictions)
        self.first = value if self.first is None else self.first
        return value
