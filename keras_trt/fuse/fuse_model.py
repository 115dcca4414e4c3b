"""`fuse_model`: a copy of a model with fewer layers and the same predictions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from keras_trt._base.arguments import check_boolean
from keras_trt._keras.copying.copy_model import copy_layers
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.graph import kind_of, layer_graph
from keras_trt._keras.kernels import kernels_of
from keras_trt._keras.masks import masking
from keras_trt._keras.rebuilding.rewire import copy_layer, rewire
from keras_trt._keras.types import Layer, M, Model
from keras_trt.errors import ModelError
from keras_trt.fuse.fold import fold_batchnorm
from keras_trt.fuse.fusions.affine_before import affine_before
from keras_trt.fuse.fusions.branches import branches as added_branches
from keras_trt.fuse.fusions.idle_layers import idle_layers
from keras_trt.fuse.fusions.layout_chains import layout_chains
from keras_trt.fuse.fusions.linear_chains import linear_chains
from keras_trt.fuse.fusions.parallel_layers import parallel_layers
from keras_trt.fuse.fusions.through_padding import through_padding
from keras_trt.fuse.network import Network, Rewrite
from keras_trt.fuse.pairs import Finding, find_pairs
from keras_trt.reports import Report
from keras_trt.tfmot.accept import accept

Fusion = Callable[[Network], Iterator[Rewrite]]
BATCHNORM = "batch normalisation"


def fuse_model(model: M, *, horizontal: bool = False, branches: bool = False) -> M:
    """A copy of a model with fewer layers, whose predictions are the same up to rounding.

    `Conv -> BatchNormalization` becomes one `Conv` with a bias. So do normalisations and rescalings before a
    layer with weights, where no padding is in the way, linear layers, reshapes and paddings in a row; and
    what does nothing at inference, like Dropout, goes. Layers keep their names; quantised layers stay
    quantised (the grid is per channel, so it scales along) and pruning masks stay: such layers take a
    normalisation behind them in, and no more. Export folds anyway: this is for models that are looked at,
    fine-tuned without BatchNormalization, or run in Keras. `fusion_report` lists what was done. It goes
    across nested models, too: a nested model of the copy may then make another tensor than the original's,
    while what the whole predicts is the same.

    Args:
        model: A built Functional or Sequential model of Keras 3 or tf_keras, nested or not. It is not
            changed.
        horizontal: Whether Dense layers, or convolutions of window 1, that read one tensor become one wide
            layer, named `a-and-b`, whose output is cut.
        branches: Whether convolutions of one tensor that are added become one, as RepVGG's blocks.

    Returns:
        A new, uncompiled model of the same Keras.

    Raises:
        ModelError: The model is not built, or is a subclassed one whose layer graph cannot be read.

    Example:
        >>> fused = keras_trt.fuse_model(keras.applications.ResNet50(weights=None))
    """
    flavor, model, _ = accept(model)
    fused, _ = _fused(flavor, model, _chosen(horizontal, branches))
    return fused


def fusion_report(model: Model, *, horizontal: bool = False, branches: bool = False) -> Report:
    """What `fuse_model` fuses in a model, and why it leaves BatchNormalization where it does.

    Args:
        model: A built Functional or Sequential model.
        horizontal: As in `fuse_model`.
        branches: As in `fuse_model`.

    Returns:
        One row per fusion and per BatchNormalization: `layer`, `folds_into` (path or None), `reason` (why it
        stays, or None) and `fusion` (what kind, or None).

    Raises:
        ModelError: As in `fuse_model`.

    Example:
        >>> print(keras_trt.fuse.fusion_report(model))
    """
    flavor, model, _ = accept(model)
    fused, done = _fused(flavor, model, _chosen(horizontal, branches))
    rows = [
        {"layer": each.layer, "folds_into": each.into, "reason": None, "fusion": each.fusion} for each in done
    ]
    staying = [finding for finding in _findings(_network(flavor, fused)) if finding.into is None]
    rows += [{"layer": f.batchnorm, "folds_into": None, "reason": f.reason, "fusion": None} for f in staying]
    gone = _batchnorms(flavor, model) - len(staying)
    return Report(f"BatchNormalization in {model.name}: {gone} of {gone + len(staying)} fold", tuple(rows))


def _chosen(horizontal: bool, branches: bool) -> list[Fusion]:
    """The fusions in the order in which they have the first word."""
    check_boolean(horizontal, "horizontal")
    check_boolean(branches, "branches")
    always = [_batchnorm_behind, through_padding, idle_layers, layout_chains, linear_chains, affine_before]
    return [*always, *([added_branches] if branches else []), *([parallel_layers] if horizontal else [])]


def _batchnorms(flavor: Flavor, model: Model) -> int:
    return sum(isinstance(layer, flavor.keras.layers.BatchNormalization) for _, layer in flavor.walk(model))


def _network(flavor: Flavor, model: Model) -> Network:
    graph = layer_graph(flavor, model)
    if graph is None:
        raise ModelError(
            f"`fuse_model` reads the layer graph, which the subclassed model {model.name!r} "
            f"({type(model).__name__}) does not have. Fuse its functional parts one by one, or export it: "
            "the export folds BatchNormalization of any model."
        )
    return Network(flavor, model, graph, dict(flavor.walk(model)))


def _fused(flavor: Flavor, model: Model, fusions: list[Fusion]) -> tuple[Any, list[Rewrite]]:
    """The model, fused until nothing more can be, and what was done."""
    done: list[Rewrite] = []
    while True:
        network, together, touched = _network(flavor, model), list[Rewrite](), set[str]()
        for rewrite in (each for fusion in fusions for each in fusion(network)):
            if not rewrite.touches & touched:
                touched |= rewrite.touches
                together.append(rewrite)
        if done and not together:
            return model, done
        model = _rewritten(network, together)
        done += together
        if not together:
            return model, done


def _rewritten(network: Network, rewrites: list[Rewrite]) -> Any:
    """A copy of the model with some fusions done, none of which shares a layer with another."""
    flavor, model = network.flavor, network.model
    changes = {each.into: each for each in rewrites if each.weights is not None or each.changes}
    stand_ins = {path: made for each in rewrites for path, made in each.stand_ins().items()}
    drop = {path: index for each in rewrites for path, index in each.drop.items()}
    copied = copy_layers(flavor, model)
    changed: list[tuple[Rewrite, Any, Any]] = []

    def make(path: str, layer: Layer) -> Any:
        if path in stand_ins:
            return stand_ins[path]
        if path not in changes:
            return copied(layer)
        changed.append((changes[path], layer, copy_layer(layer, **changes[path].changes)))
        return changed[-1][-1]

    fused = rewire(flavor, model, make, drop)
    for rewrite, _, new in changed:
        if rewrite.weights is not None:
            rewrite.weights(new)
    masking.rebind(fused)
    for _, old, new in changed:
        _copy_masks(flavor, old, new)
    return fused


def _batchnorm_behind(network: Network) -> Iterator[Rewrite]:
    """BatchNormalization goes into the layer before it."""
    for finding in _findings(network):
        if finding.into is not None:
            batchnorm, layer = network.layers[finding.batchnorm], network.layers[finding.into]
            weights = partial(fold_batchnorm, network.flavor, layer, batchnorm=batchnorm)
            drop, changes = {finding.batchnorm: 0}, {"use_bias": True}
            yield Rewrite(BATCHNORM, finding.batchnorm, finding.into, drop, changes, weights)


def _findings(network: Network) -> list[Finding]:
    return [_check(network, finding) for finding in find_pairs(network.graph)]


def _check(network: Network, finding: Finding) -> Finding:
    """Refuses what only the layers themselves can tell: the axis, and a quantiser in between."""
    if finding.into is None:
        return finding
    batchnorm, layer = network.layers[finding.batchnorm], network.layers[finding.into]
    if getattr(batchnorm, "input_quantizers", None):
        return replace(finding, into=None, reason="its input is quantised")
    base = getattr(type(layer), "_float_class", type(layer))
    if base.call is not getattr(network.flavor.keras.layers, kind_of(network.flavor, layer)).call:
        return replace(finding, into=None, reason=f"{finding.into} ({base.__name__}) has a `call` of its own")
    if not network.normalizes_channels(layer, batchnorm):
        axis = batchnorm.axis if isinstance(batchnorm.axis, int) else batchnorm.axis[0]
        return replace(finding, into=None, reason=f"it normalises axis {axis}, not the channels")
    return finding


def _copy_masks(flavor: Flavor, old: Any, new: Any) -> None:
    """Gives a layer the pruning masks of the original: a folded scale of 0 must not look like one."""
    for kernel in kernels_of(old):
        variable = masking.variable_of(old, kernel)
        mask = None if variable is None else masking.mask_of(flavor, variable)
        if mask is not None:
            info = masking.constraint_of(flavor, variable).info
            masking.set_mask(flavor, new, kernel, mask, info)
