"""Which layers to leave in float so that a metric keeps within a budget: the fewest multiply-accumulates.

Layers are ranked by the noise that each alone leaves at the outputs (`noise`), which needs no labels and few
rows. How many of the first have to stay float is then searched on all of the data, and at the end each is
tried once more in int8, the one with most work first: what counts is always the metric of the whole model,
never a sum of what layers cost alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_trt._base.arguments import is_number, wrong_argument
from keras_trt._keras.calls.graphs import as_graphs
from keras_trt._keras.calls.record import recorded
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.kernels import input_width
from keras_trt._keras.types import Model
from keras_trt.data.batches import batches_with_targets
from keras_trt.data.cache import Cache
from keras_trt.data.changes import CHANGE, KL
from keras_trt.data.rows import first_rows
from keras_trt.data.scores import Score, score_of
from keras_trt.errors import InputError
from keras_trt.quantize.costs.noise import RoundingNoise
from keras_trt.quantize.inventory import twins

_VALUES = 2**18  # of the inputs that layers are ranked by
_AGAIN = 32  # layers that are tried once more in int8
_ROUNDING = 2**-22  # of the score: 1 - 0.99 is a little more than 0.01


@dataclass(frozen=True)
class Budget:
    """How much worse a model may become.

    Attributes:
        score: What is measured.
        batches: Inputs, all of them.
        targets: What the score compares with.
        max_drop: By how much it may fall.
        before: The score of the float model.
        known: What was measured before, by the layers in float.
    """

    score: Score
    batches: Sequence[Any]
    targets: Any
    max_drop: float
    before: float
    known: Cache

    def after(self, outputs: Callable[[Any], object]) -> float:
        """The score of what a function of a batch gives."""
        return self.score.of(self.targets, np.concatenate([outputs(batch) for batch in self.batches]))

    def drop(self, outputs: Callable[[Any], object]) -> float:
        """By how much the score has fallen with what a function of a batch gives; infinite for no number."""
        fallen = self.score.drop(self.before, self.after(outputs))
        return fallen if math.isfinite(fallen) else math.inf

    def allows(self, drop: float) -> bool:
        """Whether the score may have fallen by so much."""
        return drop <= self.max_drop + _ROUNDING * abs(self.before)


def budget_of(
    flavor: Flavor,
    model: Model,
    data: object,
    metric: object,
    max_drop: float,
    known: Cache | None = None,
) -> Budget:
    """What a float model scores on data, and how much of that may go.

    Args:
        flavor: The model's Keras.
        model: The float model.
        data: Inputs, or inputs and targets, as for `batches_with_targets`.
        metric: See `score_of`; without targets `"kl"`, or None for the mean squared change of the outputs.
        max_drop: By how much the score may be worse.
        known: The cache that scores are kept in.

    Raises:
        InputError: A metric without targets, or no budget.
    """
    if not (is_number(max_drop) and math.isfinite(max_drop) and max_drop >= 0):
        raise wrong_argument("max_drop", "a number of at least 0", max_drop)
    if data is None:
        raise InputError("`max_drop` is kept on data: give `data=(inputs, targets)`. Received: data=None")
    pairs = list(batches_with_targets(flavor, model, _labels_as_array(data)))
    batches, targets = [x for x, _ in pairs], [y for _, y in pairs]
    outputs = first_outputs(flavor, model)
    floats = np.concatenate([outputs(batch) for batch in batches])
    if targets[0] is not None:
        target = _first_target(flavor, model, batches[0])
        y = np.concatenate([target(each) for each in targets])
        if len(y) != len(floats):
            raise InputError(
                f"Each row of the outputs has a target. Received: {len(y)} targets for {len(floats)} rows"
            )
    elif metric not in (None, "kl"):
        raise InputError(
            "A metric compares with targets: give `data=(inputs, targets)`, or `metric='kl'`, the divergence "
            f"from the float model. Received: metric={metric!r} and no targets"
        )
    if metric == "kl" or targets[0] is None:
        score, y = (KL if metric else CHANGE), floats
    else:
        score = score_of(metric or "accuracy", flavor)
    known = Cache() if known is None else known
    return Budget(score, batches, y, float(max_drop), score.of(y, floats), known)


def _labels_as_array(data: Any) -> Any:
    """(inputs, labels) whose labels may be a list of numbers."""
    pair = isinstance(data, tuple) and len(data) == 2 and isinstance(data[1], list)
    return (data[0], np.asarray(data[1])) if pair and all(map(np.isscalar, data[1])) else data


def first_outputs(flavor: Flavor, model: Model) -> Callable[[Any], np.ndarray]:
    """A function of a batch that gives the model's first floating output."""
    ops = flavor.ops

    def run(batch: object) -> Any:
        return next(filter(ops.is_float, ops.flat_tensors(model(batch, training=False))))

    graphs = as_graphs(flavor, run)
    return lambda batch: np.asarray(ops.to_numpy(graphs(batch)), np.float64)


def is_within(flavor: Flavor, model: Model, budget: Budget) -> bool:
    """Whether a model as it is costs no more than a budget."""
    return budget.allows(budget.drop(first_outputs(flavor, model)))


def _first_target(flavor: Flavor, model: Model, batch: object) -> Callable[[Any], np.ndarray]:
    """A function of a batch's targets that gives those of the model's first floating output."""
    outputs = model(batch, training=False)
    leaves = flavor.ops.flat_tensors(outputs)
    first = next(i for i, y in enumerate(leaves) if flavor.ops.is_float(y))
    names = sorted(outputs) if isinstance(outputs, Mapping) else getattr(model, "output_names", None) or []

    def target(y: Any) -> np.ndarray:
        if isinstance(y, Mapping):
            if len(names) != len(leaves) or names[first] not in y:
                raise InputError(
                    f"`data` has targets by name, and none for the output that is measured. "
                    f"Received: {sorted(y)}; outputs: {list(names)}"
                )
            return np.asarray(y[names[first]])
        several = isinstance(y, list | tuple) and len(y) == len(leaves)
        return np.asarray(y[first] if several else y)

    return target


def left_by_budget(
    flavor: Flavor, model: Model, budget: Budget, already: Collection[str] = ()
) -> dict[str, str]:
    """The layers of a calibrated model to leave in float, with the reason of each, by path.

    Args:
        flavor: The model's Keras.
        model: A quantised model whose ranges are known; it is not changed.
        budget: What the model may lose.
        already: The layers that are in float for it, behind which ranges were set anew.
    """
    rows = next(first_rows(flavor, model, budget.batches, _VALUES))
    noise = RoundingNoise(flavor, model, rows)

    def drop(spared: Collection[str]) -> float:
        rounded = [path for path in noise.layers if path not in set(spared)]
        name = json.dumps([sorted(already), sorted(spared)])
        return budget.known.measured(name, lambda: budget.drop(lambda x: noise.outputs(rounded, x)[0]))

    whole = drop(())
    if budget.allows(whole):
        return {}
    order = [path for path, _ in noise.costliest(list(noise.layers))]
    spared = order[: _fewest(lambda count: budget.allows(drop(order[:count])), len(order))]
    work = multiply_accumulates(flavor, model, rows)
    for path in sorted(spared, key=lambda each: -work.get(each, 0))[:_AGAIN]:
        others = [other for other in spared if other != path]
        if others and budget.allows(drop(others)):
            spared = others
    reason = (
        f"left in float: with all layers rounded {budget.score.name} is worse by {whole:.4g}; "
        f"`max_drop={budget.max_drop:g}`"
    )
    return dict.fromkeys(spared, reason)


def _fewest(holds: Callable[[int], bool], most: int) -> int:
    """The smallest number from 1 on that holds, found by halving; all of them where none before does."""
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low


def multiply_accumulates(flavor: Flavor, model: Model, rows: object) -> dict[str, int]:
    """The work of each quantised layer with kernels on a batch, by path.

    Args:
        flavor: The model's Keras.
        model: A quantised model.
        rows: A batch of inputs.
    """
    layers = dict(twins(flavor, model))
    work: dict[str, int] = {}
    with recorded(flavor, model) as calls:
        model(rows, training=False)
    for call in calls:
        layer = layers.get(call.path)
        if layer is not None and call.outputs:
            size = int(np.prod(call.outputs[0].shape))
            width = sum(input_width(layer, name) for name in layer.quantization.kernels)
            work[call.path] = work.get(call.path, 0) + size * width
    return work
