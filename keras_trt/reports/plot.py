"""Pictures of reports, with matplotlib where it is installed."""

from __future__ import annotations

from os import PathLike
from typing import Any

from keras_trt._deps import require
from keras_trt.reports.files import file_at


def new_figure(why: str, **options: Any) -> Any:
    """An empty `matplotlib.figure.Figure`, of no window and of no notebook.

    Args:
        why: What needs it, for the error.
        **options: Matplotlib's.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    figures = require("matplotlib.figure", install="keras-trt[report]", why=why)
    return figures.Figure(layout="constrained", **options)


def drawn(figure: Any, path: str | PathLike[str] | None) -> Any:
    """The figure, written to an image file where a path is given; its suffix says the format."""
    if path is not None:
        with file_at(path) as file:
            figure.savefig(file)
    return figure
