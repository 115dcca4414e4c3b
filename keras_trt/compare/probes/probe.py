"""Rows to compare an export on: the user's data where there is any, else inputs that the network can take."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_trt._base.formats import is_quantized
from keras_trt._base.nests import zip_nests
from keras_trt._base.tensors import BATCH_AXIS, TensorSpec
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.flavor_of import flavor_of
from keras_trt._keras.types import Layer, Model, Tensor
from keras_trt.compare.probes.draws import FLOATS, Draw, gentle, natural, whole
from keras_trt.compare.probes.ids import smallest_table, tables_reached
from keras_trt.data.batches import batches
from keras_trt.errors import ExportError, InputError
from keras_trt.quantize.inventory import activation_quantizers
from keras_trt.runtime.choosing.trial import float_error
from keras_trt.runtime.distance import movement
from keras_trt.trace.layers.policies import traced_in_float32
from keras_trt.trace.run import run
from keras_trt.twins.quantizer import jittering, observing

if TYPE_CHECKING:
    from keras_trt.trace.trace import Trace

Feeds = dict[str, np.ndarray]

_ROWS = (2, 32)
_ROOM = 1 << 19
"""The fewest and the most rows of a probe, and the bytes it may take: a runner may be wrong on some rows."""

_COLOURS = re.compile(r"\x1b\[\d*m")

_SIZES = (64, 16, 224)
"""Sizes tried for axes that the model and `input_shapes` leave open."""

_STEPS = 0.01
"""How far quantised tensors are moved to see what rounding changes: one value in 200 falls otherwise."""

_DIGITS = 2.0**-22
"""By which share of themselves float inputs are moved."""

_NEAR = 0.5
"""The distance to their ranges, in powers of two, at which quantised tensors are driven well enough."""


class ProbeError(ExportError):
    """Keras itself cannot compute any of the probes."""


@dataclass(frozen=True)
class Answers:
    """A probe and what Keras makes of it.

    Attributes:
        feeds: By input name.
        expected: Keras's outputs by name.
        allowed: By output, the relative difference that rounding explains.
    """

    feeds: Feeds
    expected: Feeds
    allowed: dict[str, float]


def rows_of(inputs: Sequence[TensorSpec], batch: tuple[int, int, int]) -> int:
    """How many rows to compare: many of small inputs, few of images, and what the batch sizes admit.

    Args:
        inputs: The model's inputs.
        batch: The smallest, usual and largest batch size.
    """
    one = sum(
        math.prod(size if isinstance(size, int) else _SIZES[0] for size in info.shape[1:]) * 4
        for info in inputs
    )
    low, _, high = batch
    return min(max(low, min(max(_ROOM // max(one, 1), _ROWS[0]), _ROWS[1])), high)


def ask_keras(model: Model, traced: Trace, precision: str, rows: int, data: object = None) -> Answers:
    """Runs Keras on the most telling probe that it can compute.

    Args:
        model: The model that was traced.
        traced: Its trace.
        precision: What the exported graph carries.
        rows: The batch size.
        data: The user's data, or None.

    Raises:
        ProbeError: Keras fails on every probe.
    """
    best: tuple[float, Feeds, Feeds] | None = None
    failure: Exception | None = None
    for make in _attempts(model, traced, rows, data):
        try:
            feeds = make()
            expected = run(model, traced, feeds)
        except Exception as e:  # a layer may raise anything on inputs that are not meant for it
            failure = failure or e
            continue
        finite = _finite(expected)
        if best is None or finite > best[0]:
            best = finite, feeds, expected
        if finite == 1:
            break
    if best is None:
        lines = [line.strip() for line in _COLOURS.sub("", str(failure)).splitlines() if line.strip()]
        reason = " ".join(lines[:2]).rstrip(" .:") or type(failure).__name__
        raise ProbeError(
            f"Keras itself fails on made-up inputs: {reason}. Pass rows that the model "
            "takes as `calibration_data`."
        ) from failure
    _, feeds, expected = best
    return Answers(feeds, expected, allowed_differences(model, traced, feeds, expected, precision))


def allowed_differences(
    model: Model, endpoints: Any, feeds: Feeds, expected: Feeds, precision: str, *, compiled: bool = False
) -> dict[str, float]:
    """By output, the relative difference to Keras that the graph's types explain.

    Two runners that are both right sum in another order, so a value beside a rounding border falls on
    either side of it, and what is left where large numbers cancel is noise. How much that changes the
    outputs is seen in Keras itself, with every quantised tensor moved by up to a hundredth of a step and the
    inputs in their last digits: three times that is allowed, beside the error of the float type.

    Args:
        model: The model that was traced.
        endpoints: Its trace, or the manifest of its bundle.
        feeds: One array per input name.
        expected: What Keras makes of them.
        precision: What the graph carries.
        compiled: Whether it made that in a `tf.function` (see `run`).
    """
    error = max(float_error(precision), float_error(_own_floats(model)))
    with jittering(_STEPS, 0) if is_quantized(precision) else nullcontext():
        inputs = {name: _last_digits_moved(x) for name, x in feeds.items()}
        moved = run(model, endpoints, inputs, compiled=compiled)
    return {name: error + 3 * movement(y, moved[name]) for name, y in expected.items()}


def _own_floats(model: Model) -> str:
    """The float part of the graph as the model brings it, whatever was asked for: `"fp16"` or `"float32"`."""
    flavor = flavor_of(model)
    layers = (layer for _, layer in flavor.walk(model) if not traced_in_float32(flavor, layer))
    return "fp16" if any(getattr(layer, "compute_dtype", "") == "float16" for layer in layers) else "float32"


def _last_digits_moved(x: np.ndarray) -> np.ndarray:
    if x.dtype.kind != "f":
        return x
    signs = np.random.default_rng(0).choice((-1.0, 1.0), x.shape)
    return (x * (1 + _DIGITS * signs)).astype(x.dtype)


def _finite(outputs: Feeds) -> float:
    """The share of numbers that are finite."""
    shares = [float(np.isfinite(y.astype(np.float64)).mean()) if y.size else 0.0 for y in outputs.values()]
    return float(np.mean(shares))


def made_up(model: Model, traced: Trace, rows: int) -> Feeds:
    """Inputs that the network most likely can take, without asking it."""
    draw = natural(_usual(flavor_of(model), model), tables_reached(traced))
    return _filled(traced, rows, _SIZES[0], smallest_table(traced), draw)


def _attempts(model: Model, traced: Trace, rows: int, data: object) -> Iterator[Callable[[], Feeds]]:
    """Probes from the most telling to the gentlest."""
    flavor, table, tables = flavor_of(model), smallest_table(traced), tables_reached(traced)
    few = {info.name: table or 2 for info in traced.inputs}
    if data is not None:
        yield partial(_from_data, flavor, model, traced, rows, data)
    named = (BATCH_AXIS, *traced.axis_sizes)
    opened = any(isinstance(axis, str) and axis not in named for i in traced.inputs for axis in i.shape)
    for size in _SIZES if opened else _SIZES[:1]:
        fill = partial(_filled, traced, rows, size, table)
        yield partial(_fitted, flavor, model, traced, fill, tables)
        yield partial(_fitted, flavor, model, traced, fill, few)
        yield partial(fill, gentle)
        yield partial(fill, whole({**few, **tables}))


def _from_data(flavor: Flavor, model: Model, traced: Trace, rows: int, data: object) -> Feeds:
    """The first rows of the user's data, again and again when there are too few."""
    first = next(iter(batches(flavor, model, data, batch_size=rows, steps=1)))
    given = {name: np.asarray(x) for name, x in zip_nests(traced.input_structure, first)}
    feeds = {}
    for info in traced.inputs:
        array = given[info.name]
        if array.ndim == len(info.shape) - 1 and info.shape[-1] == 1:
            array = array[..., None]
        if info.shape and not (isinstance(info.shape[0], int) and info.shape[0] == len(array)):
            count = info.shape[0] if isinstance(info.shape[0], int) else rows
            array = array[np.arange(count) % len(array)]
        if not all(isinstance(a, str) or a == n for a, n in zip(info.shape, array.shape, strict=True)):
            raise InputError(f"Input {info.name!r} takes {info.shape}. Received: data of shape {array.shape}")
        feeds[info.name] = np.ascontiguousarray(array).astype(info.dtype)
    return feeds


def _filled(traced: Trace, rows: int, size: int, table: int | None, draw: Draw) -> Feeds:
    """Inputs of the model's shapes; no axis is longer than a table of positions."""
    named = {BATCH_AXIS: rows, **{axis: sizes[1] for axis, sizes in traced.axis_sizes.items()}}
    open_size = min(size, table or size)
    return {
        info.name: draw(
            info, tuple(a if isinstance(a, int) else named.get(a, open_size) for a in info.shape)
        ).astype(info.dtype)
        for info in traced.inputs
    }


def _usual(flavor: Flavor, model: Model) -> str:
    """`"bytes"` for a model that scales images of 0 to 255 itself."""
    for _, layer in flavor.walk(model):
        scales = isinstance(layer, flavor.keras.layers.Rescaling) and np.max(np.abs(layer.scale)) < 1 / 16
        centres = isinstance(layer, flavor.keras.layers.Normalization) and _mean(layer) > 16
        if scales or centres:
            return "bytes"
    return "normal"


def _mean(layer: Layer) -> float:
    mean = getattr(layer, "mean", None)
    return 0.0 if mean is None else float(np.max(np.abs(np.asarray(mean))))


def _fitted(
    flavor: Flavor, model: Model, traced: Trace, fill: Callable[[Draw], Feeds], tables: Mapping[str, int]
) -> Feeds:
    """Natural inputs, their floats of the kind on which the quantised tensors come nearest to their ranges.

    Far below them all is rounded to zero, and the comparison sees neither a wrong range nor wrong weights.
    """
    usual = _usual(flavor, model)
    if not any(activation_quantizers(flavor, model)):
        return fill(natural(usual, tables))
    misfit = {}
    for floats in dict.fromkeys((usual, *FLOATS)):
        ratios: list[float] = []

        def observe(quantizer: Any, tensor: Tensor, ratios: list[float] = ratios) -> None:
            if hasattr(tensor, "numpy") and tensor.shape.num_elements():
                reached = np.abs(tensor.numpy().astype(np.float32)).max() / quantizer.range()
                ratios.append(abs(np.log2(max(float(reached), 1e-6))))

        with observing(observe):
            run(model, traced, fill(natural(floats, tables)))
        misfit[floats] = float(np.median(ratios)) if ratios else 0.0
        if misfit[floats] < _NEAR:
            break
    return fill(natural(min(misfit, key=lambda floats: misfit[floats]), tables))
