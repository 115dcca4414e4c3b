"""What was decided for each layer of a quantised model, as a file that another run can follow."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from keras_trt._arguments import check_path
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.graph import kind_of
from keras_trt._keras.types import Model
from keras_trt.errors import InputError
from keras_trt.placement.schemes import Scheme
from keras_trt.placement.shape_rules import DEFAULT, PLACEMENTS
from keras_trt.quantize.decide import decide, is_own_twin, left_float, placement_of
from keras_trt.quantize.inventory import quantizers_of
from keras_trt.quantize.recovery import BIAS, EQUALIZATION, GAIN, NAMES, SMOOTH_QUANT
from keras_trt.reports import Findings, Table
from keras_trt.tfmot.accept import accept
from keras_trt.twins.containers import mark_containers
from keras_trt.twins.twins import is_quantized, is_twin, quantize_layer
from keras_trt.twins.types import LayerScheme

VERSION = 1
SPARED = "left in float"
"""How reasons begin of layers whose rounding cost too much."""


@dataclass(frozen=True)
class LayerRecipe:
    """What was decided for one layer.

    Attributes:
        path: The layer's path.
        kind: Its class.
        scheme: The number formats; None for a layer left in float.
        ranges: The ranges of its quantisers, 0.0 where one is not known yet.
        recover: What was done about the accuracy that rounding costs, of `quantize_model`'s `recover`.
        reason: Why it is in float, or why it is quantised as it is.
    """

    path: str
    kind: str
    scheme: Scheme | None = None
    ranges: tuple[float, ...] = ()
    recover: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Recipe(Findings):
    """What was decided for each layer of a model.

    Attributes:
        model: The model's name.
        layers: In the order of the model.
        version: Of the format.
        placement: The placement that the model was quantised with (see `quantize_model`).

    Example:
        >>> quantized = keras_trt.quantize_model(model, data=(x_val, y_val), max_drop=0.005)
        >>> recipe = keras_trt.Recipe.of(quantized)
        >>> recipe == keras_trt.Recipe(recipe.model, recipe.layers)
        True
        >>> recipe.to_json("recipe.json")
        >>> other = keras_trt.quantize_model(another, recipe="recipe.json", calibration_data=x)
    """

    model: str
    layers: tuple[LayerRecipe, ...]
    version: int = VERSION
    placement: str = DEFAULT

    @classmethod
    def of(cls, model: Model) -> Recipe:
        """The recipe that a model was quantised by.

        Args:
            model: A quantised Keras 3 or tf_keras model.
        """
        flavor, model, _ = accept(model)
        decisions, layers = decide(flavor, model), []
        others = any(is_quantized(layer) for _, layer in flavor.walk(model))
        for path, layer in flavor.walk(model):
            kind = kind_of(flavor, layer)
            if not is_quantized(layer):
                layers.append(
                    LayerRecipe(path, kind, reason=left_float(flavor, layer, decisions[path], others))
                )
                continue
            own = layer.quantization
            names = {BIAS: own.shift, GAIN: own.gain, EQUALIZATION: own.equalized}
            ranges = tuple(float(flavor.raw(q.amax).numpy()) for q in quantizers_of(layer))
            recover = tuple(name for name, done in names.items() if done)
            layers.append(LayerRecipe(path, kind, own.scheme, ranges, recover, decisions[path].reason))
        return cls(model.name, tuple(layers), placement=placement_of(flavor, model))

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Reads what `to_json` wrote.

        Raises:
            InputError: It is no recipe, or of a newer format.
        """
        try:
            data = json.loads(text)
            version = data["version"]
            if type(version) is not int or version < 1:
                raise ValueError(version)
            if version > VERSION:
                raise InputError(
                    f"A recipe of a newer format. Received: version {version}; this release reads {VERSION}. "
                    "Run `pip install -U keras-trt`."
                )
            placement = data.get("placement", "all")  # which older files lack
            if placement not in PLACEMENTS:
                raise ValueError(placement)
            return cls(str(data["model"]), tuple(map(_layer, data["layers"])), version, placement)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
            if isinstance(e, InputError):
                raise
            raise InputError(
                f"No recipe that `Recipe.to_json` has written. Received: {str(text)[:80]!r}"
            ) from e

    def tables(self) -> Iterable[Table]:
        """One row per layer."""
        columns = ("layer", "kind", "scheme", "ranges", "recover", "reason")
        rows = [
            [
                each.path,
                each.kind,
                each.scheme.name if each.scheme else "float",
                ", ".join(f"{amax:.4g}" for amax in each.ranges),
                ", ".join(each.recover),
                each.reason,
            ]
            for each in self.layers
        ]
        yield Table(f"Recipe of {self.model}", columns, rows)

    @property
    def schemes(self) -> dict[str, Scheme]:
        """The formats of the quantised layers, by path."""
        return {each.path: each.scheme for each in self.layers if each.scheme is not None}

    @property
    def in_float(self) -> list[str]:
        """The paths of the other layers."""
        return [each.path for each in self.layers if each.scheme is None]

    @property
    def recover(self) -> tuple[str, ...]:
        """What has to be done anew with calibration data."""
        used = {name for each in self.layers for name in each.recover}
        both = {EQUALIZATION, SMOOTH_QUANT}
        return tuple(name for name in NAMES if name in used or (name in both and both & used))


def read_recipe(recipe: Any) -> Recipe:
    """A recipe, or the file of one."""
    if isinstance(recipe, Recipe):
        return recipe
    path = check_path(recipe, "recipe")
    if not path.is_file():
        raise InputError(f"`recipe` is a `Recipe` or the file of one. Received: {str(path)!r}, no file")
    return Recipe.from_json(Path(path).read_text(encoding="utf-8", errors="replace"))


def check_layers(flavor: Flavor, model: Model, recipe: Recipe, has_data: bool) -> None:
    """Refuses a recipe of another model, or one that needs data.

    Raises:
        InputError: Names the first layer that differs.
    """
    mine = [(path, kind_of(flavor, layer)) for path, layer in flavor.walk(model)]
    theirs = [(each.path, each.kind) for each in recipe.layers]
    for i in range(max(len(mine), len(theirs))):
        here, there = (dict(enumerate(each)).get(i) for each in (mine, theirs))
        if here != there:
            raise InputError(
                f"The recipe of {recipe.model!r} is for another model: its layer {i + 1} is "
                f"{_named(there)}. Received: a model whose layer {i + 1} is {_named(here)}."
            )
    equalized = [each.path for each in recipe.layers if EQUALIZATION in each.recover]
    if equalized and not has_data:
        raise InputError(
            f"The recipe equalises channels, of layer {equalized[0]!r} for one, which takes data. "
            "Received: no `calibration_data`"
        )


def follow_recipe(flavor: Flavor, model: Model, recipe: Recipe) -> None:
    """Sets the ranges that a recipe holds, and notes why layers that could be quantised are in float."""
    layers = dict(flavor.walk(model))
    for each in recipe.layers:
        if each.scheme is not None:
            quantizers = quantizers_of(layers[each.path]) if is_quantized(layers[each.path]) else []
            if len(quantizers) != len(each.ranges):
                raise InputError(
                    f"The recipe has {len(each.ranges)} ranges for layer {each.path!r} ({each.kind}), which "
                    f"takes {len(quantizers)}. Received: {each.ranges}"
                )
            for quantizer, amax in zip(quantizers, each.ranges, strict=True):
                if amax > 0:
                    quantizer.set_range(amax)
        elif each.reason.startswith(SPARED) and not is_twin(layers[each.path]):
            quantize_layer(layers[each.path], LayerScheme(reason=each.reason))
    for layer in filter(is_own_twin, layers.values()):
        layer.quantization = replace(layer.quantization, placement=recipe.placement)
    mark_containers(flavor, model)


def _named(layer: tuple[str, str] | None) -> str:
    return "missing" if layer is None else f"{layer[0]!r} ({layer[1]})"


def _layer(data: Mapping[str, Any]) -> LayerRecipe:
    scheme = None if data["scheme"] is None else Scheme(**data["scheme"])
    ranges, recover = tuple(float(amax) for amax in data["ranges"]), tuple(map(str, data["recover"]))
    if not all(0 <= amax < math.inf for amax in ranges) or not set(recover) <= set(NAMES):
        raise InputError(
            f"Ranges are finite and not negative, and recoveries of {list(NAMES)}. "
            f"Received: layer {data['path']!r} with ranges={ranges}, recover={recover}"
        )
    return LayerRecipe(str(data["path"]), str(data["kind"]), scheme, ranges, recover, str(data["reason"]))
