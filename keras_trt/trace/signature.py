"""What a model takes and returns: names, shapes, dtypes and structures, for either Keras.

Names are those that Keras shows: the `Input` layer's name for an input, the name of the layer that
makes it for an output. Models without a layer graph get the keys of their dicts, else `input_1`,
`input_2`, ... and `output_1`, ... A name that is taken already gets a suffix `_1`, `_2`, ...
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from keras_trt._base.names import unique
from keras_trt._base.nests import Nest, map_nest
from keras_trt._base.tensors import BATCH_AXIS, TensorSpec
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Model
from keras_trt.errors import InputError, ModelError
from keras_trt.trace.asked_shapes import axes_of, complete, is_shape, pair_shapes, ranges_of, sizes_by_axis
from keras_trt.trace.called import called_on


@dataclass(frozen=True)
class Signature:
    """The inputs of a model, and the names of its outputs when they are known before a call.

    Attributes:
        inputs: In Keras's order.
        input_structure: The nest of input names that the model is called with.
        output_structure: The nest of output names; None for a model without a layer graph.
        output_names: The names in Keras's order; empty when `output_structure` is None.
        axis_sizes: (min, opt, max) of dynamic axes for which `input_shapes` gave them.
        guessed: The names of inputs whose dtype nobody knows: Keras 3 remembers a call's shapes only.
        notes: What to tell the user about it.
    """

    inputs: tuple[TensorSpec, ...]
    input_structure: Nest
    output_structure: Nest = None
    output_names: tuple[str, ...] = ()
    axis_sizes: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    guessed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def signature_of(flavor: Flavor, model: Model, input_shapes: object = None, data: object = None) -> Signature:
    """Reads the signature off a model, `input_shapes`, data, or a recorded call.

    Args:
        flavor: The model's Keras.
        model: A built model.
        input_shapes: Fixes axes that the model leaves open. A shape with its batch axis, or a list or
            dict (by input name or by key) of shapes; an entry is a size, None (as the model has it), a
            name for a dynamic axis, or its (min, opt, max). For a model without a layer graph a leaf may
            also carry `.shape` and `.dtype`, as a `tf.TensorSpec` does.
        data: Data for `calibrate`; it says the shapes of a model without a layer graph.

    Raises:
        ModelError: A model without a layer graph that was never called, no `input_shapes` and no data; or an
            input in bfloat16.
        InputError: `input_shapes` contradicts the model.
    """
    if flavor.is_functional(model):
        return _functional(flavor, model, input_shapes)
    shapes = input_shapes
    by_axis: dict[str, tuple[int, int, int]] = {}
    notes: list[str] = []
    if input_shapes is None or isinstance(input_shapes, Mapping):
        called, notes = called_on(flavor, model, data)
        known = called if isinstance(called, dict) else () if called is not None else input_shapes or ()
        shapes, by_axis = sizes_by_axis(input_shapes, known)
        shapes = complete(called, shapes)
    leaves: Nest = shapes
    if leaves is None:
        raise ModelError(
            f"The inputs of the subclassed model {model.name!r} are not known: it was never called. "
            "Call it once on data, or pass `input_shapes`, e.g. input_shapes=(None, 224, 224, 3)."
        )
    infos: list[TensorSpec] = []
    sizes: dict[str, tuple[int, int, int]] = {}
    guessed: list[str] = []
    usual = getattr(model, "input_dtype", None) or "float32"

    def name_leaf(leaf: object, key: str | None) -> str:
        name = unique(key or f"input_{len(infos) + 1}", {i.name for i in infos})
        dtype = getattr(leaf, "dtype", None)
        if dtype is None:
            guessed.append(name)
        infos.append(_info(name, axes_of(leaf), _before_casting(model, _dtype_name(dtype or usual))))
        sizes.update(ranges_of(infos[-1].shape, leaf))
        return name

    structure = map_nest(name_leaf, leaves, is_leaf=is_shape)
    sizes |= _known_axes(infos, by_axis)
    return Signature(tuple(infos), structure, axis_sizes=sizes, guessed=tuple(guessed), notes=tuple(notes))


def _functional(flavor: Flavor, model: Any, input_shapes: object) -> Signature:
    inputs, outputs = flavor.nests(model)
    names: dict[int, str] = {}  # by the symbolic tensor's identity
    infos: list[TensorSpec] = []
    for tensor in model.inputs:
        name = names[id(tensor)] = unique(_maker(tensor), set(names.values()))
        infos.append(_info(name, tuple(tensor.shape), _dtype_name(tensor.dtype)))
    input_structure = map_nest(lambda t, _: names[id(t)], inputs)
    order: list[str] = []
    for tensor in model.outputs:
        # An output may be an input passed through: it still needs a name of its own.
        if id(tensor) not in names or names[id(tensor)] not in order:
            names[id(tensor)] = unique(_maker(tensor), {*(i.name for i in infos), *order})
            order.append(names[id(tensor)])
    output_structure = map_nest(lambda t, _: names[id(t)], outputs)
    keys = input_structure if isinstance(input_structure, dict) else ()
    shapes, by_axis = sizes_by_axis(input_shapes, [*(info.name for info in infos), *keys])
    sizes: dict[str, tuple[int, int, int]] = {}
    if shapes is not None:
        infos, sizes = _override(infos, input_structure, shapes)
    sizes |= _known_axes(infos, by_axis)
    return Signature(tuple(infos), input_structure, output_structure, tuple(order), sizes)


def _maker(tensor: Any) -> str:
    """The name of the layer (or operation) that makes a symbolic tensor."""
    history = tensor._keras_history
    return history[0].name


def _before_casting(model: Model, dtype: str) -> str:
    """The type of an input that a call was recorded with: a mixed policy has cast floats before."""
    policy = getattr(model, "dtype_policy", None)
    return "float32" if str(getattr(policy, "name", "")) == f"mixed_{dtype}" else dtype


def _info(name: str, shape: Sequence[Any], dtype: str) -> TensorSpec:
    if dtype == "bfloat16":
        raise ModelError(
            "Inputs are exported as float32 or float16, and may be given as bfloat16. Received: "
            f"input {name!r} of dtype 'bfloat16'. Make the model with an input of dtype 'float32', and pass "
            "`precision='bf16'` for an engine that computes in bfloat16."
        )
    axes: list[int | str] = []
    for i, size in enumerate(shape):
        if size is None:
            axes.append(BATCH_AXIS if i == 0 else f"{name}_axis_{i}")
        else:
            axes.append(size if isinstance(size, str) else int(size))
    return TensorSpec(name, tuple(axes), dtype)


def _dtype_name(dtype: object) -> str:
    return getattr(dtype, "name", None) or str(dtype)


def _override(
    infos: list[TensorSpec], structure: Nest, given: object
) -> tuple[list[TensorSpec], dict[str, tuple[int, int, int]]]:
    """The infos with the shapes the user gave, by name, by key or by position; and the ranges given."""
    if isinstance(given, Mapping) and set(given) <= {i.name for i in infos}:
        by_name = dict(given)
    else:
        by_name = dict(pair_shapes(structure, given))
    reshaped = [_reshaped(info, by_name[info.name]) if info.name in by_name else info for info in infos]
    sizes: dict[str, tuple[int, int, int]] = {}
    for info in reshaped:
        if info.name in by_name:
            sizes.update(ranges_of(info.shape, by_name[info.name]))
    return reshaped, sizes


def _known_axes(
    infos: Sequence[TensorSpec], sizes: dict[str, tuple[int, int, int]]
) -> dict[str, tuple[int, int, int]]:
    """The sizes given for axes, which must be among the dynamic ones of the inputs."""
    dynamic = list(dict.fromkeys(a for i in infos for a in i.shape if isinstance(a, str) and a != BATCH_AXIS))
    if unknown := [axis for axis in sizes if axis not in dynamic]:
        raise InputError(
            f"`input_shapes` names unknown inputs {unknown}; the inputs are {[i.name for i in infos]}, their "
            f"dynamic axes {dynamic}. Received: input_shapes={sizes!r}"
        )
    return sizes


def _reshaped(info: TensorSpec, shape: object) -> TensorSpec:
    asked = axes_of(shape) if is_shape(shape) else ()
    fits = len(asked) == len(info.shape) and all(
        isinstance(own, str) or axis in (own, None) for own, axis in zip(info.shape, asked, strict=True)
    )
    if not fits:
        raise InputError(
            f"`input_shapes` must have as many axes as input {info.name!r} (the batch axis included) and the "
            f"same fixed sizes: {info.shape}. Received: {shape!r}"
        )
    axes = tuple(own if axis is None else axis for own, axis in zip(info.shape, asked, strict=True))
    return replace(info, shape=axes)
