"""What a quantised model is expected to keep of its outputs, and which layers are better left in float."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from keras_trt._base.arguments import is_number, wrong_argument
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Model
from keras_trt.data.rows import can_take, count_rows, take
from keras_trt.quantize.costs.lost_channels import lost_channels
from keras_trt.quantize.costs.noise import RoundingNoise

GAIN = 1.0  # dB; a layer that brings less is a fifth of the noise at most, and leaving it float mends nothing
_TOGETHER = 3.0  # dB for each of some layers that gain nothing alone: more than parts of a sum of noises
_IN_VAIN = 3  # so many of the costliest layers that gain nothing: then the noise is that of all of them
_SURE = 0.9
_SATURATED = (
    " These outputs are mostly saturated, at 0 or 1, where rounding hardly shows; it shows more at inputs "
    "that are hard to decide. `max_drop` measures by a metric."
)
PICKS = (
    " Many layers are left: where the model itself picks among its results (`top_k`, `argmax`, a "
    "threshold), a pick that flips counts as noise. Quantise the network without that, and give it back as "
    "`export(postprocess=)`."
)
_VALUES = 2**18  # of the inputs; some dozens of runs must take no longer than the calibration


@dataclass(frozen=True)
class Expectation:
    """What rounding costs on the rows it was measured on.

    Attributes:
        rows: How many they were.
        sqnr: The ratio of signal to rounding noise in dB at the output where it is smallest; None where it
            cannot be measured.
        worst: {path: the same with this layer alone rounded} of those that cost most, costliest first.
        spared: {path: why} of the layers that are to be left in float.
        floor: What was asked for, in dB.
        saturated: Whether most of what is in the outputs are ones, as of a sigmoid or softmax that is sure.
        layers: How many layers were rounded.
    """

    rows: int
    sqnr: float | None = None
    worst: dict[str, float] = field(default_factory=dict)
    spared: dict[str, str] = field(default_factory=dict)
    floor: float | None = None
    saturated: bool = False
    layers: int = 0

    def __str__(self) -> str:
        if self.spared and not self.worst:
            each = ", ".join(self.spared)
            return f"Expected: what float gives; int8 costs too much in each layer: {each}.{self._picks()}"
        if self.sqnr is None:
            return "Expected: not measured, for the outputs are no finite floats that each run repeats."
        costs = ", ".join(f"{path} {sqnr:.1f}" for path, sqnr in self.worst.items())
        left = f"; left in float: {', '.join(self.spared)}" if self.spared else ""
        return (
            f"Expected: the outputs keep {self.sqnr:.1f} dB of signal to rounding noise ({self.rows} rows of "
            f"the calibration data); the costliest layers alone, in dB: {costs}{left}."
            f"{_SATURATED if self.saturated else ''}{self._short(self.sqnr)}{self._picks()}"
        )

    def _picks(self) -> str:
        """What else may be behind it where rounding seems to cost too much in very many layers."""
        return PICKS if len(self.spared) >= max(3, self.layers / 3) else ""

    def _short(self, sqnr: float) -> str:
        """What to do where even the layers left in float do not bring the outputs to the floor."""
        if self.floor is None or sqnr >= self.floor:
            return ""
        return (
            f" That is below `min_sqnr={self.floor:g}`: train it quantised with `fit`, or normalise inputs "
            "and branches whose channels differ much in size."
        )


def check_sqnr(min_sqnr: Any) -> None:
    """Refuses what is no number of decibels."""
    if not (min_sqnr is None or (is_number(min_sqnr) and math.isfinite(min_sqnr))):
        raise wrong_argument("min_sqnr", "a number of decibels, or None", min_sqnr)


def expect(flavor: Flavor, model: Model, batch: object, floor: float | None, shown: int = 3) -> Expectation:
    """Measures what rounding costs, and finds the layers to leave in float.

    While the outputs keep less than `floor`, the costliest layer is left in float, if that gains 1 dB, or up
    to three together, if that gains 3 dB for each: where one follows the other both may lose the same. Of
    other formats than int8 all are kept: who asks for them knows that they keep less.

    Args:
        flavor: The model's Keras.
        model: A quantised model whose ranges are known; it is not changed.
        batch: Inputs; the first few rows are used.
        floor: In dB; None leaves every layer as it is.
        shown: How many of the costliest layers are wanted to be shown.
    """
    rows, count = _few(flavor, model, batch)
    noise = RoundingNoise(flavor, model, rows)
    if not noise.measurable:
        return Expectation(count)
    ranking = noise.costliest(list(noise.layers))
    spared = _spared(noise, ranking, -math.inf if floor is None else floor)
    lost = lost_channels(flavor, model, rows, spared.why)
    why = {path: reason + lost.get(path, "") for path, reason in spared.why.items()}
    seen = spared.alone | dict(itertools.islice(ranking, max(0, shown + len(spared.why) - len(spared.alone))))
    worst = [(path, sqnr) for path, sqnr in seen.items() if path not in spared.why][:shown]
    sqnr = noise.sqnr(_without(noise, spared.why))
    saturated = noise.saturation() > _SURE
    return Expectation(count, sqnr, dict(worst), why, floor, saturated, len(noise.layers))


@dataclass(frozen=True)
class _Spared:
    """Why layers are left in float, by path, and what each layer that was looked at costs alone."""

    why: dict[str, str] = field(default_factory=dict)
    alone: dict[str, float] = field(default_factory=dict)


def _spared(noise: RoundingNoise, ranking: Iterator[tuple[str, float]], floor: float) -> _Spared:
    spared, in_vain = _Spared(), list[str]()
    sqnr = noise.sqnr(noise.layers)
    while sqnr < floor and len(in_vain) < _IN_VAIN:
        path, alone = next(ranking, (None, 0.0))
        if path is None:
            break
        spared.alone[path] = alone
        if noise.layers[path] != "int8":
            in_vain.append(path)
            continue
        better, left = noise.sqnr(_without(noise, [*spared.why, path])), [path]
        if better < sqnr + GAIN:
            in_vain.append(path)  # one behind the other may lose the same, and gain together only
            left = [other for other in in_vain if noise.layers[other] == "int8"]
            better = noise.sqnr(_without(noise, [*spared.why, *left]))
            if better < sqnr + len(left) * _TOGETHER:
                continue
        for other in left:
            spared.why[other] = (
                f"left in float: with it rounded the outputs keep {sqnr:.1f} dB of signal to noise, else "
                f"{better:.1f} dB; `min_sqnr={floor:g}`"
            )
        sqnr, in_vain = better, []
    for path in list(spared.why):  # the first one may not have been needed in the end
        others = [other for other in spared.why if other != path]
        if sqnr >= floor and noise.sqnr(_without(noise, others)) >= floor:
            del spared.why[path]
    return spared


def _without(noise: RoundingNoise, left: Iterable[str]) -> list[str]:
    left = set(left)
    return [path for path in noise.layers if path not in left]


def _few(flavor: Flavor, model: Model, batch: object) -> tuple[Any, int]:
    """The first rows of a batch, few where they are large; all where the model takes one number of rows."""
    count = count_rows(flavor, batch)
    if not can_take(flavor, model, batch):
        return batch, count
    values = sum(math.prod(leaf.shape[1:]) for leaf in flavor.ops.nest.flatten(batch))
    count = min(count, int(np.clip(_VALUES // max(values, 1), 4, 32)))
    return take(flavor, batch, slice(count)), count
