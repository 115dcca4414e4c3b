"""`merge_models`: several models as one, so that one engine computes all their outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras_trt._arguments import check_boolean, check_text, wrong_argument
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.masks import masking
from keras_trt._keras.rebuilding.rewire import new_inputs
from keras_trt._keras.types import M, Model, Tensor
from keras_trt._names import unique
from keras_trt.errors import InputError, ModelError
from keras_trt.tfmot.accept import accept


def merge_models(models: Sequence[M], *, share_inputs: bool = True, name: str | None = None) -> M:
    """One model that runs several models and gives all their outputs.

    Each model becomes a nested model of the result, with its layers, names, quantisers and masks; models
    of the same name are told apart by a number. An engine of the merged model loads its inputs once.

    Args:
        models: Two or more built Functional or Sequential models of the same Keras. They are not changed.
        share_inputs: Whether all models read the same inputs; these are named after the first model's.
            Otherwise each model keeps its own, named `<model>_<input>`.
        name: The name of the result; `"merged"` when None.

    Returns:
        A new, uncompiled Functional model. Its outputs are a flat dict: `{model: output}`, and
        `{model_key: output}` or `{model_index: output}` for models with several outputs.

    Raises:
        InputError: Fewer than two models, models of both Kerases, or inputs that differ and are to be
            shared.
        ModelError: A model is not built, or does not tell its inputs.

    Example:
        >>> both = keras_trt.merge_models([detector, classifier])
        >>> both.predict(images)["classifier"]
    """
    if isinstance(models, str) or not hasattr(models, "__iter__"):
        raise wrong_argument("models", "a list of models", models)
    check_boolean(share_inputs, "share_inputs")
    if name is not None:
        check_text(name, "name")
    models = list(models)
    flavor, models = _accepted(models)
    clones = [masking.clone(flavor, model) for model in models]
    taken: set[str] = set()
    for clone in clones:
        flavor.rename(clone, unique(clone.name, taken))
    if share_inputs:
        _check_same_inputs(flavor, models)
        shared = new_inputs(flavor, clones[0])
        inputs = [_repack(flavor, shared, clone) for clone in clones]
        start = shared
    else:
        inputs = [new_inputs(flavor, clone, f"{clone.name}_") for clone in clones]
        start = flavor.ops.nest.flatten(inputs)
    outputs: dict[str, Any] = {}
    for clone, nest in zip(clones, inputs, strict=True):
        outputs.update(_named(clone.name, clone(nest)))
    return flavor.keras.Model(start, outputs, name=name or "merged")


def _accepted(models: list[Any]) -> tuple[Flavor, list[Any]]:
    if len(models) < 2:
        raise InputError(f"At least two models can be merged. Received: {len(models)} in `models`")
    accepted = [accept(model) for model in models]
    flavors, models = [a.flavor for a in accepted], [a.model for a in accepted]
    if any(flavor is not flavors[0] for flavor in flavors):
        given = ", ".join(f"{m.name} ({f.name})" for m, f in zip(models, flavors, strict=True))
        raise InputError(f"Models of one Keras can be merged, not of both. Received: {given}")
    for model in models:
        if not flavors[0].is_functional(model):
            raise ModelError(
                f"Only Functional and Sequential models tell their inputs. Received: {model.name!r} "
                f"({type(model).__name__}). Wrap it: inputs = Input(shape); Model(inputs, model(inputs))."
            )
    return flavors[0], models


def _check_same_inputs(flavor: Flavor, models: list[Any]) -> None:
    """Raises when the models cannot read the same inputs."""
    kinds = [[(tuple(t.shape), _dtype(t)) for t in flavor.endpoints(model)[0]] for model in models]
    if any(kind != kinds[0] for kind in kinds):
        given = "; ".join(f"{model.name}: {kind}" for model, kind in zip(models, kinds, strict=True))
        raise InputError(
            "To share inputs, the models' inputs must agree in number, shape and dtype. "
            f"Received: {given}. Pass `share_inputs=False` to keep each model's own."
        )


def _dtype(tensor: Tensor) -> str:
    return str(getattr(tensor.dtype, "name", tensor.dtype))


def _repack(flavor: Flavor, inputs: object, model: Model) -> Any:
    """The shared inputs in the nest that a model is called with."""
    nest = flavor.ops.nest
    return nest.pack_sequence_as(flavor.input_nest(model), nest.flatten(inputs))


def _named(model: str, outputs: object) -> dict[str, Any]:
    """A model's outputs by name, flat."""
    if isinstance(outputs, dict):
        return {n: t for key, value in outputs.items() for n, t in _named(f"{model}_{key}", value).items()}
    if isinstance(outputs, (list, tuple)):
        if len(outputs) == 1:
            return _named(model, outputs[0])
        return {n: t for i, value in enumerate(outputs) for n, t in _named(f"{model}_{i}", value).items()}
    return {model: outputs}
