"""Pictures of reports, with matplotlib where it is installed."""

from __future__ import annotations

from os import PathLike
from typing import Any

from keras_trt._deps import require
from keras_trt.errors import InputError
from keras_trt.reports.files import check_file, file_at


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


def check_picture(path: str | PathLike[str], why: str) -> None:
    """Tells before any long work whether a picture can be written at `path`.

    Args:
        path: The file to be; its suffix says the format.
        why: What needs it, for the error.

    Raises:
        InputError: There is no such folder, or no such format.
        MissingDependencyError: matplotlib is not installed.
    """
    canvases = require("matplotlib.backend_bases", install="keras-trt[report]", why=why)
    formats = sorted(canvases.FigureCanvasBase.get_supported_filetypes())
    if check_file(path).suffix[1:].lower() not in formats:
        raise InputError(f"A picture is one of .{', .'.join(formats)}. Received: '{path}'")


def drawn(figure: Any, path: str | PathLike[str] | None) -> Any:
    """The figure, written to an image file where a path is given; its suffix says the format.

    Raises:
        InputError: There is no such format, or it cannot be written.
    """
    if path is not None:
        check_picture(path, "plot")
        with file_at(path) as file:
            figure.savefig(file)
    return figure
