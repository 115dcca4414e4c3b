"""An ensemble: models of a repository that Triton runs one after the other, asked as one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from keras_trt._base.arguments import check_mapping, wrong_argument
from keras_trt._base.names import unique
from keras_trt.errors import InputError
from keras_trt.serving.config import labels_file, port_text, quoted
from keras_trt.serving.contract import Contract, Port, check_served_name
from keras_trt.serving.entry import Entry


@dataclass(frozen=True)
class Step:
    """One model of an ensemble.

    Attributes:
        model: Its name.
        inputs: The ensemble's tensor that each input takes.
        outputs: The ensemble's tensor that each output makes; those that nobody reads are left out.
    """

    model: str
    inputs: dict[str, str]
    outputs: dict[str, str]


@dataclass(frozen=True)
class Ensemble:
    """Models in a row.

    Attributes:
        name: Under which Triton serves them.
        agreed: The first one's inputs and the last one's outputs, and what batch all of them take.
        steps: In order.
        labels: Names of classes, by output name.
    """

    name: str
    agreed: Contract
    steps: tuple[Step, ...]
    labels: dict[str, tuple[str, ...]]

    @property
    def chain(self) -> str:
        """Its models, for people; also what stands in its version folder, which may get lost when empty."""
        return " > ".join(step.model for step in self.steps)

    def config(self) -> str:
        """Its `config.pbtxt`."""
        blocks = [
            f'name: {quoted(self.name)}\nplatform: "ensemble"',
            f"max_batch_size: {self.agreed.largest_batch}",
            *(port_text("input", port, reshapes=False) for port in self.agreed.inputs),
            *(
                port_text("output", port, False, labels_file(i) if port.name in self.labels else None)
                for i, port in enumerate(self.agreed.outputs)
            ),
            "ensemble_scheduling {",
            *("\n".join(_step_text(step)) for step in self.steps),
            "}",
        ]
        return "\n".join(blocks) + "\n"


def ensembles_of(given: object, entries: Sequence[Entry]) -> list[Ensemble]:
    """What `triton` is told of ensembles, checked.

    Args:
        given: None, or {name: [model, ...]}.
        entries: The models that are written with them.

    Raises:
        InputError: An unknown model, a name that is taken, or neighbours that do not fit.
    """
    known, made = {entry.name: entry for entry in entries}, []
    for name, models in check_mapping(given, "ensembles").items():
        if not isinstance(models, list | tuple) or len(models) < 2:
            raise wrong_argument(f"ensembles[{name!r}]", "a list of two or more names of models", models)
        if check_served_name(name, "ensembles") in known:
            raise InputError(f"`ensembles` must have names of their own. A model is named {name!r}, too.")
        unknown = [model for model in models if not isinstance(model, str) or model not in known]
        if unknown:
            raise InputError(
                f"`ensembles` must be of models that are written with them, by name: {sorted(known)}. "
                f"Received: {unknown[0]!r} in {name!r}"
            )
        made.append(_ensemble(name, [known[model] for model in models]))
    return made


def _ensemble(name: str, entries: Sequence[Entry]) -> Ensemble:
    """Connects each model's inputs with the outputs of the one before it."""
    first, last = entries[0], entries[-1]
    batch = min(entry.agreed.largest_batch for entry in entries)
    taken = {port.name for port in first.agreed.inputs}
    # Under its own name, which an input that passes through may have already.
    results = {port.name: unique(port.name, taken) for port in last.agreed.outputs}
    tensors = {port.name: port.name for port in first.agreed.inputs}
    steps = []
    for entry, after in pairwise(entries):
        sources = _sources(name, entry, after)
        outputs = {
            source: unique(f"{entry.name}/{source}", taken) for source in dict.fromkeys(sources.values())
        }
        steps.append(Step(entry.name, tensors, outputs))
        tensors = {port: outputs[source] for port, source in sources.items()}
    steps.append(Step(last.name, tensors, results))
    inputs = (_outside(port, first, batch) for port in first.agreed.inputs)
    made = (replace(_outside(port, last, batch), name=results[port.name]) for port in last.agreed.outputs)
    labels = {results[output]: names for output, names in last.labels.items()}
    return Ensemble(name, Contract(batch, tuple(inputs), tuple(made)), tuple(steps), labels)


def _sources(ensemble: str, before: Entry, after: Entry) -> dict[str, str]:
    """The output of one model for each input of the next: that of its name, else that in its place."""
    outputs = {port.name: port for port in before.agreed.outputs}
    inputs = {port.name: port for port in after.agreed.inputs}
    if set(inputs) <= set(outputs):
        sources = {name: name for name in inputs}
    elif len(inputs) == len(outputs) and not set(inputs) & set(outputs):
        sources = dict(zip(inputs, outputs, strict=True))
    else:
        raise InputError(
            f"Ensemble {ensemble!r}: {after.name!r} takes {list(inputs)} from {before.name!r}, which gives "
            f"{list(outputs)}. All inputs need outputs of their names, or as many of other names, in order. "
            "Name the Keras layers accordingly and export again."
        )
    for name, source in sources.items():
        made, read = _tensor(outputs[source], before), _tensor(inputs[name], after)
        if not _fit(made, read):
            raise InputError(
                f"Ensemble {ensemble!r}: output {source!r} of {before.name!r} does not fit input {name!r} of "
                f"{after.name!r}. Received: {made.dtype} {list(made.dims)} for {read.dtype} "
                f"{list(read.dims)} (-1: an open size). Export one of them for the other's tensors, or put "
                "layers between with `export(..., preprocess=)`."
            )
    return sources


def _fit(made: Port, read: Port) -> bool:
    """Whether one tensor can be the other; of open sizes the server says at each request."""
    if made.dtype != read.dtype or len(made.dims) != len(read.dims):
        return False
    return all(-1 in sizes or sizes[0] == sizes[1] for sizes in zip(made.dims, read.dims, strict=True))


def _tensor(port: Port, entry: Entry) -> Port:
    """An input or output with all its sizes, the batch too."""
    return replace(port, dims=(-1, *port.dims)) if entry.agreed.largest_batch else port


def _outside(port: Port, entry: Entry, batch: int) -> Port:
    """A tensor as the ensemble has it: with all sizes where one of its models takes no batches."""
    return port if batch else _tensor(port, entry)


def _step_text(step: Step) -> Iterator[str]:
    yield f"  step [ {{\n    model_name: {quoted(step.model)}\n    model_version: -1"
    for kind, tensors in (("input_map", step.inputs), ("output_map", step.outputs)):
        for port, tensor in tensors.items():
            yield f"    {kind} {{ key: {quoted(port)} value: {quoted(tensor)} }}"
    yield "  } ]"
