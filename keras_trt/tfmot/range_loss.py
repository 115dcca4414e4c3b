"""What it costs to make TF-MOT's ranges symmetric: per tensor, and in accuracy when there is data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_trt._base.formats import TOP
from keras_trt._keras.flavor_of import check_model, flavor_of
from keras_trt._keras.types import Model
from keras_trt.data.batches import batches_with_targets
from keras_trt.data.scores import score_of
from keras_trt.errors import InputError, ModelError
from keras_trt.reports import Report
from keras_trt.tfmot.convert import Conversion, QuantizedInput, convert
from keras_trt.tfmot.wrapped import is_wrapped

_WORTH_SAYING = 1.001


def range_report(
    model: Model, data: object = None, *, metric: object = "accuracy", batch_size: int = 32
) -> Report:
    """How much coarser each activation's grid gets when a TF-MOT model is made symmetric for TensorRT.

    TF-MOT's step is `(max - min) / 255`, the symmetric one `max(|min|, |max|) / 127`; `coarser` is their
    ratio: 1.0 loses nothing, 2.0 one bit (the output of a ReLU). Weights are symmetric in TF-MOT already.

    Args:
        model: A tf_keras model wrapped by TF-MOT; it is not changed.
        data: Labelled data for the accuracy before and after: `(inputs, targets)` as arrays, or batches of
            them (a `tf.data.Dataset`, a `Sequence`, any iterable).
        metric: As in `verify`.
        batch_size: Batch size for arrays.

    Returns:
        A report with the columns layer, input, minimum, maximum, amax, step, int8_step, coarser. Numbers are
        None for a tensor whose range TF-MOT has not learned yet.

    Raises:
        ModelError: TF-MOT has not wrapped the model.
        InputError: The data holds no targets, or the accuracy of the model's outputs is not defined.

    Example:
        >>> print(keras_trt.tfmot.range_report(wrapped, (x_test, y_test)))
    """
    flavor = check_model(model)
    if not is_wrapped(flavor, model):
        raise ModelError(
            f"Model {model.name!r} holds no layer wrapped by TF-MOT, so there is no range to compare. "
            "Use `keras_trt.report(model)`."
        )
    conversion = convert(model)
    notes = summary(conversion)
    if data is not None:
        notes.append(accuracy_note(model, conversion.model, data, metric, batch_size))
    return Report(f"{model.name}: ranges of TF-MOT made symmetric", tuple(_rows(conversion)), tuple(notes))


def summary(conversion: Conversion) -> list[str]:
    """The range loss in one sentence; none when there is no loss, as with `TensorRTQuantizeScheme`."""
    known = [tensor for tensor in conversion.inputs if tensor.learned is not None]
    worst = max(known, key=_loss, default=None)
    if worst is None or _loss(worst) < _WORTH_SAYING:
        return []
    return [
        f"{len(known)} activation ranges of TF-MOT were made symmetric: their steps grew "
        f"{np.median([_loss(tensor) for tensor in known]):.2f}x in the median, {_loss(worst):.2f}x at most "
        f"(the input of layer {worst.layer!r}). See `keras_trt.tfmot.range_report(model)`."
    ]


def made_symmetric(model: Model, data: Any = None) -> tuple[Any, list[str]]:
    """The plain form of any model, and for one that TF-MOT has wrapped what that cost, in sentences.

    Args:
        model: Any Keras model.
        data: Data of the user; a `tf.data.Dataset` with targets also gives the accuracy before and after.
    """
    flavor = flavor_of(model)
    if not is_wrapped(flavor, model):
        return model, []
    conversion = convert(model)
    notes = summary(conversion)
    if (
        conversion.inputs
        and isinstance(getattr(data, "element_spec", None), tuple)
        and len(data.element_spec) > 1
    ):
        try:
            notes.append(accuracy_note(model, conversion.model, data))
        except InputError as e:
            notes.append(f"The accuracy before and after was not measured: {e}")
    return conversion.model, notes


def accuracy_note(
    before: object, after: object, data: object, metric: object = "accuracy", batch_size: int = 32
) -> str:
    """The metric of both models on labelled data, as a sentence."""
    score = score_of("accuracy" if metric is None else metric, flavor_of(before))
    targets, (old, new) = _predictions((before, after), data, batch_size)
    values = [score.of(targets, predictions) for predictions in (old, new)]
    return f"{score.name} on {len(targets)} samples: {values[0]:.4f} before, {values[1]:.4f} after."


def _rows(conversion: Conversion) -> Iterator[dict[str, Any]]:
    for tensor in conversion.inputs:
        learned = tensor.learned
        yield {
            "layer": tensor.layer,
            "input": tensor.position,
            "minimum": None if learned is None else learned.minimum,
            "maximum": None if learned is None else learned.maximum,
            "amax": None if learned is None else learned.amax,
            "step": None if learned is None else learned.step,
            "int8_step": None if learned is None else learned.amax / TOP["int8"],
            "coarser": None if learned is None else learned.loss,
        }


def _loss(tensor: QuantizedInput) -> float:
    return tensor.learned.loss if tensor.learned is not None else 0.0


def _predictions(models: tuple[Any, Any], data: object, batch_size: int) -> tuple[Any, list[Any]]:
    """All targets, and all predictions of both models; structures of several outputs stay."""
    flavor = flavor_of(models[0])
    tf = flavor.tf
    targets: list[Any] = []
    outputs: list[list[Any]] = [[], []]
    batches = iter(data) if isinstance(data, list) else data  # each a batch, never an input without targets
    for x, y in batches_with_targets(flavor, models[1], batches, batch_size):
        if y is None:
            raise InputError(f"`data` must hold targets: (inputs, targets). Received: {_kind(data)}")
        targets.append(tf.nest.map_structure(np.asarray, y))
        for model, predicted in zip(models, outputs, strict=True):
            predicted.append(model.predict_on_batch(x))

    def joined(batches: list[object]) -> Any:
        return tf.nest.map_structure(lambda *arrays: np.concatenate(arrays), *batches)

    return joined(targets), [joined(predicted) for predicted in outputs]


def _kind(data: object) -> str:
    name = type(data).__name__
    return f"a {name} of {len(data)}" if isinstance(data, tuple | list) else f"a {name} of inputs alone"
