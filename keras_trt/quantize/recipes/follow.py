"""Following a recipe: which layer of a model each of its layers is, and what is set there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import zip_longest
from typing import Any

from keras_trt._keras.flavor import Flavor
from keras_trt._keras.graph import kind_of
from keras_trt._keras.types import Layer, Model
from keras_trt.errors import InputError
from keras_trt.placement.schemes import Scheme
from keras_trt.quantize.decide import is_own_twin
from keras_trt.quantize.inventory import quantizers_of
from keras_trt.quantize.recipes.recipe import SPARED, LayerRecipe, Recipe, kernel_shapes
from keras_trt.quantize.recovery import EQUALIZATION
from keras_trt.twins.containers import mark_containers
from keras_trt.twins.twins import is_quantized, is_twin, quantize_layer
from keras_trt.twins.types import LayerScheme


def matched(flavor: Flavor, model: Model, recipe: Recipe, has_data: bool) -> Recipe:
    """The recipe with the paths that its layers have in a model.

    Keras numbers the layers that a user does not name, on and on in one process (`conv2d`, `conv2d_5`).
    Where names differ by that alone, layers are told by place, class and the shapes of their kernels.

    Raises:
        InputError: It is for another model, of which it names the first layer that differs, or needs data.
    """
    layers: list[LayerRecipe] = []
    theirs: dict[str, str] = {}  # by path of the model, the path of the recipe
    for i, (here, there) in enumerate(zip_longest(flavor.walk(model), recipe.layers), start=1):
        if here is None or there is None or not _is_same(flavor, here, there, theirs):
            named = "missing" if there is None else _named(there.path, there.kind, there.shapes)
            received = "missing" if here is None else _described(flavor, *here)
            raise InputError(
                f"The recipe of {recipe.model!r} is for another model: its layer {i} is {named}. "
                f"Received: a model whose layer {i} is {received}."
            )
        theirs[here[0]] = there.path
        layers.append(replace(there, path=here[0]))
    equalized = [each.path for each in layers if EQUALIZATION in each.recover]
    if equalized and not has_data:
        raise InputError(
            f"The recipe equalises channels, of layer {equalized[0]!r} for one, which takes data. "
            "Received: no `calibration_data`"
        )
    return replace(recipe, layers=tuple(layers))


def _is_same(flavor: Flavor, here: tuple[str, Layer], there: LayerRecipe, theirs: dict[str, str]) -> bool:
    """Whether a layer of a model is one of a recipe; `theirs` has the layers before it."""
    path, layer = here
    if kind_of(flavor, layer) != there.kind:
        return False
    parent = max((each for each in theirs if path.startswith(f"{each}/")), key=len, default="")
    before, after = (f"{each}/" if each else "" for each in (parent, theirs.get(parent, "")))
    if not there.path.startswith(after):
        return False
    name, other = path.removeprefix(before), there.path.removeprefix(after)
    if name == other:
        return True
    return _stem(layer, name) == _stem(layer, other) is not None and there.shapes in (
        (),
        kernel_shapes(layer),
    )


_INPUTS = ("input_layer", "input", "keras_tensor")  # Keras 3, tf_keras, `clone_model` of Keras 3


def _stem(layer: Layer, name: str) -> str | None:
    """A name that Keras gives layers of this class, without its number; None for a user's own."""
    stem, mark = re.fullmatch(r"(.*?)(?:_\d+)?((?:#\d+)?)", name, re.DOTALL).groups()  # type: ignore[union-attr]
    stems = {_snake(cls.__name__) for cls in type(layer).__mro__}
    if "input_layer" in stems and stem in _INPUTS:
        return "input_layer" + mark
    own = re.sub("^(forward|backward)_", "", stem) in stems or stem.startswith("tf.")
    return stem + mark if own else None


def _snake(name: str) -> str:
    """As both Kerases make the name of a layer of that of its class."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def choices(flavor: Flavor, model: Model, recipe: Recipe) -> tuple[dict[Any, Scheme], Any]:
    """What `scheme` and `skip` are for a recipe: layers told by what they are, not by their names.

    The name of a model stands for all layers inside it, and one name may be that of several layers.
    """
    layers = dict(flavor.walk(model))

    def one_of(paths: Iterable[str]) -> Callable[[Layer], bool]:
        known = {id(layers[path]) for path in paths}
        return lambda layer: id(layer) in known

    paths: dict[Scheme, list[str]] = {}
    for path, scheme in recipe.schemes.items():
        paths.setdefault(scheme, []).append(path)
    return {one_of(these): scheme for scheme, these in paths.items()}, one_of(recipe.in_float)


def follow_recipe(flavor: Flavor, model: Model, recipe: Recipe) -> None:
    """Sets the ranges that a recipe holds, and notes why layers that could be quantised are in float."""
    layers = dict(flavor.walk(model))
    for each in recipe.layers:
        layer = layers[each.path]
        if each.scheme is not None:
            quantizers = quantizers_of(layer) if is_quantized(layer) else []
            if len(quantizers) != len(each.ranges):
                raise InputError(
                    f"The recipe has {len(each.ranges)} ranges for layer {each.path!r} ({each.kind}), which "
                    f"takes {len(quantizers)}. Received: {each.ranges}"
                )
            for quantizer, amax in zip(quantizers, each.ranges, strict=True):
                if amax > 0:
                    quantizer.set_range(amax)
        elif each.reason.startswith(SPARED) and not is_twin(layer):
            quantize_layer(layer, LayerScheme(reason=each.reason))
    for twin in filter(is_own_twin, layers.values()):
        twin.quantization = replace(twin.quantization, placement=recipe.placement)
    mark_containers(flavor, model)


def _described(flavor: Flavor, path: str, layer: Layer) -> str:
    return _named(path, kind_of(flavor, layer), kernel_shapes(layer))


def _named(path: str, kind: str, shapes: Any) -> str:
    kernels = ", ".join(str(shape) for shape in shapes)
    return f"{path!r} ({kind}{f' with kernels {kernels}' if kernels else ''})"
