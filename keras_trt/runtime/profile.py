"""What a runner really executes: the time and the number type of each Keras layer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from keras_trt.reports.report import Findings
from keras_trt.reports.table import Table
from keras_trt.runtime.runners.runner import Executed

_QUANTISERS = ("QuantizeLinear", "DequantizeLinear", "FakeQuantize", "Quantize")
_NO_TYPES = (
    "The plan tells no types, and of some layers no names. It does when it is built with: "
    "keras_trt.build(bundle, config=EngineConfig(profiling_verbosity='detailed'))"
)


@dataclass(frozen=True)
class LayerProfile:
    """One Keras layer as a runner executes it.

    Attributes:
        layer: The layer's path; several where the runner made one operator of them; empty where not known.
        operators: The runner's own operators, in order.
        computes_in: The types that these compute in, e.g. `("uint8",)`.
        seconds: Of one call, the median over the calls; 0 without a measurement.
        unfused: How many quantisers run by themselves.
    """

    layer: str
    operators: tuple[str, ...]
    computes_in: tuple[str, ...]
    seconds: float
    unfused: int


@dataclass(frozen=True)
class EngineProfile(Findings):
    """Layers in the order in which they run; their times add up to that of the engine without its overhead.

    Attributes:
        name: The model's.
        runner: What ran it.
        layers: Each layer.
        measured: Whether there are times.
        notes: Sentences worth reading.
    """

    name: str
    runner: str
    layers: tuple[LayerProfile, ...]
    measured: bool
    notes: tuple[str, ...] = ()

    def tables(self) -> Iterable[Table]:
        """One row a layer."""
        total = sum(one.seconds for one in self.layers) or 1.0
        columns = ["layer", "operators", "computes in", "unfused Q/DQ"]
        rows = [
            [one.layer or "-", ", ".join(one.operators), ", ".join(one.computes_in), one.unfused]
            for one in self.layers
        ]
        if self.measured:
            columns += ["ms", "share"]
            for row, one in zip(rows, self.layers, strict=True):
                row += [1e3 * one.seconds, f"{one.seconds / total:.1%}"]
        yield Table(f"{self.name} on {self.runner}", columns, rows)


def by_layer(name: str, runner: str, executed: Iterable[Executed], *, measured: bool) -> EngineProfile:
    """Adds up what belongs to one Keras layer.

    Args:
        name: The model's.
        runner: What ran it.
        executed: The runner's operators, in order.
        measured: Whether their times mean anything.
    """
    by_name: dict[str, list[Executed]] = {}
    for one in executed:
        by_name.setdefault(layer_of(one.name), []).append(one)
    layers = [
        LayerProfile(
            layer,
            tuple(dict.fromkeys(one.operator for one in operators)),
            tuple(dict.fromkeys(one.type for one in operators if one.type)),
            sum(one.seconds for one in operators) if measured else 0.0,
            sum(one.operator in _QUANTISERS for one in operators),
        )
        for layer, operators in by_name.items()
    ]
    notes = [] if measured else ["Shapes of made-up rows; quantisers that are not listed are fused."]
    if not any(one.computes_in for one in layers):
        notes.append(_NO_TYPES)
    return EngineProfile(name, runner, tuple(layers), measured, tuple(notes))


def layer_of(name: str) -> str:
    """The Keras layers whose nodes an operator was made of; nodes are called `layer/operator`.

    Example:
        >>> layer_of("block/conv1/Conv")
        'block/conv1'
        >>> layer_of("conv1/Conv,relu1/Relu")
        'conv1, relu1'
    """
    nodes = (node.strip() for node in name.split(","))
    layers = (
        node.partition("/added//")[0] if "/added//" in node else node.rpartition("/")[0] for node in nodes
    )
    return ", ".join(dict.fromkeys(filter(None, layers)))
