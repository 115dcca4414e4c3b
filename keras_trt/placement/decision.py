"""What is decided about one layer."""

from __future__ import annotations

from dataclasses import dataclass

from keras_trt.placement.schemes import Scheme


@dataclass(frozen=True)
class Decision:
    """What happens to one layer, and why.

    Attributes:
        path: The layer's path.
        kind: The name of its nearest Keras class.
        inputs: Positions of the inputs to quantise.
        kernels: Names of the weight variables to quantise.
        reason: The rule, in one line.
        inner: Whether the products that the layer computes inside are quantised.
        scheme: The number formats; None while none is chosen or the layer stays float.
        rule: The rule by shape that leaves it in float, where one does (see `shape_rules`).
    """

    path: str
    kind: str
    inputs: tuple[int, ...] = ()
    kernels: tuple[str, ...] = ()
    reason: str = ""
    inner: bool = False
    scheme: Scheme | None = None
    rule: str = ""

    @property
    def quantized(self) -> bool:
        """Whether anything of the layer is quantised."""
        return bool(self.inputs or self.kernels or self.inner)
