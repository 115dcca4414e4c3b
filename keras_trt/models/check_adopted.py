"""What was remembered as quantised when a model was saved must come back so."""

from __future__ import annotations

from keras_trt._keras.flavor import Flavor
from keras_trt._keras.kernels import is_keras_own
from keras_trt._keras.types import Layer, Model
from keras_trt.errors import ModelError
from keras_trt.twins.containers import below
from keras_trt.twins.twins import float_class, is_twin


def check_adopted(flavor: Flavor, model: Model) -> None:
    """Makes sure that every remembered descendant came back quantised.

    Raises:
        ModelError: A container made its sub-layers in another way than when it was saved.
    """
    for path, layer in [(model.name, model), *flavor.walk(model)]:
        if not is_twin(layer):
            continue
        there = dict(below(flavor, layer))
        for position, _ in layer.quantization.children:
            if position not in there or not is_twin(there[position]):
                raise ModelError(_lost(flavor, model, path, layer))


def _lost(flavor: Flavor, model: Model, path: str, layer: Layer) -> str:
    """Why a layer has not the sub-layers that it was saved with, and what to write."""
    if layer.built or not is_keras_own(float_class(layer)):
        return (
            f"Layer {path!r} ({type(layer).__name__}) did not make the sub-layers it was saved with, so "
            "their quantisation is lost. Make them in `__init__` or `build`, always in one order."
        )
    around = {"": model} | {above: each for above, each in flavor.walk(model) if path.startswith(f"{above}/")}
    above, own = max(
        ((above, each) for above, each in around.items() if not is_keras_own(float_class(each))),
        key=lambda entry: len(entry[0]),
        default=("", model),
    )
    return (
        f"Layer {path!r} ({type(layer).__name__}) is not built in the loaded model, so that Keras reads none "
        f"of its weights, not of the float model's file either. Give {float_class(own).__name__!r} "
        f"({above or model.name!r}), which holds it, a `build` that builds the layers inside, or leave a "
        "`build` of the model's own out: Keras then calls the model to build it."
    )
