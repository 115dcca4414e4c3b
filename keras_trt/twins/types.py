"""What a quantised layer has beside what every layer has, and what is quantised in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from keras_trt._keras.types import Layer, Tensor, Variable
from keras_trt.placement.schemes import Scheme


@dataclass(frozen=True)
class LayerScheme:
    """What is quantised in one layer.

    Attributes:
        inputs: Positions of the inputs with an activation quantiser.
        kernels: Names of the weight variables put on the grid.
        inner: Whether the products that the layer computes inside get quantisers (attention, separable).
        scheme: The number formats.
        children: What is quantised in the layers below, by position (see `containers`).
        reason: Why nothing of the layer itself is quantised although it could be; else empty.
        shift: The shape of what is added to the bias (see `correction`); empty where nothing is.
        gain: The shape of what multiplies the last kernel; empty where nothing does.
        equalized: Whether its kernel has taken in factors of its input's channels (see `equalization`).
        rounded: Whether its weights were rounded by its outputs (see `adaround`).
        self_rounding: Whether its `call` rounds its kernels, so that none is rounded before.
        placement: How it was decided which layers of the model are quantised (see `shape_rules`).
    """

    inputs: tuple[int, ...] = ()
    kernels: tuple[str, ...] = ()
    inner: bool = False
    scheme: Scheme = Scheme()  # noqa: RUF009 - frozen
    children: tuple[tuple[tuple[int, ...], LayerScheme], ...] = ()
    reason: str = ""
    shift: tuple[int, ...] = ()
    gain: tuple[int, ...] = ()
    equalized: bool = False
    placement: str = "all"
    rounded: bool = False
    self_rounding: bool = False

    @property
    def own(self) -> bool:
        """Whether anything of the layer itself is quantised."""
        return bool(self.inputs or self.kernels or self.inner)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> LayerScheme:
        """Reads what `asdict` wrote, lists for tuples."""
        children = tuple((tuple(p), cls.from_config(c)) for p, c in config["children"])
        inputs, kernels = tuple(config["inputs"]), tuple(config["kernels"])
        shapes = (tuple(config.get(name, ())) for name in ("shift", "gain"))  # which older files lack
        flags = (
            bool(config.get("equalized", False)),
            str(config.get("placement", "all")),
            bool(config.get("rounded", False)),
            bool(config.get("self_rounding", False)),
        )
        later = (config.get("reason", ""), *shapes, *flags)
        return cls(inputs, kernels, config["inner"], Scheme(**config["scheme"]), children, *later)


class Quantizer(Protocol):
    """An activation quantiser (see `quantizer.py`)."""

    dtype_name: str
    momentum: float
    learned: bool
    trainable: bool
    amax: Variable
    observe: Variable

    @property
    def name(self) -> str:
        """Its name, after its layer's."""

    def range(self) -> float:
        """Its range as a number."""

    def set_range(self, amax: float) -> None:
        """Sets its range."""

    def hold(self) -> None:
        """Keeps its range from now on."""

    def __call__(self, x: Tensor) -> Tensor:
        """Rounds a tensor."""


class Switch(Protocol):
    """What says whether a twin computes quantised, with its corrections (see `switch.py`)."""

    @property
    def on(self) -> Variable:
        """1 where it does."""

    @property
    def shift(self) -> Variable:
        """What is added to the bias; None where the scheme has no shape for it."""

    @property
    def gain(self) -> Variable:
        """What multiplies the last kernel's scales; None where the scheme has no shape for it."""


class Twin(Layer, Protocol):
    """A quantised layer.

    Attributes:
        quantization: What is quantised in it.
        quantization_switch: Its switch; None where nothing of the layer itself is quantised.
        input_quantizers: Those of its inputs, by their positions in the scheme.
        inner_quantizers: Those of the products that it computes inside.
    """

    quantization: LayerScheme
    quantization_switch: Switch
    input_quantizers: Sequence[Quantizer]
    inner_quantizers: Sequence[Quantizer]

    @property
    def compute_dtype(self) -> str:
        """The type in which it computes."""
