"""Rebuilds a functional model with some layers made anew and some left out of the graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from keras_trt._base.nests import Nest
from keras_trt._base.private import private
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.flavor_of import flavor_of
from keras_trt._keras.types import Layer, M, Model, Tensor
from keras_trt.errors import ModelError

Make = Callable[[str, Any], Layer]
L = TypeVar("L", bound=Layer)


def rewire(flavor: Flavor, model: M, make: Make, drop: Mapping[str, int]) -> M:
    """A model of the same graph and names on new layers.

    Args:
        flavor: The model's flavour.
        model: A Functional or Sequential model; nested ones are rebuilt the same way.
        make: `(path, layer) -> new layer`, called once for each layer that is no functional model.
        drop: Paths of one-output layers to leave out, and which of their inputs goes on unchanged.

    Returns:
        The new model, with the weights that the new layers have.
    """
    paths = {id(layer): path for path, layer in flavor.walk(model)}
    return _Rewiring(flavor, make, drop, paths).rebuild(model, "")


def copy_layer(layer: L, **changes: object) -> L:
    """A new layer of the same class, name and config, with some entries of the config changed.

    For layers of Keras's own that change their shape; `copy_layers` copies what stays as it is.

    Raises:
        ModelError: The layer's class cannot be made from its config.
    """
    try:
        copy = type(layer).from_config({**layer.get_config(), **changes})
    except (TypeError, NotImplementedError) as e:
        raise ModelError(
            f"Layer {layer.name!r} ({type(layer).__name__}) cannot be copied: {e}. Give it a `get_config` "
            "with all arguments of its constructor, which should take `**kwargs` for its base class."
        ) from e
    if copy.name != layer.name:  # a config that Keras gathered by itself does not hold the name
        flavor_of(layer).rename(copy, layer.name)
    copy.trainable = layer.trainable
    return copy


def _copy_input(flavor: Flavor, layer: Any) -> Any:
    """A new InputLayer; where its tensor has a name of its own, that is the input's name to users."""
    copy = copy_layer(layer)
    if flavor.names_inputs:
        copy.output.name = layer.output.name
    return copy


def copy_inputs(flavor: Flavor, model: Any) -> Nest:
    """New inputs of a Keras 3 Functional model, in its own nest, their layers and tensors named as before."""
    return flavor.keras.tree.map_structure(
        lambda tensor: _copy_input(flavor, tensor._keras_history.operation).output, model.input
    )


@contextmanager
def _uncompiled(model: Any) -> Iterator[None]:
    """`clone_model` would compile the copy too, and fail on a loss that it cannot find by name."""
    compiled, model.compiled = model.compiled, False
    try:
        yield
    finally:
        model.compiled = compiled


class _Rewiring:
    """One call of `rewire`; a layer or model met twice is made once."""

    def __init__(self, flavor: Flavor, make: Make, drop: Mapping[str, int], paths: dict[int, str]) -> None:
        self.flavor, self.make, self.drop, self.paths = flavor, make, drop, paths
        self.made: dict[int, Layer] = {}

    def rebuild(self, model: Any, prefix: str) -> Any:
        keras = self.flavor.keras
        if isinstance(model, keras.Sequential):
            rebuilt = self._sequential(model, prefix)
        elif self.flavor.clones_by_call:
            rebuilt = self._cloned(model, prefix)
        else:
            rebuilt = self._run_again(model, prefix)
        rebuilt._trainable = model._trainable  # its layers have flags of their own
        return rebuilt

    def _path(self, layer: Layer, prefix: str) -> str:
        return self.paths.get(id(layer), f"{prefix}{layer.name}")  # Keras's operations are no layers

    def _layer(self, layer: Layer, prefix: str) -> Layer:
        if id(layer) not in self.made:
            path = self._path(layer, prefix)
            made: Layer
            if self.flavor.is_model(layer) and self.flavor.is_functional(layer):
                made = self.rebuild(layer, f"{path}/")
            else:
                made = self.make(path, layer)
            self.made[id(layer)] = made
        return self.made[id(layer)]

    def _call(self, layer: Layer, prefix: str, args: tuple[object, ...], kwargs: dict[str, object]) -> Any:
        index = self.drop.get(self._path(layer, prefix))
        if index is not None:
            return self.flavor.ops.nest.flatten(args[0] if args else next(iter(kwargs.values())))[index]
        return self._layer(layer, prefix)(*args, **kwargs)

    def _sequential(self, model: Any, prefix: str) -> Any:
        keras = self.flavor.keras
        remaining = [layer for layer in model.layers if self._path(layer, prefix) not in self.drop]
        layers = [self._layer(layer, prefix) for layer in remaining]
        first = next(iter(self.flavor.children(model)), None)
        if isinstance(first, keras.layers.InputLayer):
            layers.insert(0, _copy_input(self.flavor, first))
        rebuilt = keras.Sequential(layers, name=model.name)
        if not rebuilt.built:
            rebuilt.build(model.input_shape)
        return rebuilt

    def _cloned(self, model: Model, prefix: str) -> Any:
        keras = self.flavor.keras
        with _uncompiled(model):  # clone_model would compile the copy too
            return keras.models.clone_model(
                model,
                input_tensors=copy_inputs(self.flavor, model),
                clone_function=lambda layer: layer,  # the old layer, only to learn which call it is
                call_function=lambda layer, *args, **kwargs: self._call(layer, prefix, args, kwargs),
            )

    def _run_again(self, model: Any, prefix: str) -> Any:
        """Where `clone_model` cannot leave a layer out, the graph is run on new inputs here."""
        nest, keras = self.flavor.ops.nest, self.flavor.keras
        starts = [_copy_input(self.flavor, layer).output for layer in model._input_layers]
        tensors = {str(id(old)): new for old, new in zip(model.inputs, starts, strict=True)}
        by_depth = private(model, "_nodes_by_depth", "tf_keras")
        for depth in sorted(by_depth, reverse=True):
            for node in by_depth[depth]:
                if node.is_input:
                    continue
                reads = {name: [tensors[name]] * len(node.flat_input_ids) for name in node.flat_input_ids}
                args, kwargs = node.map_arguments(reads)
                made = self._call(node.layer, prefix, args, kwargs)
                tensors.update(zip(node.flat_output_ids, nest.flatten(made), strict=True))
        inputs = nest.pack_sequence_as(model._nested_inputs, starts)
        outputs = nest.map_structure(lambda t: tensors[str(id(t))], model._nested_outputs)
        return keras.Model(inputs, outputs, name=model.name)


def new_inputs(flavor: Flavor, model: Model, prefix: str = "") -> Nest:
    """Fresh inputs for calling a functional model, in its own nest; named as its inputs, after `prefix`."""

    def fresh(tensor: Any) -> Tensor:
        name = prefix + tensor._keras_history[0].name
        return flavor.keras.Input(batch_shape=tuple(tensor.shape), dtype=tensor.dtype, name=name)

    return flavor.ops.nest.map_structure(fresh, flavor.input_nest(model))
