"""The engine as a Keras layer; the one file of this room that needs Keras, and only when it is called."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from keras_trt._base.names import unique
from keras_trt._base.nests import Nest
from keras_trt._base.tensors import TensorSpec
from keras_trt._machine.process import alone
from keras_trt.bundle.manifest import names_in
from keras_trt.bundle.read import Bundle
from keras_trt.errors import InputError
from keras_trt.runtime.feeds import pair
from keras_trt.runtime.predict import fill, run_rows
from keras_trt.runtime.runners.runner import Runner

if TYPE_CHECKING:
    from keras_trt._keras.flavor import Flavor

_FLAVORS = ("keras3", "legacy")

Reopen = Callable[[str, str, Mapping[str, Any]], Any]
"""Makes an engine of its bundle's path and hash and the arguments of `load`."""


class Engine(Protocol):
    """What a layer asks of the engine that it runs; an `EngineModel` has it."""

    bundle: Bundle
    runner: Runner
    asked: Mapping[str, Any] | None
    reopen: Reopen | None

    @property
    def name(self) -> str:
        """The name of the exported model."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Each input: its name, shape and dtype."""

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Each output: its name, shape and dtype."""


def flavor_named(name: str) -> Flavor:
    """The Keras that a manifest names: `"keras3"` or `"legacy"`.

    Raises:
        InputError: Another name.
        MissingDependencyError: That Keras or TensorFlow is not installed.
    """
    if name not in _FLAVORS:
        raise InputError(f"`keras` must be one of {list(_FLAVORS)}. Received: {name!r}")
    from keras_trt._keras.flavor_of import keras3, legacy

    return {"keras3": keras3, "legacy": legacy}[name]()


def engine_layer(engine: Engine, flavor: Flavor, name: str | None = None) -> Any:
    """A Keras layer without weights that runs the engine; no gradient flows through it."""
    return layer_class(flavor, engine.reopen)(engine, name=name or engine.name.replace("/", "_"))


def engine_keras_model(engine: Engine, flavor: Flavor) -> Any:
    """A Keras model around the engine, with the inputs and outputs of the exported one."""
    keras, manifest = flavor.keras, engine.bundle.manifest
    takes = _names(manifest.input_structure)
    gives = {name: _valid(shown) for name, shown in _names(manifest.output_structure).items()}
    taken = set(gives.values())
    # Losses go by the outputs' names, so an input of the same name gets another; `pair` goes by the keys.
    symbols = {
        spec.name: keras.Input(
            batch_shape=_free(spec),
            dtype=spec.dtype,
            name=unique(_valid(takes[spec.name]), taken),
        )
        for spec in engine.inputs
    }
    inputs = fill(manifest.input_structure, symbols)
    results = dict(pair(engine_layer(engine, flavor)(inputs), manifest.output_structure, "outputs"))
    named = {
        n: keras.layers.Activation("linear", name=gives[n], dtype=t.dtype)(t) for n, t in results.items()
    }
    with alone(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="When providing `inputs` as a dict")  # of such a name
        return keras.Model(inputs, fill(manifest.output_structure, named), name=engine.name.replace("/", "_"))


def compile_arguments(flavor: Flavor, *given: object, **named: object) -> dict[str, Any]:
    """The arguments of `Model.compile` by name, as this Keras itself would read them.

    Raises:
        InputError: It does not take them.
    """
    signature = inspect.signature(flavor.keras.Model.compile)
    known = [p for p in signature.parameters.values() if p.kind != p.VAR_KEYWORD]  # tf_keras has one
    try:
        return signature.replace(parameters=known).bind_partial(None, *given, **named).arguments
    except TypeError as error:
        raise InputError(f"`compile` takes the arguments of {flavor.keras.__name__}: {error}") from None


@functools.cache
def layer_class(flavor: Flavor, reopen: Reopen | None) -> type:
    """The class of layers that run an engine; known to Keras's files once it has been made.

    Args:
        flavor: Of which Keras.
        reopen: Makes a loaded layer's engine; None for engines made of a runner, which no file can hold.
    """
    tf = flavor.tf

    class EngineLayer(flavor.keras.layers.Layer):  # type: ignore[name-defined, misc]
        """Runs an engine on the host through `tf.numpy_function`, eagerly and in graphs."""

        def __init__(self, engine: Engine, name: str) -> None:
            super().__init__(name=name, trainable=False, dtype="float32")
            self.engine = engine
            self.supports_jit = False  # XLA cannot call back into Python

        def call(self, inputs: object) -> Any:
            engine = self.engine
            named = dict(pair(inputs, engine.bundle.manifest.input_structure, "inputs"))
            tensors = [tf.cast(named[spec.name], spec.dtype) for spec in engine.inputs]
            types = [tf.as_dtype(spec.dtype) for spec in engine.outputs]
            results = tf.nest.flatten(tf.numpy_function(self._run, tensors, types, stateful=False))
            sizes = _known_sizes(engine.inputs, tensors)
            for result, spec in zip(results, engine.outputs, strict=True):
                result.set_shape([axis if isinstance(axis, int) else sizes.get(axis) for axis in spec.shape])
            arrays = {s.name: r for s, r in zip(engine.outputs, results, strict=True)}
            return fill(engine.bundle.manifest.output_structure, arrays)

        def _run(self, *arrays: object) -> list[Any]:
            engine = self.engine
            feeds = {spec.name: array for spec, array in zip(engine.inputs, arrays, strict=True)}
            with engine.runner.lifetime.use():
                results = run_rows(engine.runner, feeds, engine.inputs, engine.outputs)
            return [results[spec.name] for spec in engine.outputs]

        def get_config(self) -> dict[str, Any]:
            bundle, asked = self.engine.bundle, self.engine.asked
            if asked is None or self.engine.reopen is None:
                raise InputError(
                    f"Layer '{self.name}' runs an engine that was made of a runner, and cannot be saved. "
                    "Make the engine with keras_trt.load(path)."
                )
            where = {"path": str(bundle.path.resolve()), "onnx_sha256": bundle.manifest.onnx_sha256}
            # A file must not be able to let a plan run code.
            return {"name": self.name, **where, "asked": {**asked, "allow_host_code": False}}

        @classmethod
        def from_config(cls, config: dict[str, Any]) -> Any:
            engine = cls.reopen(config["path"], config["onnx_sha256"], config["asked"])
            return cls(engine, config["name"])

    if reopen is not None:
        EngineLayer.reopen = staticmethod(reopen)
        flavor.keras.saving.register_keras_serializable(package="keras_trt")(EngineLayer)
    return EngineLayer


def _known_sizes(specs: tuple[TensorSpec, ...], tensors: list[Any]) -> dict[int | str, int | None]:
    """What each named axis is at this place of a Keras model; None where that is open."""
    return {
        axis: size
        for spec, tensor in zip(specs, tensors, strict=True)
        for axis, size in zip(spec.shape, tensor.shape, strict=True)
        if isinstance(axis, str)
    }


def _free(spec: TensorSpec) -> tuple[int | None, ...]:
    return tuple(axis if isinstance(axis, int) else None for axis in spec.shape)


def _names(structure: Nest) -> dict[str, str]:
    """A Keras name for every tensor: Keras wants the entries of a dict named by their keys."""
    keys = structure if isinstance(structure, dict) else {}
    return {n: n for n in names_in(structure)} | {n: key for key, n in keys.items() if isinstance(n, str)}


def _valid(name: str) -> str:
    return name.replace("/", "_").replace(":", "_")
