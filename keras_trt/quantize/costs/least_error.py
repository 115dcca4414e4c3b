"""Of several ranges for a tensor, the one that leaves least error in what its layer makes of it.

The best range of the values alone weighs all of them alike; behind a kernel they count by what they are
multiplied with, and in attention by what comes after (Wu et al. 2020, "Integer Quantization for Deep Learning
Inference", compare methods by the outputs; here it is done tensor by tensor). Each layer computes in float,
and once more with one of its inputs rounded: errors of different layers do not mix, so all of a model's
are measured side by side, in as many runs as there are candidates. A few rows are enough for that, but not
for what lies far out: by how much the values themselves suffer more in all of the data than in these rows,
by so much more do the outputs.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_trt._keras.calls.gathering import gathering, give
from keras_trt._keras.calls.graphs import as_graphs
from keras_trt._keras.calls.record import replaced_calls
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Layer, Model, Tensor
from keras_trt.data.rows import first_rows
from keras_trt.quantize.costs.layer_error import ErrorSums, Twice
from keras_trt.quantize.inventory import quantizers_of, twins
from keras_trt.twins.fake_quant import quantize_dequantize
from keras_trt.twins.quantizer import observing

_VALUES = 2**20  # of the inputs; a run takes about twice a prediction


@dataclass(frozen=True)
class Candidates:
    """The ranges that a quantiser may get.

    Attributes:
        quantizer: The quantiser.
        tensor: What it rounds, as anything that is equal for quantisers of the same tensor: those get the
            same range, so that the engine rounds it once.
        ranges: Float32 of shape (candidates,), each > 0.
        errors: The mean squared error of the values in all of the data, of the same shape; None where the
            rows that are measured are all there are.
    """

    quantizer: Any
    tensor: object
    ranges: np.ndarray
    errors: np.ndarray | None = None


def least_error(
    flavor: Flavor,
    model: Model,
    candidates: Sequence[Candidates],
    batches: Sequence[object],
    verbose: int | str = 0,
) -> list[int]:
    """The number of the best range of each quantiser; the first where none makes a difference.

    Args:
        flavor: The model's Keras.
        model: A quantised model; it is not changed.
        candidates: For some of its quantisers, all with as many ranges.
        batches: Inputs; the first rows are used, few where they are large.
        verbose: Whether a bar shows progress.
    """
    if not candidates:
        return []
    owners = {id(q): path for path, layer in twins(flavor, model) for q in quantizers_of(layer)}
    turns, members = [], defaultdict[str, list[int]](list)
    for i, each in enumerate(candidates):
        own = members[owners[id(each.quantizer)]]
        turns.append(len(own))  # of a layer's quantisers one rounds at a time
        own.append(i)
    ranges = np.stack([each.ranges for each in candidates], axis=1)
    errors = np.zeros(ranges.shape)
    sums: dict[object, ErrorSums] = {key: ErrorSums() for key in [*members, *range(len(candidates))]}
    rows = list(first_rows(flavor, model, batches, _VALUES))
    last = max(turns)
    bar = flavor.keras.utils.Progbar((last + 1) * len(ranges), verbose=verbose, unit_name="range")
    with gathering(sums) as numbers:
        run = _measured_call(flavor, model, [each.quantizer for each in candidates], turns, numbers)
        for turn, (choice, amaxes) in itertools.product(range(last + 1), enumerate(ranges)):
            for batch in rows:
                run(batch, flavor.ops.constant(amaxes), flavor.ops.constant(turn))
            for path, own in members.items():
                ratio = sums[path].take()
                for i in own[turn : turn + 1]:
                    errors[choice, i] = ratio * _more(candidates[i].errors, choice, sums[i].take())
            bar.add(1)
    return _best(errors, candidates)


def _more(errors: np.ndarray | None, choice: int, first: float) -> float:
    """How much larger the error of the values is in all of the data than in the first rows."""
    return float(errors[choice]) / first if errors is not None and first > 0 else 1.0


def _best(errors: np.ndarray, candidates: Sequence[Candidates]) -> list[int]:
    """The choice of least error for each tensor, whose errors in several layers add up."""
    of_tensor = defaultdict[object, Any](float)
    for i, each in enumerate(candidates):
        of_tensor[each.tensor] = of_tensor[each.tensor] + errors[:, i]
    ranked = {tensor: np.nan_to_num(total, nan=np.inf) for tensor, total in of_tensor.items()}
    return [int(np.argmin(ranked[each.tensor])) for each in candidates]


def _measured_call(
    flavor: Flavor,
    model: Model,
    quantizers: Sequence[object],
    turns: Sequence[int],
    numbers: dict[object, int],
) -> Any:
    """The model's call in float as a graph in which each layer computes once more, with one input rounded.

    The graph takes a batch, a range for each quantiser, and whose turn it is.
    """
    ops, position = flavor.ops, {id(q): i for i, q in enumerate(quantizers)}
    owner = {
        id(q): path for path, layer in twins(flavor, model) for q in quantizers_of(layer) if path in numbers
    }
    twice = Twice(flavor, numbers)

    def run(batch: object, amaxes: Tensor, turn: Tensor) -> None:
        def activation(quantizer: Any, x: Tensor) -> Tensor:
            i = position.get(id(quantizer))
            if i is None or owner[id(quantizer)] != twice.rounding:
                return x
            floats = ops.cast(x, "float32")
            on_grid = quantize_dequantize(ops, floats, amaxes[i], quantizer.dtype_name)
            noise = ops.sum(ops.square(on_grid - floats))
            own = ops.cast(turn == turns[i], "float32")
            give(flavor, numbers[i], own * ops.stack([noise, ops.cast(ops.size(floats), "float32")]))
            return ops.where(turn == turns[i], ops.cast(on_grid, x.dtype), x)

        def kernel(layer: Layer, floats: Tensor, rounded: Tensor) -> Tensor:
            return floats

        with observing(activation, kernel, corrected=False), replaced_calls(flavor, model, twice):
            model(batch, training=False)

    return as_graphs(flavor, run)
