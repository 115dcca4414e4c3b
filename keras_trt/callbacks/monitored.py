"""A value of the logs that decides whether a model has become better."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping

from keras_trt._base.arguments import check_one_of, check_text, is_number
from keras_trt.data.rises import rises
from keras_trt.errors import InputError


class Monitored:
    """The best value so far of one entry of the logs.

    Args:
        monitor: The entry.
        mode: `"min"`, `"max"`, or `"auto"`, which goes by the entry's name.
        threshold: Only what is better than this counts; anything, when None.

    Raises:
        InputError: An unknown mode, or a name that does not say which way is better.
    """

    def __init__(self, monitor: str, mode: str = "auto", threshold: float | None = None) -> None:
        self.monitor = check_text(monitor, "monitor")
        check_one_of(mode, ("auto", "min", "max"), "mode")
        rising = rises(monitor) if mode == "auto" else mode == "max"
        if rising is None:
            raise InputError(
                f"Whether more or less of {monitor!r} is better cannot be told from its name. Pass "
                'mode="max" or mode="min". Received: mode="auto"'
            )
        if threshold is not None and not (is_number(threshold) and math.isfinite(threshold)):
            raise InputError(f"`initial_value_threshold` must be None or a number. Received: {threshold!r}")
        self.rising, self.threshold = rising, threshold
        self.best = threshold

    def is_better(self, value: float) -> bool:
        """Whether a value is better than the best so far; NaN never is."""
        if self.best is None:
            return not math.isnan(value)
        return value > self.best if self.rising else value < self.best

    def value_in(self, logs: Mapping[str, object]) -> float | None:
        """The value in the logs; None, with a warning, when they have no such number.

        Warns:
            UserWarning: The logs do not have it.
        """
        value = logs.get(self.monitor)
        try:
            return float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            have = f"it is {value!r}" if self.monitor in logs else "it is not in the logs"
            warnings.warn(
                f"`monitor={self.monitor!r}` does not decide here, for {have}. A `val_` metric needs "
                f"`validation_data`. Available: {', '.join(logs) or 'nothing'}",
                stacklevel=4,
            )
            return None
