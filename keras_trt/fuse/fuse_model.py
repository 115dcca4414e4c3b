"""`fuse_model`: a copy of a model with every BatchNormalization folded that can be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from keras_trt._keras.copying.copy_model import copy_layers
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.graph import kind_of, layer_graph
from keras_trt._keras.kernels import kernels_of
from keras_trt._keras.masks import masking
from keras_trt._keras.rebuilding.rewire import copy_layer, rewire
from keras_trt._keras.types import Layer, M, Model
from keras_trt.errors import ModelError
from keras_trt.fuse.fold import batchnorm_affine, scale_channels
from keras_trt.fuse.pairs import Finding, find_pairs
from keras_trt.reports import Report
from keras_trt.tfmot.accept import accept


def fuse_model(model: M) -> M:
    """A copy of a model in which BatchNormalization is folded into the layer before it.

    `Conv -> BatchNormalization` becomes one `Conv` with a bias; its predictions stay the same up to
    rounding. Layers keep their names; quantised layers stay quantised (the grid is per channel, so it
    scales along) and pruning masks stay. Export folds anyway: this is for models that are looked at,
    fine-tuned without BatchNormalization, or run in Keras. `fusion_report` lists what was done.

    Args:
        model: A built Functional or Sequential model of Keras 3 or tf_keras, nested or not. It is not
            changed.

    Returns:
        A new, uncompiled model of the same Keras.

    Raises:
        ModelError: The model is not built, or is a subclassed one whose layer graph cannot be read.

    Example:
        >>> fused = keras_trt.fuse_model(keras.applications.ResNet50(weights=None))
    """
    flavor, model, _ = accept(model)
    findings = _findings(flavor, model)
    layers = dict(flavor.walk(model))
    folds = {f.into: layers[f.batchnorm] for f in findings if f.into is not None}
    copied = copy_layers(flavor, model)
    folded: list[tuple[str, Any, Any]] = []

    def make(path: str, layer: Layer) -> Layer:
        if path not in folds:
            return copied(layer)
        folded.append((path, layer, copy_layer(layer, use_bias=True)))
        return folded[-1][-1]

    fused = rewire(flavor, model, make, {f.batchnorm for f in findings if f.into is not None})
    for path, old, new in folded:
        _fold(flavor, old, new, folds[path])
    masking.rebind(fused)
    for _, old, new in folded:
        _copy_masks(flavor, old, new)
    return fused


def fusion_report(model: Model) -> Report:
    """What `fuse_model` folds in a model, and why it leaves the rest.

    Args:
        model: A built Functional or Sequential model.

    Returns:
        One row per BatchNormalization: `layer`, `folds_into` (path or None), `reason` (or None).

    Raises:
        ModelError: As in `fuse_model`.

    Example:
        >>> print(keras_trt.fuse.fusion_report(model))
    """
    flavor, model, _ = accept(model)
    findings = _findings(flavor, model)
    folded = sum(f.into is not None for f in findings)
    rows = tuple({"layer": f.batchnorm, "folds_into": f.into, "reason": f.reason} for f in findings)
    return Report(f"BatchNormalization in {model.name}: {folded} of {len(rows)} fold", rows)


def _findings(flavor: Flavor, model: Model) -> list[Finding]:
    graph = layer_graph(flavor, model)
    if graph is None:
        raise ModelError(
            f"`fuse_model` reads the layer graph, which the subclassed model {model.name!r} "
            f"({type(model).__name__}) does not have. Fuse its functional parts one by one, or export it: "
            "the export folds BatchNormalization of any model."
        )
    layers = dict(flavor.walk(model))
    return [_check(flavor, finding, layers) for finding in find_pairs(graph)]


def _check(flavor: Flavor, finding: Finding, layers: dict[str, Any]) -> Finding:
    """Refuses what only the layers themselves can tell: the axis, and a quantiser in between."""
    if finding.into is None:
        return finding
    batchnorm, layer = layers[finding.batchnorm], layers[finding.into]
    homes = [_home(flavor, path, layers) for path in (finding.batchnorm, finding.into)]
    if homes[0] != homes[1]:
        return replace(finding, into=None, reason=f"{finding.into} lies in another nested model")
    if getattr(batchnorm, "input_quantizers", None):
        return replace(finding, into=None, reason="its input is quantised")
    base = getattr(type(layer), "_float_class", type(layer))
    if base.call is not getattr(flavor.keras.layers, kind_of(flavor, layer)).call:
        return replace(finding, into=None, reason=f"{finding.into} ({base.__name__}) has a `call` of its own")
    axis = batchnorm.axis if isinstance(batchnorm.axis, int) else batchnorm.axis[0]
    rank = batchnorm.input_spec.ndim
    channels_first = getattr(layer, "data_format", "channels_last") == "channels_first"
    if axis % rank != (1 if channels_first else rank - 1):
        return replace(finding, into=None, reason=f"it normalises axis {axis}, not the channels")
    return finding


def _home(flavor: Flavor, path: str, layers: dict[str, object]) -> str:
    """Path of the nested model that a layer lies in (names of layers may hold slashes, too)."""
    segments = path.split("/")
    around = ["/".join(segments[:i]) for i in range(len(segments) - 1, 0, -1)]
    return next((home for home in around if home in layers and flavor.is_model(layers[home])), "")


def _fold(flavor: Flavor, old: Any, new: Any, batchnorm: Any) -> None:
    """Gives `new` the weights of `old` times the BatchNormalization's scale, and its shift as bias."""
    mean, variance = batchnorm.moving_mean.numpy(), batchnorm.moving_variance.numpy()
    gamma = batchnorm.gamma.numpy() if batchnorm.scale else None
    beta = batchnorm.beta.numpy() if batchnorm.center else None
    scale, shift = batchnorm_affine(mean, variance, gamma, beta, batchnorm.epsilon)
    biases = [id(layer.bias) for layer in (old, new) if layer.bias is not None]
    others = [[v for v in layer.weights if id(v) not in biases] for layer in (old, new)]
    for source, target in zip(*others, strict=True):
        target.assign(source.numpy())
    if old.use_bias:
        shift = shift + old.bias.numpy().astype(np.float64) * scale
    new.bias.assign(shift.astype(np.float32))
    if getattr(old, "quantization_switch", None) is not None and old.quantization.shift:
        new.quantization_switch.shift.assign(flavor.raw(old.quantization_switch.shift).numpy() * scale)
    kernel = kernels_of(old)[-1]  # of a separable convolution the pointwise one comes last
    folded = scale_channels(masking.value_of(masking.variable_of(old, kernel)), scale, kernel.channel_axes)
    masking.variable_of(new, kernel).assign(folded.astype(np.float32))


def _copy_masks(flavor: Flavor, old: Any, new: Any) -> None:
    """Gives a layer the pruning masks of the original: a folded scale of 0 must not look like one."""
    for kernel in kernels_of(old):
        variable = masking.variable_of(old, kernel)
        mask = None if variable is None else masking.mask_of(flavor, variable)
        if mask is not None:
            info = masking.constraint_of(flavor, variable).info
            masking.set_mask(flavor, new, kernel, mask, info)
