"""Schemes: what number format the weights and activations of a quantised layer take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from keras_trt.errors import InputError


@dataclass(frozen=True)
class Scheme:
    """A quantisation scheme.

    Attributes:
        name: What users call it.
        weights: Number format of the weights.
        activations: Number format of the activations; None leaves them float.
    """

    name: str
    weights: str
    activations: str | None


SCHEMES = {s.name: s for s in (Scheme("int8", weights="int8", activations="int8"),)}


def scheme_named(scheme: Any) -> Scheme:
    """The scheme a name stands for; a `Scheme` is returned as it is.

    Raises:
        InputError: An unknown name.
    """
    if isinstance(scheme, Scheme):
        return scheme
    if isinstance(scheme, str) and scheme in SCHEMES:
        return SCHEMES[scheme]
    raise InputError(f"`scheme` must be one of {sorted(SCHEMES)} or a Scheme. Received: scheme={scheme!r}")
