"""Shows how far a build is, from TensorRT's own progress reports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tensorrt import IBuilderConfig


@contextmanager
def build_progress(trt: ModuleType, config: IBuilderConfig, title: str, verbose: int) -> Iterator[None]:
    """Draws a bar while the body builds; quiet with `verbose=0`.

    Raises:
        KeyboardInterrupt: Ctrl+C was pressed; the build is called off.
    """
    if not verbose:
        yield
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[phase]}"),
    )
    # A console of its own: the shared one takes one display at a time, and another thread may build too.
    with Progress(*columns, console=Console()) as bar:
        task = bar.add_task(title, total=1.0, phase="")

        def show(done: float, phase: str) -> None:
            bar.update(task, completed=done, phase=phase)

        monitor = _monitor(trt, show)
        config.progress_monitor = monitor  # TensorRT does not keep it alive: `monitor` must outlive the build
        try:
            yield
        finally:
            config.progress_monitor = None
        if monitor.cancelled:
            raise KeyboardInterrupt
        bar.update(task, completed=1.0, phase="")


def _monitor(trt: ModuleType, show: Any) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[name-defined, misc]
        """Phases nest; a phase of n steps is one step of its parent."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.cancelled = False
            self.shown = 0.0
            self.open: dict[str, tuple[float, float]] = {}  # phase: (done, width of a step) as parts of 1

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            done, width = self.open.get(parent_phase or "", (0.0, 1.0))
            self.open[phase_name] = (done, width / max(num_steps, 1))

        def step_complete(self, phase_name: str, step: int) -> bool:
            try:
                done, width = self.open[phase_name]
                self.open[phase_name] = (done + width, width)
                self.shown = max(self.shown, done + width)  # sister phases share one step of their parent
                show(self.shown, phase_name)
            except KeyboardInterrupt:
                self.cancelled = True
            return not self.cancelled

        def phase_finish(self, phase_name: str) -> None:
            self.open.pop(phase_name, None)

    return Monitor()
