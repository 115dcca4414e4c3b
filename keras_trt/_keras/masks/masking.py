"""Pruning masks that live in the training graph, as constraints on the weight variables.

Every optimiser of both Kerases applies `variable.constraint` after each update, in `fit`, under XLA,
with mixed precision and in hand-written loops alike. `PruningMask` is such a constraint: it puts the
zeros back. Nothing is wrapped, so `model.summary()` and the weights' names stay.

The mask itself is not saved: it is where the weights are exactly zero (`values`), so `.keras` files
and checkpoints carry it for free. After loading, `rebind` reads it off the weights again. A model loaded
without it binds itself while its first training step is traced, before any weight moves; only an
eager first step comes too late for that and raises.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_trt._base.private import private
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.flavor_of import flavor_of
from keras_trt._keras.kernels import Kernel, is_keras_own, kernels_of
from keras_trt._keras.masks.averages import mask_averages
from keras_trt._keras.masks.noted import note_masks, noted_mask
from keras_trt._keras.masks.values import pruned
from keras_trt._keras.types import Layer, M, Model, Tensor, Variable
from keras_trt.errors import ModelError


@functools.cache
def mask_class(flavor: Flavor) -> type:
    """The `PruningMask` constraint of one Keras; the first call registers it for loading."""
    keras = flavor.keras
    mask_averages(flavor)
    if not flavor.has_graphs:
        note_masks(flavor)

    @keras.saving.register_keras_serializable(package="keras_trt", name="PruningMask")
    class PruningMask(keras.constraints.Constraint):  # type: ignore[name-defined]
        """Keeps masked weights at zero.

        Args:
            inner: The constraint that the variable had before; applied first.
            info: What was asked for (`pattern`, `sparsity` or `threshold`), for reports.
        """

        def __init__(self, inner: object = None, info: dict[str, object] | None = None) -> None:
            self.inner = keras.constraints.get(inner)
            self.info = dict(info or {})
            self._masks: list[tuple[Any, Any]] = []  # (variable, mask); attention shares one constraint

        def __bool__(self) -> bool:
            """Whether the user constrains the weights: then Keras's `enable_lora` refuses the layer."""
            return self.inner is not None

        def __call__(self, w: Any) -> Tensor:
            mask: Any = noted_mask(w)
            if mask is None:
                mask = self.mask_for(w)
            if mask is None:
                mask = self._bind_while_tracing(w)
            return pruned(flavor.ops, w if self.inner is None else self.inner(w), mask)

        def mask_for(self, variable: Variable) -> Any:
            """The mask bound to `variable`: a boolean variable, False where pruned, or None."""
            return next((mask for bound, mask in self._masks if bound is variable), None)

        def bind(self, variable: Variable, mask: np.ndarray) -> None:
            """Binds `mask` to `variable`; a bound mask is assigned, so that traced steps see it."""
            bound = self.mask_for(variable)
            if bound is None:
                self._masks.append((variable, flavor.mask_variable(mask)))
            else:
                bound.assign(mask)

        def _bind_while_tracing(self, variable: Variable) -> Variable:
            if not flavor.has_graphs or flavor.tf.executing_eagerly():
                raise ModelError(
                    f"The pruning mask of {variable.name!r} is not bound to its weights, and an eager "
                    "training step has already changed them. Load the model again with "
                    "`keras_trt.load_model(path)`, or call `keras_trt.prune.rebind(model)` after loading."
                )
            with flavor.tf.init_scope():  # the value from before the step that is being traced
                self.bind(variable, np.asarray(flavor.tf.convert_to_tensor(variable)) != 0)
            return self.mask_for(variable)

        def get_config(self) -> dict[str, Any]:
            inner = None if self.inner is None else keras.constraints.serialize(self.inner)
            return {"inner": inner, "info": self.info}

    # In `.h5` files tf_keras looks constraints up by the bare name of their class, among registered names.
    PruningMask.__name__ = "keras_trt>PruningMask"
    return PruningMask


def weights_in(flavor: Flavor, model: Layer) -> Iterator[tuple[str, Layer, Kernel, Variable]]:
    """Every (path, layer, kernel, variable) inside a model or layer; a variable used twice comes once."""
    seen: set[int] = set()
    for path, layer in flavor.walk(model):
        for kernel in kernels_of(layer):
            variable = variable_of(layer, kernel)
            if variable is not None and id(variable) not in seen:
                seen.add(id(variable))
                yield path, layer, kernel, variable


def variable_of(layer: Layer, kernel: Kernel) -> Any:
    """The variable behind `layer.<kernel>`, or None when the layer is not built."""
    value = getattr(layer, kernel.name)
    if not hasattr(value, "assign"):  # Keras 3 hides it behind a property (LoRA, quantisation)
        hidden = f"_{kernel.name}"
        by_keras = any(is_keras_own(cls) and kernel.name in vars(cls) for cls in type(layer).__mro__)
        value = private(layer, hidden, "keras") if by_keras else getattr(layer, hidden, None)
    return value if hasattr(value, "assign") else None


def constraint_of(flavor: Flavor, variable: Variable) -> Any:
    """The variable's `PruningMask`, or None."""
    constraint = variable.constraint
    return constraint if isinstance(constraint, mask_class(flavor)) else None


def mask_of(flavor: Flavor, variable: Variable) -> np.ndarray | None:
    """The variable's mask (False where pruned), or None when it is not pruned."""
    if constraint_of(flavor, variable) is None:
        return None
    bound = bound_mask(flavor, variable)
    return value_of(variable) != 0 if bound is None else bound


def bound_mask(flavor: Flavor, variable: Variable) -> np.ndarray | None:
    """The mask that training would apply now; None without one, or before `rebind` after loading."""
    constraint = constraint_of(flavor, variable)
    mask = None if constraint is None else constraint.mask_for(variable)
    return None if mask is None else np.asarray(mask.numpy())


def value_of(variable: Variable) -> np.ndarray:
    """The variable's value as a numpy array."""
    return np.asarray(variable.numpy())


def set_mask(
    flavor: Flavor, layer: Layer, kernel: Kernel, mask: np.ndarray, info: dict[str, Any] | None = None
) -> None:
    """Prunes one variable: zeroes it outside `mask` and keeps it so through training.

    Args:
        flavor: The flavour of `layer`.
        layer: A built layer.
        kernel: Which of its variables.
        mask: Boolean array of the variable's shape, False where pruned.
        info: What was asked for, kept in the constraint's config.
    """
    variable = variable_of(layer, kernel)
    constraint = constraint_of(flavor, variable)
    if constraint is None:
        constraint = mask_class(flavor)(inner=variable.constraint)
    constraint.info.update(info or {})
    constraint.bind(variable, mask)
    variable.assign(pruned(flavor.ops, value_of(variable), mask))
    _constrain(flavor, layer, kernel, variable, constraint)


def rebind(model: M) -> M:
    """Reads the pruning masks off the weights again, after weights have been loaded.

    A mask is where a pruned layer's weights are exactly zero. Needed after `load_weights`, a restored
    checkpoint or Keras's own `load_model`; `keras_trt.load_model` does it by itself.

    Args:
        model: A Keras 3 or tf_keras model, pruned or not; changed in place.

    Returns:
        The same model.

    Example:
        >>> pruned.load_weights("pruned.weights.h5")
        >>> pruned = keras_trt.prune.rebind(pruned)
    """
    flavor = flavor_of(model)
    for _, layer, kernel, variable in weights_in(flavor, model):
        constraint = constraint_of(flavor, variable)
        if constraint is None:
            continue
        mask = value_of(variable) != 0
        if constraint.mask_for(variable) is None:  # a constraint of its own: copies and attention share them
            constraint = mask_class(flavor)(inner=constraint.inner, info=constraint.info)
        constraint.bind(variable, mask)
        _constrain(flavor, layer, kernel, variable, constraint)
    return model


def reapply(model: M) -> M:
    """Zeroes masked weights again that something other than an optimiser step has written.

    Needed where weights are averaged: `use_ema=True` writes the averages over the zeros when `fit` ends
    (`callbacks.Prune` then does this by itself). Call it before saving.

    Args:
        model: A Keras 3 or tf_keras model, pruned or not; changed in place.

    Returns:
        The same model.

    Example:
        >>> optimizer = keras.optimizers.Adam(use_ema=True)
        >>> pruned.compile(optimizer, "sparse_categorical_crossentropy"); pruned.fit(x, y)
        >>> keras_trt.prune.reapply(pruned).save("pruned.keras")
    """
    flavor = flavor_of(model)
    for *_, variable in weights_in(flavor, model):
        mask = bound_mask(flavor, variable)
        if mask is not None and value_of(variable)[~mask].any():
            variable.assign(np.where(mask, value_of(variable), 0))
    return model


def mask_infos(model: Model) -> list[dict[str, Any] | None]:
    """What each weight variable's mask remembers, None without one, in the order of `weights_in`."""
    flavor = flavor_of(model)
    masks = [constraint_of(flavor, variable) for *_, variable in weights_in(flavor, model)]
    return [None if mask is None else dict(mask.info) for mask in masks]


def restore_masks(model: Model, infos: list[dict[str, object] | None]) -> None:
    """Puts masks where the saved model had them, for sub-layers whose layer's config does not say so."""
    flavor = flavor_of(model)
    weights = list(weights_in(flavor, model))
    if len(weights) != len(infos):  # the code of a custom layer has changed since
        return
    for (_, layer, kernel, variable), info in zip(weights, infos, strict=True):
        if info is not None:
            set_mask(flavor, layer, kernel, value_of(variable) != 0, info)


def clone(flavor: Flavor, model: M) -> M:
    """A copy of a model whose masks are where its weights are zero."""
    return rebind(flavor.clone(model))


def unmask(flavor: Flavor, model: Model) -> None:
    """Takes the masks off in place; the zeros stay, and constraints that the user had come back."""
    plain = mask_class(flavor)
    for _, layer, kernel, variable in weights_in(flavor, model):
        constraint = constraint_of(flavor, variable)
        if constraint is not None:
            _constrain(flavor, layer, kernel, variable, constraint.inner)
    for _, layer in flavor.walk(model):
        for owner, attribute in _arguments(layer):
            if isinstance(getattr(owner, attribute), plain):
                setattr(owner, attribute, getattr(owner, attribute).inner)


def _constrain(flavor: Flavor, layer: Layer, kernel: Kernel, variable: Any, constraint: Any) -> None:
    """Hangs the constraint on the variable, and on the layer so that its config carries it."""
    if getattr(type(variable), "constraint", None) and type(variable).constraint.fset:
        variable.constraint = constraint
    else:  # a tf.Variable, perhaps with one copy per replica
        raw = flavor.raw(variable)
        for replica in getattr(raw, "values", (raw,)):
            private(replica, "_constraint", "tensorflow")
            replica._constraint = constraint
    if hasattr(layer, kernel.constraint):
        setattr(layer, kernel.constraint, constraint)


def mark_containers(flavor: Flavor, model: Model) -> None:
    """Lets layers that build their sub-layers from arguments of their own say "mask" in their config.

    Without it the sub-layers of an attention layer, or of tf_keras's Bidirectional (whose config comes
    from a template that it never runs), come back from a file unconstrained.
    """
    mask = mask_class(flavor)
    for _, layer in flavor.walk(model):
        inside = [constraint_of(flavor, variable) for *_, variable in weights_in(flavor, layer)]
        info = next((constraint.info for constraint in inside if constraint is not None), None)
        for owner, attribute in _arguments(layer) if info is not None else ():
            before = getattr(owner, attribute)
            inner = getattr(before, "inner", None) if isinstance(before, mask) else before
            setattr(owner, attribute, mask(inner=inner, info=info))  # anew: what was asked for may differ


def _arguments(layer: Layer) -> list[tuple[Any, str]]:
    """Where a composite layer keeps the constraints that it hands to its sub-layers."""
    classes = {cls.__name__ for cls in type(layer).__mro__}
    if "MultiHeadAttention" in classes:
        return [(layer, "_kernel_constraint")]
    if "GroupedQueryAttention" in classes:
        return [(layer, "kernel_constraint")]
    cell = getattr(getattr(layer, "layer", None), "cell", None) if "Bidirectional" in classes else None
    return [] if cell is None else [(cell, "kernel_constraint"), (cell, "recurrent_constraint")]
