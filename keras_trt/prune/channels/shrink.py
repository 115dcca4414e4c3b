"""`pattern="channel"`: whole channels go, and the tensors really shrink."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_trt._keras.copying.copy_model import copy_layers
from keras_trt._keras.flavor_of import check_model
from keras_trt._keras.graph import layer_graph
from keras_trt._keras.kernels import kernel_of, kernels_of
from keras_trt._keras.masks import masking
from keras_trt._keras.rebuilding.in_place import renew_derived
from keras_trt._keras.rebuilding.rewire import copy_layer, rewire
from keras_trt._keras.select import check_choices, located, selected
from keras_trt._keras.types import Choices, Layer, M, Model
from keras_trt.errors import InputError, ModelError
from keras_trt.prune.channels.choose import Group, choose
from keras_trt.prune.channels.dependencies import Channels
from keras_trt.prune.channels.importance import ChannelPattern, importance
from keras_trt.prune.costs.table import Sensitivity
from keras_trt.prune.numbers import check_sparsity
from keras_trt.reports import Report
from keras_trt.tfmot.accept import accept

Staying = dict[int, bool]  # by root: whether the channels behind it stay


def remove_channels(
    model: M,
    sparsity: float,
    pattern: ChannelPattern,
    strategy: object = "uniform",
    only: Choices | None = None,
    skip: Choices = (),
) -> M:
    """A smaller copy of a model, without its least important channels.

    Args:
        model: A built Functional or Sequential model; it is not changed.
        sparsity: Fraction of the channels of each group of tied layers (`strategy="uniform"`) or of the
            model (else) to remove.
        pattern: How channels are chosen.
        strategy: How the sparsity is shared out.
        only: As in `prune_model`.
        skip: As in `prune_model`.

    Raises:
        InputError: As `prune_model`.
        ModelError: The layer graph cannot be read, or no channel can go.
    """
    flavor = check_model(model)
    channels, groups = plan_channels(model, sparsity, pattern, strategy, only, skip)
    if all(group.reason is not None for group in groups):
        listed = "\n  ".join(f"{group.name}: {group.reason}" for group in groups[:10])
        raise ModelError(f"No channel of model {model.name!r} can be removed:\n  {listed or 'it makes none'}")
    staying: Staying = {
        root: bool(k) for g in groups for root, k in zip(g.roots.tolist(), g.keep, strict=True)
    }

    def stays(numbers: np.ndarray) -> np.ndarray:
        return np.array([staying.get(root, True) for root in channels.roots(numbers).tolist()], bool)

    copied = copy_layers(flavor, model)
    pairs: list[tuple[Any, Any, dict[int, Any]]] = []

    def make(path: str, layer: Layer) -> Layer:
        if path not in channels.makes:
            return copied(layer)
        reads, makes = stays(channels.reads[path]), stays(channels.makes[path])
        changes, slices = _smaller(layer, path in channels.makers, makes, reads), _slices(layer, reads, makes)
        if not (changes or slices):
            return copied(layer)
        pairs.append((layer, copy_layer(layer, **changes), slices))
        return pairs[-1][1]

    small = rewire(flavor, model, make, {})
    for layer, new, slices in pairs:
        for old, variable in zip(layer.weights, new.weights, strict=True):
            value = old.numpy()
            for axis, keep in slices.get(id(old), ()):
                value = np.compress(keep, value, axis=axis)
            variable.assign(value)
    renew_derived(flavor, small)
    return masking.rebind(small)


def channel_report(
    model: Model,
    sparsity: float,
    *,
    pattern: ChannelPattern | None = None,
    strategy: object = "uniform",
    only: Choices | None = None,
    skip: Choices = (),
) -> Report:
    """What `prune_model(pattern="channel")` would remove, and what must stay and why.

    Args:
        model: As in `prune_model`.
        sparsity: As in `prune_model`.
        pattern: How channels are chosen.
        strategy: As in `prune_model`.
        only: As in `prune_model`.
        skip: As in `prune_model`.

    Returns:
        One row per group of tied layers: `layers`, `channels`, `kept`, `reason`.

    Raises:
        InputError: As in `prune_model`.
        ModelError: As in `prune_model`.

    Example:
        >>> print(keras_trt.prune.channel_report(model, 0.4))
    """
    _, model, _ = accept(model)
    _, groups = plan_channels(model, sparsity, pattern or ChannelPattern(), strategy, only, skip)
    rows: tuple[dict[str, Any], ...] = tuple(
        {
            "layers": group.name,
            "channels": len(group.keep),
            "kept": int(group.keep.sum()),
            "reason": group.reason,
        }
        for group in groups
    )
    total, left = sum(row["channels"] for row in rows), sum(row["kept"] for row in rows)
    return Report(f"Channels of {model.name}: {left} of {total} stay", rows)


def plan_channels(
    model: M,
    sparsity: float,
    pattern: ChannelPattern,
    strategy: object,
    only: Choices | None,
    skip: Choices,
) -> tuple[Channels, list[Group]]:
    """The channels of a model, and its groups of tied layers with what stays at a sparsity."""
    flavor = check_model(model)
    check_sparsity(sparsity)
    if strategy not in ("uniform", "global") and not isinstance(strategy, Sensitivity | dict):
        raise InputError(
            '`strategy` must be "uniform", "global" or the result of keras_trt.prune.sensitivity(model, '
            f'data, pattern="channel"). Received: strategy={strategy!r}'
        )
    check_choices(flavor.walk(model), only, skip)
    only, skip = (located(flavor, model, choice) for choice in (only, skip))
    graph = layer_graph(flavor, model)
    if graph is None:
        raise ModelError(
            "Channels can be removed only where the layer graph can be read. Received: the subclassed model "
            f"{model.name!r} ({type(model).__name__}). Other patterns prune it."
        )
    layers = dict(flavor.walk(model))
    channels = Channels(graph, layers)
    groups = choose(
        channels,
        importance(channels, layers, pattern.by),
        sparsity,
        strategy=strategy,
        multiple_of=pattern.multiple_of,
        chosen=lambda path: selected(path, layers[path], only, skip),
    )
    return channels, groups


def _smaller(layer: Layer, is_maker: bool, makes: np.ndarray, reads: np.ndarray) -> dict[str, Any]:
    """The entries of a layer's config that say how many channels it makes."""
    if makes.all():
        return {}
    if hasattr(layer, "target_shape"):
        return {"target_shape": (*tuple(layer.target_shape)[:-1], int(makes.sum()))}
    smaller: dict[str, Any] = {}
    if is_maker:
        smaller["units" if hasattr(layer, "units") else "filters"] = int(makes.sum())
    if own := _corrections(layer, makes, reads):
        shapes = {}
        for name, (variable, axis, stays) in own.items():
            shapes[name] = list(variable.shape)
            shapes[name][axis] = int(stays.sum())
        smaller["quantization"] = {**layer.get_config()["quantization"], **shapes}
    return smaller


def _slices(layer: Layer, reads: np.ndarray, makes: np.ndarray) -> dict[int, list[tuple[int, np.ndarray]]]:
    """By id of a layer's variable: what of which axis stays."""
    slices: dict[int, list[tuple[int, np.ndarray]]] = {}
    for kernel in kernels_of(layer):
        if kernel.input_axes:
            inputs = np.repeat(reads, getattr(layer, "depth_multiplier", None) or 1)
            slices[id(masking.variable_of(layer, kernel))] = [
                (kernel.input_axes[-1], inputs),
                (kernel.channel_axes[-1], makes),
            ]
        else:  # depthwise: (..., channels, multiplier)
            slices[id(masking.variable_of(layer, kernel))] = [(kernel.channel_axes[0], reads)]
    for name in ("bias", "gamma", "beta", "moving_mean", "moving_variance"):
        if getattr(layer, name, None) is not None:
            slices[id(getattr(layer, name))] = [(0, makes)]
    for variable, axis, stays in _corrections(layer, makes, reads).values():
        slices[id(variable)] = [(axis, stays)]
    return slices


def _corrections(layer: Any, makes: np.ndarray, reads: np.ndarray) -> dict[str, tuple[Any, int, np.ndarray]]:
    """A quantised layer's corrections: {name: (variable, axis of the channels, which of them stay)}."""
    own, corrections = getattr(layer, "quantization", None), {}
    if own is not None and own.shift:
        corrections["shift"] = (layer.quantization_switch.shift, 0, makes)
    if own is not None and own.gain:
        kernel = kernel_of(layer, own.kernels[-1])
        axis, stays = (
            (kernel.channel_axes[-1], makes) if kernel.input_axes else (kernel.channel_axes[0], reads)
        )
        corrections["gain"] = (layer.quantization_switch.gain, axis, stays)
    return corrections
