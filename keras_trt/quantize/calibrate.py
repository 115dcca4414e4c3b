"""Finding activation ranges from data (post-training quantisation, and the start of training)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from keras_trt._arguments import check_verbose
from keras_trt._keras.batches import batches, check_data, length
from keras_trt._keras.flavor import Flavor, check_model
from keras_trt.errors import InputError, ModelError
from keras_trt.quantize.calibrators import Histogram, calibrator
from keras_trt.quantize.from_tfmot import plain_model
from keras_trt.quantize.inventory import activation_quantizers
from keras_trt.quantize.quantizer import observing


def calibrate(
    model: Any,
    data: Any,
    method: Any = "max",
    *,
    batch_size: int = 32,
    steps: int | None = None,
    verbose: int = 1,
) -> Any:
    """Sets the activation ranges of a quantised model from one pass over data, in place.

    The model runs with rounded weights and float activations: what is measured is what will be cut.

    Args:
        model: A quantised Keras 3 or tf_keras model.
        data: An array (samples first), a list or dict of arrays, a `tf.data.Dataset`, a generator or a
            `PyDataset`/`Sequence`; a few hundred samples are usually enough.
        method: `"max"`, `"percentile"` (99.99 %), `"entropy"`, `"mse"`, `"std"` (4 std), or a calibrator
            such as `calibrators.Percentile(99.9)`.
        batch_size: Batch size for arrays.
        steps: The most batches to use.
        verbose: 1 shows a progress bar, 0 nothing.

    Returns:
        The same model; for one that TF-MOT has wrapped, its converted form.

    Raises:
        ModelError: Nothing in the model is quantised.
        InputError: Empty data, a wrong shape (the input is named), NaN (the layer is named).

    Example:
        >>> calibrate(model, x_train[:512], method="entropy")
    """
    flavor = check_model(model)
    check_verbose(verbose)
    check_data(data, batch_size, steps)
    model = plain_model(model)
    chosen = calibrator(method)
    owners = {id(q): (path, q) for path, q in activation_quantizers(flavor, model)}
    if not owners:
        raise ModelError(
            f"Model {model.name!r} has no quantised activation. Call `keras_trt.quantize_model(model)` first."
        )
    seen = {key: Histogram() for key in owners}
    items = batches(flavor, model, data, batch_size, steps)
    total = length(data, batch_size, steps)
    bar = flavor.keras.utils.Progbar(total, verbose=verbose, unit_name="calibration batch")
    with _numbered(seen) as numbers:
        run = _observed_call(flavor, model, numbers)
        for done, batch in enumerate(items, start=1):
            run(batch)
            _check_finite(seen, owners)
            bar.update(done, finalize=done == total)
    for key, histogram in seen.items():
        if histogram.total:  # a layer that the call never reaches keeps its range
            owners[key][1].set_range(chosen.amax(histogram))
    return model


_FILLING: dict[int, Histogram] = {}
_NUMBERS = itertools.count()


@contextmanager
def _numbered(seen: dict[int, Histogram]) -> Iterator[dict[int, int]]:
    """While open, `_add` fills the histograms, each known by a number; yields the numbers by key.

    TensorFlow keeps every function given to `numpy_function` alive for ever, and with it what it refers to:
    so it gets one function that refers to nothing.
    """
    numbers = {key: next(_NUMBERS) for key in seen}
    _FILLING.update((number, seen[key]) for key, number in numbers.items())
    try:
        yield numbers
    finally:
        for number in numbers.values():
            del _FILLING[number]


def _add(number: np.ndarray, values: np.ndarray) -> None:
    histogram = _FILLING.get(int(number))
    if histogram is not None:
        histogram.add(values)


def _observed_call(flavor: Flavor, model: Any, numbers: dict[int, int]) -> Any:
    """The model's call as a graph that fills the histograms on its way, tensor by tensor."""
    tf = flavor.tf

    def observe(quantizer: Any, tensor: Any) -> None:
        number = tf.constant(numbers[id(quantizer)], tf.int64)
        tf.numpy_function(_add, [number, tf.cast(tensor, tf.float32)], [])

    @tf.function(reduce_retracing=True)
    def run(batch: Any) -> None:
        with observing(observe):
            model(batch, training=False)

    return run


def _check_finite(seen: dict[int, Histogram], owners: dict[int, tuple[str, Any]]) -> None:
    for key, histogram in seen.items():
        if not histogram.finite:
            raise InputError(
                f"The calibration data makes the input of layer {owners[key][0]!r} NaN or infinite. "
                "Check the data for NaN and the model for exploding values."
            )
