"""Draws how sparse a model became while it trained."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike

from keras_trt.errors import InputError
from keras_trt.reports.plot import Figure, drawn, new_figure

LOGGED = "sparsity"
"""What `callbacks.SparsityLog` writes to the history: this, and `sparsity/<weight>` for each weight."""


def plot_sparsity(history: object, path: str | PathLike[str] | None = None) -> Figure:
    """Draws the sparsity of each epoch that `callbacks.SparsityLog` has logged, of each weight if it did.

    Args:
        history: What `fit` returned, or its `history`.
        path: An image file to write, too; its suffix says the format.

    Returns:
        The `matplotlib.figure.Figure`; a notebook shows it.

    Raises:
        InputError: No sparsity was logged.
        MissingDependencyError: matplotlib is not installed.

    Example:
        >>> callbacks = [keras_trt.callbacks.Prune(0.8), keras_trt.callbacks.SparsityLog()]
        >>> history = model.fit(x, y, callbacks=callbacks)
        >>> keras_trt.prune.plot_sparsity(history, "sparsity.png")
    """
    logs = getattr(history, "history", history)
    curves = {
        name: values
        for name, values in (logs.items() if isinstance(logs, Mapping) else ())
        if name == LOGGED or str(name).startswith(f"{LOGGED}/")
    }
    if not curves:
        raise InputError(
            "`history` holds no sparsity: train with `callbacks=[..., keras_trt.callbacks.SparsityLog()]`. "
            f"Received: {sorted(logs) if isinstance(logs, Mapping) else type(history).__name__}"
        )
    figure = new_figure("plot_sparsity")
    axes = figure.subplots()
    for name, values in curves.items():
        whole = name == LOGGED
        label = "model" if whole else name.removeprefix(f"{LOGGED}/")
        axes.plot(range(1, len(values) + 1), values, label=label, linewidth=2.5 if whole else 1)
    axes.set(xlabel="epoch", ylabel="share of zeros", ylim=(0, 1))
    figure.legend(loc="outside right upper", fontsize="small")
    return drawn(figure, path)
