"""What pruning each layer alone costs, and how to spend a sparsity by it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from keras_trt.errors import InputError
from keras_trt.reports import Report, Table
from keras_trt.reports.plot import Drawable, Figure, new_figure


@dataclass(frozen=True)
class Sensitivity(Drawable):
    """The measured loss of each variable at each level of sparsity; `plot` draws one curve each.

    Attributes:
        levels: Sparsities tried, rising.
        losses: {`path.kernel`: loss at each level}; 0 means no harm.
        pattern: The pattern they were measured with.

    Example:
        >>> table = keras_trt.prune.sensitivity(model, x_val)
        >>> table.to_json("sensitivity.json")
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

    def _figure(self) -> Figure:
        """One curve per variable: the loss over the sparsity."""
        figure = new_figure("Sensitivity.plot")
        axes = figure.subplots()
        for name, losses in self.losses.items():
            axes.plot(self.levels, losses, marker=".", label=name)
        axes.set(xlabel=f"sparsity ({self.pattern}) of this layer alone", ylabel="loss")
        figure.legend(loc="outside right upper", fontsize="small")
        return figure

    def tables(self) -> Iterable[Table]:
        """The table of `report`."""
        return self.report().tables()
