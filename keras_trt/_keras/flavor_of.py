"""Which of the two Kerases an object belongs to."""

from __future__ import annotations

import functools

from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Model
from keras_trt._machine.deps import require
from keras_trt.errors import ModelError

_OTHERS = ("jax", "torch")  # beside TensorFlow


@functools.cache
def keras3() -> Flavor:
    """The Keras 3 flavour; imports Keras.

    Raises:
        MissingDependencyError: Keras is not installed.
        ModelError: It runs on a backend that no model trains on.
    """
    require("keras", install="keras-trt[keras]", why="Keras models and layers")
    import keras

    backend = keras.backend.backend()
    if backend == "tensorflow":
        from keras_trt._keras.keras3 import Keras3

        return Keras3()
    if backend not in _OTHERS:
        raise ModelError(
            f"Keras 3 models on TensorFlow, JAX and PyTorch are supported. Received: a model on the "
            f"{backend!r} backend. Save it with `model.save('model.keras')`, then load it in a process "
            "started with KERAS_BACKEND=tensorflow."
        )
    from keras_trt._keras.backends.any_backend import Keras3AnyBackend

    return Keras3AnyBackend()


@functools.cache
def legacy() -> Flavor:
    """The tf_keras flavour; imports tf_keras.

    Raises:
        MissingDependencyError: tf_keras or TensorFlow is not installed.
    """
    _require("tf_keras")
    from keras_trt._keras.legacy import LegacyKeras

    return LegacyKeras()


def flavor_of(obj: object) -> Flavor:
    """The flavour of a model, a layer or a layer class, read off its class.

    Raises:
        ModelError: `obj` is no Keras object, or comes from Keras 2.
    """
    for cls in (obj if isinstance(obj, type) else type(obj)).__mro__:
        root = cls.__module__.split(".")[0]
        if root == "tf_keras":
            return legacy()
        if root == "keras":
            import keras

            if not keras.__version__.startswith("3"):
                raise ModelError(
                    f"Keras 2 models are supported through `tf_keras`. Received: a model of keras "
                    f"{keras.__version__}. Install it with: pip install tf-keras"
                )
            return keras3()
    raise ModelError(
        f"A Keras 3 or tf_keras model is needed. Received: {obj!r} (of type {type(obj).__name__})."
    )


def check_model(model: Model) -> Flavor:
    """The flavour of a built model.

    Raises:
        ModelError: `model` is not a built Keras model.
    """
    flavor = flavor_of(model)
    if isinstance(model, type):
        raise ModelError(
            f"A Keras model is needed, not a class. Received: class {model.__name__}. Make one of it first."
        )
    if not flavor.is_model(model):
        raise ModelError(
            f"A Keras model is needed, not a single layer. Received: layer {model.name!r}. "
            "Wrap it: keras.Sequential([keras.Input(shape), layer])."
        )
    if not model.built:
        raise ModelError(
            f"Model {model.name!r} has no weights yet. Call it once on data, call "
            "`model.build(input_shape)`, or give its first layer a `keras.Input(shape)`."
        )
    return flavor


def _require(keras: str) -> None:
    for package in ("tensorflow", keras):
        require(package, install="keras-trt[keras]", why="Keras models and layers")
