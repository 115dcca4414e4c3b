"""How much a model suffers from pruning each layer alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_trt._keras import masking
from keras_trt._keras.flavor import check_model
from keras_trt._keras.measure import inputs_and_targets, loss_against
from keras_trt._keras.select import check_choices
from keras_trt.errors import InputError
from keras_trt.prune.pattern import parse_pattern
from keras_trt.prune.weights import find_weights, new_mask
from keras_trt.quantize.from_tfmot import plain_model
from keras_trt.report import Report

LEVELS = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)


@dataclass(frozen=True)
class Sensitivity:
    """The measured loss of each variable at each level of sparsity.

    Attributes:
        levels: Sparsities tried, rising.
        losses: {`path.kernel`: loss at each level}; 0 means no harm.
        pattern: The pattern they were measured with.
    """

    levels: tuple[float, ...]
    losses: dict[str, tuple[float, ...]]
    pattern: str

    def share_out(self, sparsity: float, names: Sequence[str], sizes: Sequence[int]) -> list[float]:
        """Sparsity per variable: level by level where a pruned weight costs least, up to the budget.

        Raises:
            InputError: A variable was not measured.
        """
        missing = [name for name in names if name not in self.losses]
        if missing:
            raise InputError(
                f"The sensitivity was measured without {', '.join(missing[:5])}. Measure it again with the "
                "same `only` and `skip`."
            )
        levels = [0.0, *self.levels, 1.0]
        budget, at = sparsity * sum(sizes), [0] * len(names)
        for i, start, size in self._cheapest(names, sizes):
            step = (levels[start + 1] - levels[start]) * size
            if budget < step:
                done = [levels[level] for level in at]
                done[i] = levels[start] + budget / size
                return done
            budget, at[i] = budget - step, start + 1
        return [levels[level] for level in at]

    def _cheapest(self, names: Sequence[str], sizes: Sequence[int]) -> Iterator[tuple[int, int, int]]:
        """(variable, level it leaves, its size), the next one always the least loss per weight."""
        levels = [0.0, *self.levels, 1.0]
        curves = [self._curve(name) for name in names]
        at = [0] * len(names)
        while any(level < len(levels) - 1 for level in at):

            def cost(i: int) -> float:
                width = (levels[at[i] + 1] - levels[at[i]]) * sizes[i]
                return (curves[i][at[i] + 1] - curves[i][at[i]]) / max(width, 1e-12)

            open_ = [i for i, level in enumerate(at) if level < len(levels) - 1]
            best = min(open_, key=cost)
            yield best, at[best], sizes[best]
            at[best] += 1

    def _curve(self, name: str) -> list[float]:
        """Loss at 0, at each level, and at 1; never falling, and steep at the end."""
        measured = np.maximum.accumulate([0.0, *self.losses[name]])
        return [*measured.tolist(), float(measured[-1]) + 1e6]

    def report(self) -> Report:
        """One row per variable, one column per level."""
        rows = tuple(
            {"weight": name, **{f"{level:g}": loss for level, loss in zip(self.levels, losses, strict=True)}}
            for name, losses in self.losses.items()
        )
        return Report(f"Loss by sparsity ({self.pattern})", rows)

    def __str__(self) -> str:
        return str(self.report())


def sensitivity(
    model: Any,
    data: Any,
    *,
    metric: Callable[[Any, Any], float] | None = None,
    levels: Sequence[float] = LEVELS,
    pattern: Any = "unstructured",
    only: Any = None,
    skip: Any = (),
    cache: Any = None,
    batch_size: int = 32,
    verbose: int = 1,
) -> Sensitivity:
    """Measures how much the model suffers when each layer alone is pruned.

    Args:
        model: A built model; its weights are restored after each trial.
        data: Inputs, or (inputs, targets) as arrays.
        metric: `metric(targets, predictions) -> float`, higher is better; the loss is its fall. Without
            it, the loss is the mean squared change of the first output over its variance.
        levels: Sparsities to try.
        pattern: As in `prune_model`, not `"n:m"`, whose sparsity is fixed.
        only: As in `prune_model`.
        skip: As in `prune_model`.
        cache: A JSON file; what it already holds for these weights is not measured again.
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
    shape = parse_pattern(pattern)
    levels = tuple(float(level) for level in levels)
    if not levels or list(levels) != sorted(set(levels)) or not 0 < levels[0] <= levels[-1] < 1:
        raise InputError(f"`levels` must rise between 0 and 1. Received: levels={levels}")
    x, y = inputs_and_targets(data, metric)
    flavor = check_model(model)
    model = plain_model(model)
    check_choices(flavor.walk(model), only, skip)
    weights = find_weights(flavor, model, shape, only, skip)
    loss = loss_against(model, x, y, metric, batch_size)
    known = _Cache(cache, model, shape.name, x, metric)
    losses: dict[str, tuple[float, ...]] = {}
    for weight in _progress(weights, verbose):
        original = masking.value_of(weight.variable)
        row = []
        for level in levels:
            key = f"{weight.name}@{level:g}"
            if key not in known:
                weight.variable.assign(original * new_mask(weight, shape, level, None))
                try:
                    known[key] = loss()
                finally:
                    weight.variable.assign(original)
            row.append(known[key])
        losses[weight.name] = tuple(row)
        known.save()
    return Sensitivity(levels, losses, shape.name)


def _progress(weights: list[Any], verbose: int) -> Iterator[Any]:
    if not verbose:
        return iter(weights)
    from rich.progress import track

    return iter(track(weights, description="Sensitivity"))


class _Cache(dict[str, float]):
    """Measured losses, kept in a JSON file under a digest of the weights and of what was asked."""

    def __init__(self, path: Any, model: Any, pattern: str, x: Any, metric: Any) -> None:
        super().__init__()
        self.path = None if path is None else Path(path)
        if self.path is None:
            return
        digest = hashlib.sha256(f"{pattern} {getattr(metric, '__qualname__', metric)}".encode())
        for array in [*model.get_weights(), *(x.values() if isinstance(x, dict) else [x])]:
            digest.update(np.ascontiguousarray(array).tobytes())
        self.digest = digest.hexdigest()
        if self.path.exists():
            self.update(json.loads(self.path.read_text()).get(self.digest, {}))

    def save(self) -> None:
        if self.path is None:
            return
        beside = self.path.with_suffix(f"{self.path.suffix}.tmp")
        beside.write_text(json.dumps({self.digest: dict(self)}, indent=1))
        beside.replace(self.path)
