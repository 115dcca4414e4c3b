"""`merge_models`: several models as one, so that one engine computes all their outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras_trt._base.arguments import check_boolean, check_one_of, check_text, wrong_argument
from keras_trt._base.names import unique
from keras_trt._base.nests import Nest
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.masks import masking
from keras_trt._keras.rebuilding.rewire import new_inputs
from keras_trt._keras.types import M, Model, Tensor
from keras_trt.errors import InputError, ModelError
from keras_trt.fuse.merging.combine import COMBINE, combined
from keras_trt.fuse.merging.trunk import Group, groups_of, outputs_behind_trunk
from keras_trt.reports import Report
from keras_trt.tfmot.accept import accept


def merge_models(
    models: Sequence[M],
    *,
    share_inputs: bool = True,
    share_layers: bool = True,
    combine: str | None = None,
    name: str | None = None,
) -> M:
    """One model that runs several models and gives all their outputs, or one answer of all.

    Each model becomes a nested model of the result, with its layers, names, quantisers and masks; models
    of the same name are told apart by a number. An engine of the merged model loads its inputs once, and
    what models begin with alike, like a backbone under several heads, is computed once: layers of the same
    class, config, `trainable` flags and weights, called alike. They go into a nested model `"shared"`, and
    what each model has behind them stays under its own name. `merge_report` tells what is shared.

    Args:
        models: Two or more built Functional or Sequential models of the same Keras. They are not changed.
        share_inputs: Whether all models read the same inputs; these are named after the first model's.
            Otherwise each model keeps its own, named `<model>_<input>`.
        share_layers: Whether equal beginnings are computed once. They are then trained as one, too.
        combine: `"mean"` gives the mean of the models' outputs, `"vote"` the share of the models for which a
            class has the largest value (or, for a last axis of one, of those above 0.5), so that `argmax` is
            the majority's class; outputs must agree in number and shape. None gives all outputs.
        name: The name of the result; `"merged"` when None.

    Returns:
        A new, uncompiled Functional model. Its outputs are a flat dict: `{model: output}`, and
        `{model/key: output}` or `{model/index: output}` for models with several outputs. With `combine`
        they are what the first model's are.

    Raises:
        InputError: Fewer than two models, models of both Kerases, inputs that differ and are to be shared,
            or outputs that differ and are to be combined.
        ModelError: A model is not built, or does not tell its inputs.

    Example:
        >>> both = keras_trt.merge_models([detector, classifier])
        >>> both.predict(images)["classifier"]
        >>> one = keras_trt.merge_models([classifier, classifier], combine="mean")
        >>> one.output_shape == classifier.output_shape
        True
    """
    check_boolean(share_layers, "share_layers")
    if combine is not None:
        check_one_of(combine, COMBINE, "combine")
    if name is not None:
        check_text(name, "name")
    flavor, models = _accepted(models, share_inputs)
    clones = [masking.clone(flavor, model) for model in models]
    taken: set[str] = set()
    for clone in clones:
        flavor.rename(clone, unique(clone.name, taken))
    names = [clone.name for clone in clones]
    if share_inputs:
        start = new_inputs(flavor, clones[0])
        groups = groups_of(flavor, models) if share_layers else []
        made = _on_shared_inputs(flavor, list(zip(models, clones, strict=True)), start, groups, taken)
    else:
        inputs = [new_inputs(flavor, clone, f"{clone.name}_") for clone in clones]
        start = flavor.ops.nest.flatten(inputs)
        made = [clone(nest) for clone, nest in zip(clones, inputs, strict=True)]
    outputs = list(zip(names, made, strict=True))
    if combine is not None:
        return flavor.keras.Model(start, combined(flavor, combine, outputs), name=name or "merged")
    named = {key: tensor for model, nest in outputs for key, tensor in _named(model, nest).items()}
    return flavor.keras.Model(start, named, name=name or "merged")


def merge_report(models: Sequence[Model]) -> Report:
    """What `merge_models` computes once for several models that read the same inputs, and where they part.

    Args:
        models: Two or more built Functional or Sequential models with equal inputs.

    Returns:
        One row per group of models that begin alike, and per model that does not: `models`, `layers` and
        `weights` in common (numbers), and `differs`: the first layer that is not, and why.

    Raises:
        InputError: As in `merge_models`.
        ModelError: As in `merge_models`.

    Example:
        >>> print(keras_trt.fuse.merge_report([detector, classifier]))
    """
    flavor, models = _accepted(models, share_inputs=True)
    rows = []
    for group in groups_of(flavor, models):
        names = ", ".join(models[i].name for i in group.places)
        alone, prefix = len(group.places) == 1, group.prefix
        first = next(iter(prefix.differences), None) if prefix is not None else None
        rows.append(
            {
                "models": names,
                "layers": 0 if alone or prefix is None else len(prefix.layers),
                "weights": 0 if alone or prefix is None else prefix.weights(),
                "differs": None if first is None else f"{first[0]}: {first[1]}",
            }
        )
    return Report(f"What {len(models)} models have in common", tuple(rows))


def _on_shared_inputs(
    flavor: Flavor, pairs: list[tuple[Any, Any]], start: Nest, groups: Sequence[Group], taken: set[str]
) -> list[Nest]:
    """The outputs of the copies of models on the same inputs, layers in common called once."""
    made: dict[int, Nest] = {}
    for group in groups:
        if len(group.places) > 1 and group.prefix is not None:
            members = [pairs[i] for i in group.places]
            inputs, name = flavor.ops.nest.flatten(start), unique("shared", taken)
            outputs = outputs_behind_trunk(flavor, members, group.prefix, inputs, name)
            made.update(zip(group.places, outputs, strict=True))
    for place, (_, copy) in enumerate(pairs):
        if place not in made:
            made[place] = copy(_repack(flavor, start, copy))
    return [made[place] for place in range(len(pairs))]


def _accepted(models: Sequence[Any], share_inputs: bool) -> tuple[Flavor, list[Any]]:
    """The models without wrappers, checked to go together."""
    if isinstance(models, str) or not hasattr(models, "__iter__"):
        raise wrong_argument("models", "a list of models", models)
    check_boolean(share_inputs, "share_inputs")
    models = list(models)
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
    if share_inputs:
        _check_same_inputs(flavors[0], models)
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
        return {n: t for key, value in outputs.items() for n, t in _named(f"{model}/{key}", value).items()}
    if isinstance(outputs, (list, tuple)):
        if len(outputs) == 1:
            return _named(model, outputs[0])
        return {n: t for i, value in enumerate(outputs) for n, t in _named(f"{model}/{i}", value).items()}
    return {model: outputs}
