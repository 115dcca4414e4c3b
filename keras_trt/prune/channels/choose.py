"""Which channels go: a sparsity shared out among groups of tied layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from keras_trt.prune.channels.dependencies import Channels
from keras_trt.prune.costs.table import Sensitivity


@dataclass(frozen=True)
class Group:
    """Layers whose output channels are tied, and what happens to them.

    Attributes:
        paths: The layers that make the channels.
        roots: The number that stands for each channel (see `Channels`).
        free: Which of them may go.
        keep: Which of them stay.
        reason: Why none may go, or None.
    """

    paths: list[str]
    roots: np.ndarray
    free: np.ndarray
    keep: np.ndarray
    reason: str | None = None

    @property
    def name(self) -> str:
        """The layers, as reports and sensitivity tables name the group."""
        return ", ".join(self.paths)


def choose(
    channels: Channels,
    scores: dict[int, float],
    sparsity: float,
    *,
    strategy: object,
    multiple_of: int,
    chosen: Callable[[str], bool],
) -> list[Group]:
    """The groups of a model with the channels that stay.

    Args:
        channels: The channels of the model.
        scores: Importance of each root.
        sparsity: Fraction of channels to remove.
        strategy: `"uniform"`, the same fraction of each group; `"global"`, the least important channels of
            the model, wherever they are; a `Sensitivity`; or {group name: fraction}.
        multiple_of: The channels left in a group are rounded up to a multiple of this.
        chosen: Whether a layer was selected by the user.
    """
    groups = [_group(channels, paths, chosen) for paths in channels.groups()]
    usable = [group for group in groups if group.reason is None]
    values = [np.array([scores[root] for root in group.roots.tolist()]) for group in usable]
    counts = _counts(strategy, sparsity, usable, values)
    keep = {
        group.name: _keep(value, group.free, min(count, int(group.free.sum())), multiple_of)
        for group, value, count in zip(usable, values, counts, strict=True)
    }
    return [replace(group, keep=keep.get(group.name, group.keep)) for group in groups]


def _counts(strategy: object, sparsity: float, groups: list[Group], values: list[np.ndarray]) -> list[int]:
    """How many channels of each group go."""
    names, sizes = [group.name for group in groups], [len(group.roots) for group in groups]
    if strategy == "global" and groups:
        free = np.sort(np.concatenate([v[group.free] for v, group in zip(values, groups, strict=True)]))
        count = min(round(sparsity * sum(sizes)), len(free))
        limit = free[count - 1] if count else -np.inf
        return [int((v[group.free] <= limit).sum()) for v, group in zip(values, groups, strict=True)]
    if isinstance(strategy, Sensitivity):
        shares = strategy.share_out(sparsity, names, sizes)
    elif isinstance(strategy, dict):
        shares = [strategy.get(name, 0.0) for name in names]
    else:
        shares = [sparsity] * len(names)
    return [round(share * size) for share, size in zip(shares, sizes, strict=True)]


def _group(channels: Channels, paths: list[str], chosen: Callable[[str], bool]) -> Group:
    roots = np.unique(np.concatenate([channels.roots(channels.makes[path]) for path in paths]))
    reasons = [channels.why_frozen(root) for root in roots.tolist()]
    left_out = [path for path in paths if not chosen(path)]
    reason = f"{left_out[0]} is not selected" if left_out else None
    if reason is None and all(reasons):
        reason = reasons[0]
    free = np.array([r is None for r in reasons]) & (not left_out)
    return Group(paths, roots, free, np.ones(len(roots), bool), reason)


def _keep(values: np.ndarray, free: np.ndarray, wanted: int, multiple_of: int) -> np.ndarray:
    """Drops the `wanted` least important free channels, fewer where a multiple must stay, never all."""
    total = len(values)
    stay = max(total - wanted, 1)
    stay = min(-(-stay // multiple_of) * multiple_of, total)
    keep = np.ones(total, bool)
    keep[np.argsort(np.where(free, values, np.inf), kind="stable")[: total - stay]] = False
    return keep
