"""Rounds each weight up or down so that its layer returns what it does in float.

AdaRound (Nagel et al. 2020), layer by layer: on inputs that reach it in float, as for the corrections (so
that both add up), a kernel between the two nearest numbers of the grid is trained to give the outputs of the
float one, until every weight has settled. The result is written into the weights: it lies on the grid that
they have anyway, so that nothing is left to do in the engine. A layer keeps the nearest numbers where the
others are not better on rows that they were not trained on.

Convolutions, dense layers and their kin, int8 and int4 weights; recurrent cells, look-up tables and fp8 stay.
The work is bounded: `STEPS` steps a layer, on inputs of 32 MiB at most.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from keras_trt._base.say import say
from keras_trt._keras.calls.graphs import as_graphs
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.kernels import kernel_of
from keras_trt._keras.masks.masking import variable_of
from keras_trt._keras.types import Model, Tensor
from keras_trt.data.first import read_first
from keras_trt.data.rows import count_rows
from keras_trt.quantize.inventory import twins
from keras_trt.quantize.recovery.correction import FEWEST_ROWS, correct
from keras_trt.quantize.recovery.equalization import Written, taken_back
from keras_trt.quantize.recovery.rounding.outputs import Outputs
from keras_trt.quantize.recovery.rounding.relaxation import Adam, SoftKernel
from keras_trt.quantize.recovery.rounding.samples import Sample, pieces_of, samples_of
from keras_trt.twins.containers import mark_containers
from keras_trt.twins.fake_quant import weight_scales
from keras_trt.twins.twins import is_silent

ADAROUND = "adaround"
STEPS = 500
"""Steps of training a layer; each takes one of the pieces that the data is cut into."""
_TOGETHER = 8  # layers whose inputs are held at once
_RATE = 1e-2
_FREE = 0.2  # of the steps: before, nothing drives the weights to an end
_EXPONENTS = 20.0, 2.0
_SETTLING = 1.0  # the weight of the penalty, of an error that is 1 for the nearest numbers


@contextmanager
def rounded(
    flavor: Flavor,
    model: Model,
    data: object,
    wanted: Sequence[str],
    keeps: Callable[[], bool] | None = None,
    verbose: int | bool | str = 0,
) -> Iterator[object]:
    """Rounds the weights of a quantised model at the end, when it is settled which layers are quantised.

    Args:
        flavor: The model's Keras.
        model: A quantised model.
        data: Calibration data.
        wanted: The recoveries that are asked for; nothing happens without `ADAROUND`.
        keeps: Whether the model is as good as it must be; if not, everything is taken back.
        verbose: Whether a bar shows progress, and a line what came of it.

    Yields:
        The data to go on with, for what can be read only once begins anew.
    """
    if ADAROUND not in wanted:
        yield data
        return
    batches, data = read_first(flavor, model, data, name="calibration_data")
    yield data
    with taken_back() as log:
        changed = adaround(flavor, model, batches, log, verbose=verbose)
        layers = dict(twins(flavor, model))
        floats = {
            (id(layers[path]), was.shape): was for path, written in changed.items() for _, was in written
        }
        correct(flavor, model, batches, wanted, floats=floats)
        if keeps is None or keeps():
            log.clear()
    if log:
        correct(flavor, model, batches, wanted)
        say("No weight is rounded otherwise than to the nearest: the budget would be exceeded.", verbose)
        return
    _mark(flavor, model, changed)
    say(f"{len(changed)} layers round their weights by their outputs, not to the nearest.", verbose)


def adaround(
    flavor: Flavor,
    model: Model,
    batches: Sequence[object],
    log: list[Written] | None = None,
    *,
    steps: int = STEPS,
    verbose: int | bool | str = 0,
) -> dict[str, list[Written]]:
    """Rounds the weights of a quantised model's layers, in its weights.

    Args:
        flavor: The model's Keras.
        model: A quantised model whose ranges are known.
        batches: Inputs; of fewer than `FEWEST_ROWS` rows, or that cannot be cut, nothing is rounded.
        log: Gets each weight with its value before.
        steps: Steps of training a layer.
        verbose: Whether a bar shows progress.

    Returns:
        The weights that changed, by their layers' paths.
    """
    layers, pieces, log = (
        _layers(flavor, model),
        list(pieces_of(flavor, model, batches)),
        [] if log is None else log,
    )
    if len(pieces) < 2 or sum(count_rows(flavor, piece) for piece in pieces) < FEWEST_ROWS:
        return {}
    bar = flavor.keras.utils.Progbar(len(layers), verbose=verbose, unit_name="layer")
    changed: dict[str, list[Written]] = {}
    paths = list(layers)
    for first in range(0, len(paths), _TOGETHER):
        group = paths[first : first + _TOGETHER]
        samples = samples_of(flavor, model, {path: layers[path] for path in group}, pieces)
        for path in group:
            written = _settled(flavor, layers[path], samples.pop(path, []), steps)
            log.extend(written)
            changed |= {path: written} if written else {}
            bar.add(1)
    return changed


def _layers(flavor: Flavor, model: Model) -> dict[str, Any]:
    """The layers whose weights lie on an even grid, each kernel once and known by its shape."""
    chosen, seen = {}, set[int]()
    for path, layer in twins(flavor, model):
        own = layer.quantization
        variables = [variable_of(layer, kernel_of(layer, name)) for name in own.kernels]
        fits = (
            own.scheme.weights in ("int8", "int4")
            and not own.self_rounding
            and not flavor.keeps_floats(layer)
            and not is_silent(layer)
        )
        shapes = {tuple(v.shape) for v in variables if v is not None}
        if fits and variables and len(shapes) == len(variables) and not seen & {id(v) for v in variables}:
            seen |= {id(v) for v in variables}
            chosen[path] = layer
    return chosen


def _settled(flavor: Flavor, layer: Any, samples: list[Sample], steps: int) -> list[Written]:
    """Writes what the kernels of a layer settle on, if that is better; what was there before."""
    kernels = {name: variable_of(layer, kernel_of(layer, name)) for name in layer.quantization.kernels}
    values = {name: flavor.array(variable).astype(np.float32) for name, variable in kernels.items()}
    soft = {
        values[name].shape: SoftKernel(flavor.tf, values[name], _scales(flavor, layer, name, values[name]))
        for name in kernels
    }
    if len(samples) < 2 or not any(each.count for each in soft.values()):
        return []
    outputs = Outputs(flavor, layer, samples[0], soft)
    samples = [replace(each, exact=outputs.of(each, "exact")) for each in samples]
    judged, fitted = samples[::4], [each for i, each in enumerate(samples) if i % 4]
    nearest = sum(outputs.error(each, "nearest") for each in judged)
    scale = float(np.mean([outputs.error(each, "nearest") for each in fitted]))
    if not (np.isfinite(scale) and scale > 0):
        return []
    _train(flavor, outputs, list(soft.values()), fitted, scale, steps)
    hard = {shape: each.hard() for shape, each in soft.items()}
    outputs.settle(hard)
    if not sum(outputs.error(each, "hard") for each in judged) < nearest:
        return []
    for name, variable in kernels.items():
        variable.assign(hard[values[name].shape])
    return [(variable, values[name]) for name, variable in kernels.items()]


def _scales(flavor: Flavor, layer: Any, name: str, values: np.ndarray) -> np.ndarray:
    own, axes = layer.quantization.scheme, kernel_of(layer, name).channel_axes
    scales = weight_scales(flavor.ops, flavor.ops.constant(values, "float32"), axes, own.weights, own.block)
    return np.asarray(flavor.ops.to_numpy(scales), np.float64)


def _train(
    flavor: Flavor,
    outputs: Outputs,
    soft: list[SoftKernel],
    samples: list[Sample],
    scale: float,
    steps: int,
) -> None:
    tf, count = flavor.tf, sum(each.count for each in soft)
    variables = [each.logits for each in soft]
    adam = Adam(tf, variables, _RATE)

    def step(exponent: Tensor, weight: Tensor, exact: Tensor, *tensors: Tensor) -> None:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            lost = tf.reduce_mean(tf.square(outputs.compute("soft", tensors) - exact)) / scale
            loss = lost + weight * tf.add_n([each.unsettled(exponent) for each in soft]) / count
        adam.apply(tape.gradient(loss, variables))

    run = as_graphs(flavor, step)
    order = np.random.default_rng(0).integers(len(samples), size=steps)
    for i, which in enumerate(order):
        share = max(0.0, (i / steps - _FREE) / (1 - _FREE))
        high, low = _EXPONENTS
        exponent = low + (high - low) * 0.5 * (1 + np.cos(np.pi * share))
        weight = _SETTLING if i >= _FREE * steps else 0.0
        sample = samples[which]
        run(
            tf.constant(exponent, tf.float32),
            tf.constant(weight, tf.float32),
            sample.exact,
            *outputs.tensors(sample),
        )


def _mark(flavor: Flavor, model: Model, paths: Collection[str]) -> None:
    """Has the layers remember it, for recipes."""
    for path, layer in twins(flavor, model):
        if path in paths:
            layer.quantization = replace(layer.quantization, rounded=True)
    mark_containers(flavor, model)
