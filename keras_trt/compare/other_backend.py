"""Compares a bundle with a model of JAX or PyTorch on its own backend."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from keras_trt._base.nests import map_nest, zip_nests
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Model
from keras_trt.bundle import Bundle
from keras_trt.bundle.probe import expect
from keras_trt.plans import cache_of
from keras_trt.runtime.choosing.select import select_runner
from keras_trt.runtime.choosing.trial import fault, probe_of
from keras_trt.runtime.feeds import Feeds


def other_backend_fault(flavor: Flavor, model: Model, bundle: Bundle) -> str | None:
    """What the bundle's runner computes otherwise than the model, on the bundle's probe; None for nothing.

    Args:
        flavor: The model's Keras.
        model: The model that was exported.
        bundle: The bundle, which has been found to agree with the same model on TensorFlow.
    """
    probe = probe_of(bundle)
    if probe is None or probe.expected is None:
        return None
    allowed = {name: held.allowed for name, held in probe.expected.items()}
    right = expect(_answers(flavor, model, bundle, probe.inputs), allowed)
    runner = select_runner(bundle, "auto", verbose=0, cache=cache_of(None))
    try:
        return fault(runner, replace(probe, expected=right))
    finally:
        runner.close()


def _answers(flavor: Flavor, model: Model, bundle: Bundle, feeds: Feeds) -> Feeds:
    """What the model makes of the probe, by output name."""
    tensors = {name: flavor.ops.convert_to_tensor(x) for name, x in feeds.items()}
    inputs = map_nest(lambda name, _: tensors[name], bundle.manifest.input_structure)
    outputs = model(inputs, **flavor.inference_arguments(model))
    named = zip_nests(bundle.manifest.output_structure, outputs)
    return {name: np.asarray(flavor.ops.to_numpy(y)) for name, y in named}
