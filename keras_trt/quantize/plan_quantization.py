"""What quantising a model would do, layer by layer, without doing it."""

from __future__ import annotations

from typing import Any

from keras_trt._keras.types import Choices, Model
from keras_trt.placement.decision import Decision
from keras_trt.placement.shape_rules import DEFAULT
from keras_trt.quantize.decide import WAY_OUT, check_placement, decide
from keras_trt.reports import Report
from keras_trt.tfmot.accept import accept


def plan_quantization(
    model: Model,
    scheme: object = "int8",
    *,
    only: Choices | None = None,
    skip: Choices = (),
    placement: str = DEFAULT,
) -> Report:
    """What `quantize_model` with these arguments would do, layer by layer, without doing it.

    Args:
        model: A built Keras 3 or tf_keras model; it is not changed.
        scheme: As in `quantize_model`.
        only: As in `quantize_model`.
        skip: As in `quantize_model`.
        placement: As in `quantize_model`.

    Returns:
        A report with the columns layer, kind, inputs, kernels, scheme, reason.

    Raises:
        ModelError: The model is not built.
        InputError: A choice matches no layer, or there is no such placement.

    Example:
        >>> print(keras_trt.quantize.plan_quantization(model, skip=["head"]))
    """
    flavor, model, _ = accept(model)
    decisions = decide(flavor, model, scheme, only, skip, check_placement(placement))
    count = sum(d.quantized for d in decisions.values())
    title = f"Plan of {model.name}: {count} of {len(decisions)} layers quantised"
    if by_shape := sum(bool(d.rule) for d in decisions.values()):
        title += f", {by_shape} left in float for their shapes"
    notes = (f"Nothing would be quantised. {WAY_OUT}",) if by_shape and not count else ()
    return Report(title, tuple(_row(d) for d in decisions.values()), notes)


def _row(decision: Decision) -> dict[str, Any]:
    """A decision as a row of a report."""
    return {
        "layer": decision.path,
        "kind": decision.kind,
        "inputs": ", ".join([*map(str, decision.inputs), *(["inner"] if decision.inner else [])]),
        "kernels": ", ".join(decision.kernels),
        "scheme": decision.scheme.name if decision.scheme else "",
        "reason": decision.reason,
    }
