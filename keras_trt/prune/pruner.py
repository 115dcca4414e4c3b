"""The weights of one model that are pruned together, in place."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from keras_trt._keras.flavor_of import flavor_of
from keras_trt._keras.masks import masking
from keras_trt._keras.types import Choices, Model
from keras_trt.prune.pattern import NofM, Pattern
from keras_trt.prune.schedule import Schedule
from keras_trt.prune.strategy import share_out
from keras_trt.prune.weights import find_weights, new_mask


class Pruner:
    """Puts masks on a model's weights and moves them.

    Args:
        model: A built model; it is changed in place by the methods, not by the constructor.
        pattern: The shape of the zeros.
        strategy: How sparsity is shared out (see `share_out`).
        only: As in `prune_model`.
        skip: As in `prune_model`.

    Raises:
        ModelError: Nothing can be pruned.
    """

    def __init__(
        self,
        model: Model,
        pattern: Pattern,
        strategy: object = "uniform",
        only: Choices | None = None,
        skip: Choices = (),
    ) -> None:
        self.flavor = flavor_of(model)
        self.model, self.pattern, self.strategy = model, pattern, strategy
        self.weights = find_weights(self.flavor, model, pattern, only, skip)

    def shares(self, sparsity: float) -> list[float]:
        """The sparsity of each weight variable, so that all together reach `sparsity`."""
        if self.strategy == "uniform" or isinstance(self.pattern, NofM):
            return [sparsity] * len(self.weights)
        values = [masking.value_of(w.variable) for w in self.weights]
        return [*share_out(self.strategy, sparsity, [w.name for w in self.weights], values)]

    def prune(
        self, sparsity: float | None, threshold: float | None = None, *, schedule: Schedule | None = None
    ) -> None:
        """Zeroes the least important weights; what is masked already stays masked.

        Args:
            sparsity: As in `prune_model`.
            threshold: As in `prune_model`.
            schedule: What is being followed, remembered by the masks. Without it they forget any other.
        """
        shares = [None] * len(self.weights) if sparsity is None else self.shares(sparsity)
        masks = [new_mask(w, self.pattern, s, threshold) for w, s in zip(self.weights, shares, strict=True)]
        for weight, new, share in zip(self.weights, masks, shares, strict=True):  # no error comes any more
            old = masking.mask_of(self.flavor, weight.variable)
            mask = new if old is None else new & old
            masking.set_mask(
                self.flavor, weight.layer, weight.kernel, mask, self._info(share, threshold, schedule)
            )
        masking.mark_containers(self.flavor, self.model)

    def follow(self, schedule: Schedule) -> None:
        """Puts on masks that know the schedule, for `callbacks.Prune()` to find, pruned to its beginning."""
        self.attach(keep_zeros=False)
        if schedule.initial:
            self.prune(schedule.initial, schedule=schedule)
        for weight in self.weights:
            info = masking.constraint_of(self.flavor, weight.variable).info
            info.update(self._info(schedule.final, None, schedule))
        masking.mark_containers(self.flavor, self.model)

    def _info(
        self, sparsity: float | None, threshold: float | None, schedule: Schedule | None
    ) -> dict[str, Any]:
        """What a mask remembers of how it was made, in numbers and words that a file can hold."""
        saved = schedule if isinstance(self.strategy, str) else None
        return {
            "pattern": self.pattern.name,
            "sparsity": sparsity,
            "threshold": threshold,
            "strategy": None if saved is None else self.strategy,
            "schedule": None if saved is None else asdict(saved),
        }

    def attach(self, *, keep_zeros: bool) -> bool:
        """Puts masks on weights that have none yet, and reads the others off the weights again.

        Args:
            keep_zeros: Whether zeros found in unmasked weights are pruned ones (training goes on).

        Returns:
            Whether a variable got its first constraint, so that a traced step must be traced again.
        """
        new = False
        for weight in self.weights:
            value = masking.value_of(weight.variable)
            had = masking.constraint_of(self.flavor, weight.variable) is not None
            mask = value != 0 if had or keep_zeros else np.ones(value.shape, bool)
            bound = masking.bound_mask(self.flavor, weight.variable)
            if bound is None or not np.array_equal(bound, mask):
                masking.set_mask(self.flavor, weight.layer, weight.kernel, mask)
            new = new or not had
        masking.mark_containers(self.flavor, self.model)
        return new

    def is_at_masks(self) -> bool:
        """Whether the weights are zero where their masks are, and nowhere else."""
        return all(
            (mask := masking.bound_mask(self.flavor, weight.variable)) is not None
            and np.array_equal(mask, masking.value_of(weight.variable) != 0)
            for weight in self.weights
        )

    def sparsity(self) -> float:
        """Fraction of zeros over all the pruned variables."""
        zeros = sum(int((masking.value_of(w.variable) == 0).sum()) for w in self.weights)
        return zeros / sum(int(np.prod(w.variable.shape)) for w in self.weights)
