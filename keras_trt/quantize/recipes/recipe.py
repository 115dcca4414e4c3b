"""What was decided for each layer of a quantised model, as a file that another run can follow."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from keras_trt._base.arguments import check_path
from keras_trt._keras.graph import kind_of
from keras_trt._keras.kernels import kernels_of
from keras_trt._keras.masks.masking import variable_of
from keras_trt._keras.types import Layer, Model
from keras_trt.errors import InputError
from keras_trt.placement.schemes import Scheme
from keras_trt.placement.shape_rules import DEFAULT, PLACEMENTS
from keras_trt.quantize.decide import decide, left_float, placement_of
from keras_trt.quantize.inventory import quantizers_of
from keras_trt.quantize.recovery import ADAROUND, BIAS, EQUALIZATION, GAIN, NAMES, SMOOTH_QUANT
from keras_trt.reports import Findings, Table
from keras_trt.tfmot.accept import accept
from keras_trt.twins.twins import is_quantized

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
        shapes: The shapes of its kernels; empty where they are not known.
    """

    path: str
    kind: str
    scheme: Scheme | None = None
    ranges: tuple[float, ...] = ()
    recover: tuple[str, ...] = ()
    reason: str = ""
    shapes: tuple[tuple[int, ...], ...] = ()


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
        >>> recipe == keras_trt.Recipe(recipe.model, recipe.layers, placement=recipe.placement)
        True
        >>> text = recipe.to_json("recipe.json")
        >>> recipe == keras_trt.Recipe.from_json("recipe.json") == keras_trt.Recipe.from_json(text)
        True
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
            kind, shapes = kind_of(flavor, layer), kernel_shapes(layer)
            if not is_quantized(layer):
                reason = left_float(flavor, layer, decisions[path], others)
                layers.append(LayerRecipe(path, kind, reason=reason, shapes=shapes))
                continue
            own = layer.quantization
            done_to = {BIAS: own.shift, GAIN: own.gain, EQUALIZATION: own.equalized, ADAROUND: own.rounded}
            ranges = tuple(float(flavor.array(q.amax)) for q in quantizers_of(layer))
            recover = tuple(name for name, done in done_to.items() if done)
            layers.append(
                LayerRecipe(path, kind, own.scheme, ranges, recover, decisions[path].reason, shapes)
            )
        return cls(model.name, tuple(layers), placement=placement_of(flavor, model))

    @classmethod
    def from_json(cls, source: str | os.PathLike[str]) -> Recipe:
        """Reads what `to_json` wrote, or what it returned.

        Args:
            source: The path of a file, or the text itself, which begins with a brace.

        Raises:
            InputError: There is no such file, it is no recipe, or one of a newer format.
        """
        text = source
        # A path is any other text: one too long for a file name is no file, and no error of the system.
        if isinstance(source, os.PathLike) or (isinstance(source, str) and source.lstrip()[:1] not in "{["):
            path = check_path(source, "source")
            if not os.path.isfile(path):  # noqa: PTH113
                raise InputError(f"No recipe, and no file of that name. Received: {str(source)[:80]!r}")
            text = path.read_text(encoding="utf-8", errors="replace")
        try:
            data = json.loads(text)  # type: ignore[arg-type]
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


def read_recipe(recipe: object) -> Recipe:
    """A recipe, or the file of one."""
    if isinstance(recipe, Recipe):
        return recipe
    path = check_path(recipe, "recipe")
    if not path.is_file():
        raise InputError(f"`recipe` is a `Recipe` or the file of one. Received: {str(path)!r}, no file")
    return Recipe.from_json(path)


def _layer(data: Mapping[str, Any]) -> LayerRecipe:
    scheme = None if data["scheme"] is None else Scheme(**data["scheme"])
    ranges, recover = tuple(float(amax) for amax in data["ranges"]), tuple(map(str, data["recover"]))
    if not all(0 <= amax < math.inf for amax in ranges) or not set(recover) <= set(NAMES):
        raise InputError(
            f"Ranges are finite and not negative, and recoveries of {list(NAMES)}. "
            f"Received: layer {data['path']!r} with ranges={ranges}, recover={recover}"
        )
    shapes = tuple(tuple(map(int, shape)) for shape in data.get("shapes", ()))
    return LayerRecipe(
        str(data["path"]), str(data["kind"]), scheme, ranges, recover, str(data["reason"]), shapes
    )


def kernel_shapes(layer: Layer) -> tuple[tuple[int, ...], ...]:
    """The shapes of a layer's kernels."""
    variables = (variable_of(layer, row) for row in kernels_of(layer))
    return tuple(tuple(map(int, variable.shape)) for variable in variables if variable is not None)
