"""Rebuilds a functional model with some layers made anew and some left out of the graph."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from keras_trt._keras.flavor import Flavor, flavor_of
from keras_trt.errors import ModelError

Make = Callable[[str, Any], Any]


def rewire(flavor: Flavor, model: Any, make: Make, drop: set[str]) -> tuple[Any, list[tuple[Any, Any]]]:
    """A model of the same graph and names on new layers.

    Args:
        flavor: The model's flavour.
        model: A Functional or Sequential model; nested ones are rebuilt the same way.
        make: `(path, layer) -> new layer`, called once for each layer that is no functional model.
        drop: Paths of one-input, one-output layers to leave out: what they read goes on unchanged.

    Returns:
        The new model, its weights freshly initialised. Then each model and layer with its new one, outer
        ones first.
    """
    paths = {id(layer): path for path, layer in flavor.walk(model)}
    rewiring = _Rewiring(flavor, make, drop, paths)
    new = rewiring.rebuild(model, "")
    return new, [(model, new), *reversed(rewiring.made.values())]


def copy_layer(layer: Any, **changes: Any) -> Any:
    """A new layer of the same class, name and config, with some entries of the config changed.

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
    flavor, pairs = flavor_of(layer), [(layer, copy)]
    if flavor.is_model(layer) and flavor.is_functional(layer):
        inside = (flavor.walk(model) for model in (layer, copy))
        pairs += [(old, new) for (_, old), (_, new) in zip(*inside, strict=True)]
    for old, new in pairs:
        if new.name != old.name:  # a config that Keras gathered by itself does not hold the name
            rename(flavor, new, old.name)
    return copy


def matched(flavor: Flavor, old: Any, new: Any) -> list[tuple[Any, Any]]:
    """A layer with its copy, then the layers inside of both, each with its copy: outer layers first.

    They are told by their places: inside a custom layer, two may have one name, and Keras numbers its own.

    Raises:
        ModelError: The copy made its sub-layers in another way.
    """
    inside = [[layer for _, layer in flavor.walk(layer)] for layer in (old, new)]
    if [type(layer) for layer in inside[0]] != [type(layer) for layer in inside[1]]:
        raise ModelError(
            f"A copy of layer {old.name!r} ({type(old).__name__}) made other sub-layers than the layer has. "
            "Make them in `__init__` or `build`, from the arguments in `get_config`."
        )
    return [(old, new), *zip(*inside, strict=True)]


def copy_trainable(flavor: Flavor, pairs: Iterable[tuple[Any, Any]]) -> None:
    """Gives layers, and those inside of them, the `trainable` flags of the layers that they are copies of.

    Do this before weights are copied: in tf_keras their order depends on the flags.

    Args:
        flavor: The Keras of both.
        pairs: As from `rewire`, outer layers first: setting a flag sets it for all that is inside.
    """
    for outer in pairs:
        functional = flavor.is_model(outer[0]) and flavor.is_functional(outer[0])  # its layers are pairs
        for old, new in [outer] if functional or not flavor.is_layer(outer[0]) else matched(flavor, *outer):
            if flavor.is_layer(old) and new.trainable != old.trainable:
                new.trainable = old.trainable


def copy_weights(flavor: Flavor, old: Any, new: Any) -> None:
    """Gives a layer, and those inside of it, the weights of the layer that it is a copy of."""
    for source, target in matched(flavor, old, new):
        own = [_own_weights(flavor, layer) for layer in (source, target)]
        for value, variable in zip(*own, strict=True):
            variable.assign(flavor.raw(value))


def _own_weights(flavor: Flavor, layer: Any) -> list[Any]:
    """The weights of a layer and of its quantisers, which may come before or after its sub-layers."""
    inside = {id(w) for c in flavor.children(layer) if not flavor.is_quantizer(c) for w in c.weights}
    return [weight for weight in layer.weights if id(weight) not in inside]


def _copy_input(layer: Any) -> Any:
    """A new Keras 3 InputLayer; its tensor has a name of its own, which is the input's name to users."""
    copy = copy_layer(layer)
    copy.output.name = layer.output.name
    return copy


def copy_inputs(flavor: Flavor, model: Any) -> Any:
    """New inputs of a Keras 3 Functional model, in its own nest, their layers and tensors named as before."""
    return flavor.keras.tree.map_structure(
        lambda tensor: _copy_input(tensor._keras_history.operation).output, model.input
    )


class _Rewiring:
    """One call of `rewire`; a layer or model met twice is made once."""

    def __init__(self, flavor: Flavor, make: Make, drop: set[str], paths: dict[int, str]) -> None:
        self.flavor, self.make, self.drop, self.paths = flavor, make, drop, paths
        self.made: dict[int, tuple[Any, Any]] = {}  # the old one, too

    def rebuild(self, model: Any, prefix: str) -> Any:
        keras = self.flavor.keras
        if isinstance(model, keras.Sequential):
            return self._sequential(model, prefix)
        if self.flavor.name == "keras3":
            return self._keras3_functional(model, prefix)
        return self._legacy_functional(model, prefix)

    def _path(self, layer: Any, prefix: str) -> str:
        return self.paths.get(id(layer), f"{prefix}{layer.name}")  # Keras's operations are no layers

    def _layer(self, layer: Any, prefix: str) -> Any:
        if id(layer) not in self.made:
            path = self._path(layer, prefix)
            if self.flavor.is_model(layer) and self.flavor.is_functional(layer):
                made = self.rebuild(layer, f"{path}/")
            else:
                made = self.make(path, layer)
            self.made[id(layer)] = layer, made
        return self.made[id(layer)][1]

    def _call(self, layer: Any, prefix: str, args: Any, kwargs: Any) -> Any:
        if self._path(layer, prefix) in self.drop:
            return args[0] if args else next(iter(kwargs.values()))
        return self._layer(layer, prefix)(*args, **kwargs)

    def _sequential(self, model: Any, prefix: str) -> Any:
        keras = self.flavor.keras
        kept = [layer for layer in model.layers if self._path(layer, prefix) not in self.drop]
        layers = [self._layer(layer, prefix) for layer in kept]
        first = next(iter(self.flavor.children(model)), None)
        if isinstance(first, keras.layers.InputLayer):
            layers.insert(0, _copy_input(first) if self.flavor.name == "keras3" else copy_layer(first))
        rebuilt = keras.Sequential(layers, name=model.name)
        if not rebuilt.built:
            rebuilt.build(model.input_shape)
        return rebuilt

    def _keras3_functional(self, model: Any, prefix: str) -> Any:
        from keras_trt._keras.keras3 import _uncompiled

        keras = self.flavor.keras
        with _uncompiled(model):  # clone_model would compile the copy too
            return keras.models.clone_model(
                model,
                input_tensors=copy_inputs(self.flavor, model),
                clone_function=lambda layer: layer,  # the old layer, only to learn which call it is
                call_function=lambda layer, *args, **kwargs: self._call(layer, prefix, args, kwargs),
            )

    def _legacy_functional(self, model: Any, prefix: str) -> Any:
        """tf_keras's `clone_model` cannot leave a layer out, so its graph is run on new inputs here."""
        nest, keras = self.flavor.tf.nest, self.flavor.keras
        starts = [copy_layer(layer).output for layer in model._input_layers]
        tensors = {str(id(old)): new for old, new in zip(model.inputs, starts, strict=True)}
        for depth in sorted(model._nodes_by_depth, reverse=True):
            for node in model._nodes_by_depth[depth]:
                if node.is_input:
                    continue
                reads = {name: [tensors[name]] * len(node.flat_input_ids) for name in node.flat_input_ids}
                args, kwargs = node.map_arguments(reads)
                made = self._call(node.layer, prefix, args, kwargs)
                tensors.update(zip(node.flat_output_ids, nest.flatten(made), strict=True))
        inputs = nest.pack_sequence_as(model._nested_inputs, starts)
        outputs = nest.map_structure(lambda t: tensors[str(id(t))], model._nested_outputs)
        return keras.Model(inputs, outputs, name=model.name)


def rename(flavor: Flavor, layer: Any, name: str) -> None:
    """Gives a layer that is not yet part of a model another name."""
    setattr(layer, "name" if flavor.name == "keras3" else "_name", name)


def new_inputs(flavor: Flavor, model: Any, prefix: str = "") -> Any:
    """Fresh inputs for calling a functional model, in its own nest; named as its inputs, after `prefix`."""

    def fresh(tensor: Any) -> Any:
        name = prefix + tensor._keras_history[0].name
        return flavor.keras.Input(batch_shape=tuple(tensor.shape), dtype=tensor.dtype, name=name)

    return flavor.tf.nest.map_structure(fresh, flavor.input_nest(model))
