"""What is measured: bundles on runners, engines that are loaded already, the Keras model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

from keras_trt.errors import InputError, KerasTRTError
from keras_trt.measuring.memory import growth
from keras_trt.runtime.engine_model import EngineModel
from keras_trt.runtime.loading import load

KERAS = "keras"


@dataclass(frozen=True)
class Running:
    """One contender, ready to run.

    Attributes:
        label: What the user calls it.
        runner: What runs it.
        reason: Why that runner was chosen.
        precision: What it computes in, as far as its bundle says.
        model: Has `predict` and `predict_on_batch`.
        bytes: The size of its weights' files, or of its weights.
        grown: What loading it has added to the process, in bytes; None where that was not measured.
        notes: What to say about it.
    """

    label: str
    runner: str
    reason: str
    precision: str
    model: Any
    bytes: int
    grown: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its label and what runs it, which no other one has both of."""
        return self.label if self.label == self.runner else f"{self.label} on {self.runner}"


def labelled(subjects: object) -> dict[str, Any]:
    """What to measure, by what it is to be called.

    Args:
        subjects: A bundle's path, a loaded engine or a Keras model; several in a list, or in a dict by label.

    Raises:
        InputError: None of these.
    """
    if isinstance(subjects, Mapping):
        named = {str(label): subject for label, subject in subjects.items()}
    elif isinstance(subjects, Sequence) and not isinstance(subjects, str | bytes):
        names = [_name(subject) for subject in subjects]
        if len(set(names)) < len(names):
            names = [str(s) if isinstance(s, str | PathLike) else _name(s) for s in subjects]
        named = dict(zip(names, subjects, strict=True))
        if len(named) < len(subjects):
            raise InputError(
                f"What is compared needs names of its own: pass a dict {{name: bundle}}. Received: {names}"
            )
    else:
        named = {_name(subjects): subjects}
    if not named:
        raise InputError(f"`bundle` names nothing to measure. Received: {subjects!r}")
    for label, subject in named.items():
        if not isinstance(subject, str | PathLike | EngineModel) and not is_keras(subject):
            raise InputError(
                "`bundle` must be the path of a bundle, a Keras model, what `keras_trt.load` returns, or "
                f"several of these. Received: {subject!r} (of type {type(subject).__name__}) as {label!r}"
            )
    return named


def is_keras(subject: object) -> bool:
    """Whether it looks like a model of Keras; asks nobody who would import it."""
    own = isinstance(subject, EngineModel | type)
    return not own and hasattr(type(subject), "predict_on_batch") and hasattr(type(subject), "weights")


def running(
    label: str, subject: Any, runners: Sequence[str], options: Mapping[str, object], stack: ExitStack
) -> Iterator[Running]:
    """A subject on the runner that is asked for and on those it is compared on.

    Args:
        label: What it is called.
        subject: A bundle's path, or an engine.
        runners: The first must work; where another one does not, a note says so.
        options: For `load`.
        stack: Closes what is loaded here.

    Raises:
        KerasTRTError: As from `load`, of the first runner.
    """
    first, *others = runners
    if isinstance(subject, EngineModel):
        path, chosen = subject.bundle.path, _engine(label, subject)
    else:
        path = Path(subject)
        chosen = _loaded(label, path, first, options, stack)
    compared: dict[str, Running] = {}
    notes = []
    for runner in (name for name in others if name != chosen.runner):
        try:
            compared[runner] = _loaded(label, path, runner, options, stack)
        except KerasTRTError as e:
            notes.append(f"{label} did not run on {runner}: {str(e).splitlines()[0]}")
    yield replace(chosen, notes=tuple(notes))
    yield from compared.values()


def keras_running(model: Any) -> Running:
    """The Keras model itself."""
    size = sum(int(w.numpy().nbytes) if hasattr(w, "numpy") else 0 for w in model.weights)
    policy = getattr(getattr(model, "dtype_policy", None), "name", None)
    return Running(KERAS, KERAS, "", str(policy or "float32"), model, size)


def _loaded(label: str, path: Path, runner: str, options: Mapping[str, Any], stack: ExitStack) -> Running:
    with growth() as grown:
        engine = stack.enter_context(load(path, runner, verbose=0, **options))
    return replace(_engine(label, engine), grown=grown.bytes)


def _engine(label: str, engine: EngineModel) -> Running:
    reason = " ".join(engine.runner.reason.split())
    precision = engine.runner.precision or engine.bundle.manifest.precision
    return Running(label, engine.runner.name, reason, precision, engine, _size(engine))


def _size(engine: EngineModel) -> int:
    """Of the plan, or of the graph with its weights."""
    bundle, runner = engine.bundle, engine.runner
    plans = [s.bytes for s in bundle.manifest.plans if s.kind == runner.name]
    if plans:
        return plans[0]
    files = (bundle.manifest.onnx_file, *bundle.manifest.external_data)
    return sum((bundle.path / file).stat().st_size for file in files if (bundle.path / file).exists())


def _name(subject: object) -> str:
    """A folder's name without its suffix, or the model's."""
    if isinstance(subject, str | PathLike):
        return Path(subject).expanduser().resolve().stem
    return str(getattr(subject, "name", type(subject).__name__))
