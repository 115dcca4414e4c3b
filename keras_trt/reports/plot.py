"""Pictures of reports, with matplotlib where it is installed."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any, Protocol

from keras_trt._machine.deps import require
from keras_trt.errors import InputError
from keras_trt.reports.files import check_file, file_at
from keras_trt.reports.findings import Findings


class Figure(Protocol):
    """What is used of a `matplotlib.figure.Figure`."""

    def subplots(self, rows: int = 1, columns: int = 1) -> Any:
        """Adds axes: one, or an array of them."""

    def add_subplot(self, rows: int, columns: int, place: int) -> Any:
        """Adds the axes at one place of a grid, counted from 1."""

    def subfigures(self, rows: int, columns: int, *, height_ratios: Sequence[float]) -> Any:
        """Parts of the figure, each like one."""

    def legend(self, **options: object) -> Any:
        """Names the curves."""

    def suptitle(self, text: str) -> Any:
        """Writes a title over all axes."""

    def savefig(self, file: str | PathLike[str]) -> None:
        """Writes an image."""


def new_figure(why: str, **options: object) -> Figure:
    """An empty `matplotlib.figure.Figure`, of no window and of no notebook.

    Args:
        why: What needs it, for the error.
        **options: Matplotlib's.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    figures = require("matplotlib.figure", install="keras-trt[report]", why=why)
    figure: Figure = figures.Figure(layout="constrained", **options)
    return figure


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


class Drawable(Findings):
    """A report that can be drawn."""

    def _figure(self) -> Figure:
        """The picture."""
        raise NotImplementedError

    def plot(self, path: str | PathLike[str] | None = None) -> Figure:
        """Draws the report.

        Args:
            path: An image file to write, too; its suffix says the format.

        Returns:
            The `matplotlib.figure.Figure`; a notebook shows it.

        Raises:
            BundleError: What it draws lies in a bundle, and cannot be read.
            InputError: There is no such format, or the file cannot be written.
            MissingDependencyError: matplotlib is not installed.

        Example:
            >>> keras_trt.benchmark("net.bundle").plot("latency.png")
        """
        return drawn(self._figure(), path)


def drawn(figure: Figure, path: str | PathLike[str] | None) -> Figure:
    """The figure, written to an image file where a path is given; its suffix says the format.

    Raises:
        InputError: There is no such format, or it cannot be written.
    """
    if path is not None:
        check_picture(path, "plot")
        with file_at(path) as file:
            figure.savefig(file)
    return figure
