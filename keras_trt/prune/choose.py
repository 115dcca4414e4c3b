"""Which channels go: a sparsity shared out among groups of tied layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from keras_trt.prune.channels import Channels


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


def choose(
    channels: Channels,
    scores: dict[int, float],
    sparsity: float,
    *,
    globally: bool,
    multiple_of: int,
    chosen: Callable[[str], bool],
) -> list[Group]:
    """The groups of a model with the channels that stay.

    Args:
        channels: The channels of the model.
        scores: Importance of each root.
        sparsity: Fraction of channels to remove.
        globally: Whether the least important channels of the model go, wherever they are, rather than
            the same fraction of each group.
        multiple_of: The channels left in a group are rounded up to a multiple of this.
        chosen: Whether a layer was selected by the user.
    """
    groups = [_group(channels, paths, chosen) for paths in channels.groups()]
    usable = [group for group in groups if group.reason is None]
    limit = np.inf
    if globally and usable:
        free = np.sort([scores[root] for group in usable for root in group.roots[group.free].tolist()])
        count = round(sparsity * sum(len(group.roots) for group in usable))
        limit = free[min(count, len(free)) - 1] if count else -np.inf
    done = []
    for group in groups:
        if group.reason is not None:
            done.append(group)
            continue
        values = np.array([scores[root] for root in group.roots.tolist()])
        below = int((values[group.free] <= limit).sum())
        wanted = below if globally else min(round(sparsity * len(values)), below)
        done.append(replace(group, keep=_keep(values, group.free, wanted, multiple_of)))
    return done


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
