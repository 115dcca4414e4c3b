"""Which way a metric is better, by its name."""

from __future__ import annotations

_FALLS = (
    *("loss", "error", "entropy", "divergence", "distance", "hinge", "poisson", "logcosh", "log_cosh"),
    *("mse", "mae", "mape", "msle", "perplexity", "false"),
)
_RISES = ("acc", "auc", "precision", "recall", "f1", "fbeta", "fmeasure", "iou", "dice", "specificity", "r2")


def rises(name: str) -> bool | None:
    """Whether more of a metric is better, by the words in its name; None when they do not say.

    Example:
        >>> rises("val_loss"), rises("val_engine_accuracy"), rises("throughput")
        (False, True, None)
    """
    lower = name.lower()
    if any(word in lower for word in _FALLS):
        return False
    return True if any(word in lower for word in _RISES) else None
