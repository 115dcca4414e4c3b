"""Whether a layer multiplies by its kernel or by something that its `call` makes of it.

A layer of somebody else's may standardise its kernel, quantise it, mask it or add to it before the product.
What it makes of rounded weights is then on no grid. Its `call` is traced alone, with weights that lie on an
int8 grid in place of its own, and what meets its input in the graph is looked at.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from keras_trt._base.formats import TOP, steps_to_largest
from keras_trt._keras.calls.functions import inlined
from keras_trt._keras.calls.restoring import restoring
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.kernels import kernel_of
from keras_trt._keras.types import Layer

_Answers = WeakKeyDictionary[Any, bool]
_CHANGES: _Answers = WeakKeyDictionary()
_ROUNDS: _Answers = WeakKeyDictionary()
_TOP = int(TOP["int8"])
_FEWEST = 16
"""Fewer numbers than these may lie on a grid by chance."""


def changes_kernels(
    flavor: Flavor, layer: Layer, kernels: Sequence[str], input_shape: Sequence[int | None] | None = None
) -> bool:
    """Whether a layer's products would be off the int8 grid although its kernels are on it.

    False also where the backend has no graphs, and where the `call` cannot be traced alone (several inputs,
    states): an export checks the weights that it writes in any case.

    Args:
        flavor: The layer's Keras.
        layer: A built float layer; it is not changed.
        kernels: Its attributes that hold kernels.
        input_shape: Of its one input; None where it is not known.
    """
    if not (kernels and flavor.has_graphs):
        return False
    if layer not in _CHANGES:
        use = _use_of(flavor, layer, kernels, input_shape)
        # What a call leaves in a variable is rounded with the next step only.
        _CHANGES[layer] = use is not None and (use.assigns or use.makes_grids_of(_on_grid) is False)
    return _CHANGES[layer]


def rounds_kernels(flavor: Flavor, layer: Layer, kernels: Sequence[str]) -> bool:
    """Whether a layer's own `call` puts any kernel on an int8 grid: rounded before, it would round twice.

    Args:
        flavor: The layer's Keras.
        layer: A built float layer; it is not changed.
        kernels: Its attributes that hold kernels.
    """
    if not (kernels and flavor.has_graphs):
        return False
    if layer not in _ROUNDS:
        use = _use_of(flavor, layer, kernels, None)
        many = use is not None and all(use.summed(name) >= _FEWEST for name in kernels)
        _ROUNDS[layer] = use is not None and many and use.makes_grids_of(_any_floats) is True
    return _ROUNDS[layer]


@dataclass
class _Use:
    """How a layer's `call` uses its kernels.

    Attributes:
        flavor: The layer's Keras.
        traced: The `call` as a graph that can be cut.
        axes: Of the channels of each kernel, by its name.
        shapes: Of each kernel, by its name.
        reads: The kernels' names by the tensors that are read of them.
        met: The tensors made of kernels alone that meet what is made of the input.
        assigns: Whether the `call` assigns a kernel.
    """

    flavor: Flavor
    traced: Any
    axes: dict[str, tuple[int, ...]]
    shapes: dict[str, tuple[int, ...]]
    reads: dict[Any, str]
    met: list[Any]
    assigns: bool

    def summed(self, name: str) -> int:
        """How many numbers of a kernel share a channel."""
        shape = self.shapes[name]
        channels = {axis % len(shape) for axis in self.axes[name]}
        return int(np.prod([size for axis, size in enumerate(shape) if axis not in channels]))

    def makes_grids_of(self, numbers: Callable[..., np.ndarray]) -> bool | None:
        """Whether all products take weights on int8 grids, of such kernels; None where none is seen."""
        given = {name: numbers(shape, self.axes[name]) for name, shape in self.shapes.items()}
        tf, feeds = self.flavor.tf, [ref.deref() for ref in self.reads]
        values = self.traced.prune(feeds, self.met)(
            *(tf.constant(given[self.reads[t.ref()]], t.dtype) for t in feeds)
        )
        weights = [array for array in map(np.asarray, values) if len(_squeezed(array.shape)) > 1]
        axes = {_squeezed(self.shapes[name]): own for name, own in self.axes.items()}
        return all(_is_on_grid(array, axes) for array in weights) if weights else None


def _use_of(
    flavor: Flavor, layer: Layer, kernels: Sequence[str], input_shape: Sequence[int | None] | None
) -> _Use | None:
    """How a layer's `call` uses its kernels; None where that cannot be seen."""
    variables = {name: flavor.first_replica(getattr(layer, name)) for name in kernels}
    handles = {name: getattr(value, "handle", None) for name, value in variables.items()}
    shape = _any_shape(layer, variables[kernels[0]]) if input_shape is None else tuple(input_shape)
    if shape is None or None in handles.values():
        return None
    try:
        traced = _traced(flavor, layer, shape)
    except Exception:  # whatever a `call` raises that wants more than a tensor
        return None
    inner = {id(outer): placeholder for outer, placeholder in traced.graph.captures}
    users = {name: inner[id(handle)].consumers() for name, handle in handles.items() if id(handle) in inner}
    reads = {
        op.outputs[0].ref(): name for name, ops in users.items() for op in ops if op.type == "ReadVariableOp"
    }
    assigns = any(op.type.startswith("Assign") for ops in users.values() for op in ops)
    axes = {name: kernel_of(layer, name).channel_axes for name in kernels}
    shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
    met = meeting(traced.graph, [ref.deref() for ref in reads], traced.graph.inputs[:1])
    return _Use(flavor, traced, axes, shapes, reads, met, assigns)


def _traced(flavor: Flavor, layer: Any, shape: tuple[int | None, ...]) -> Any:
    """The layer's `call` as a graph that can be cut (`prune`)."""
    tf = flavor.tf
    mixed = layer.compute_dtype != layer.variable_dtype
    call = layer if mixed else layer.call  # around `call`, Keras casts variables
    options = at_inference(layer)
    if flavor.runs_autograph:
        call = tf.function(call)  # inline, with Python's branches over tensors converted
    spec = tf.TensorSpec(shape, "float32")
    with inlined(), restoring(flavor, layer):
        return tf.compat.v1.wrap_function(lambda x: call(x, **options), [spec])


def at_inference(layer: Layer) -> dict[str, bool]:
    """What a call of a layer at inference takes beside its inputs."""
    return {"training": False} if "training" in inspect.signature(layer.call).parameters else {}


def _any_shape(layer: Any, kernel: Any) -> tuple[int | None, ...] | None:
    """The shape of an input as the layer itself describes it; sizes that it does not name are open."""
    spec = layer.input_spec
    if spec is None or isinstance(spec, (list, tuple)):
        return None
    rank = spec.ndim or spec.min_ndim or len(kernel.shape)
    sizes: list[int | None] = [None] * rank
    for axis, size in (spec.axes or {}).items():
        sizes[axis] = size
    return tuple(sizes)


def meeting(graph: Any, reads: Sequence[Any], inputs: Sequence[Any]) -> list[Any]:
    """The tensors of kernels alone that an operator takes beside something made of the inputs."""
    given = {t.ref() for t in inputs}
    ours, met = {t.ref() for t in reads}, list[Any]()
    for op in graph.get_operations():  # as they were made: inputs first
        refs = [t.ref() for t in op.inputs]
        from_input = any(ref in given for ref in refs) and op.type != "Shape"
        kernels = [t for t in op.inputs if t.ref() in ours and t.ref() not in given]
        if from_input:
            given.update(t.ref() for t in op.outputs)
            met += [t for t in kernels if t.dtype.is_floating]
        elif kernels and op.type != "Shape":
            ours.update(t.ref() for t in op.outputs)
    return list({t.ref(): t for t in met}.values())


def _on_grid(shape: tuple[int, ...], channel_axes: Iterable[int]) -> np.ndarray:
    """Numbers on an int8 grid; scales are powers of two, for which no narrow float rounds, and differ."""
    rng = np.random.default_rng(0)
    axes = [axis % len(shape) for axis in channel_axes]
    rows = rng.integers(-_TOP, _TOP + 1, shape).astype(np.float32)
    channels = np.moveaxis(rows, axes, range(len(axes)))
    flat = channels.reshape(int(np.prod(channels.shape[: len(axes)])), -1)
    flat[:, rng.integers(flat.shape[1])] = _TOP
    flat *= np.exp2(-7.0 - np.arange(len(flat)) % 5)[:, None]  # the largest from 1 to 1/16
    return np.moveaxis(flat.reshape(channels.shape), range(len(axes)), axes).astype(np.float32)


def _any_floats(shape: tuple[int, ...], channel_axes: Iterable[int]) -> np.ndarray:
    """Numbers on no grid, of the size that trained weights have."""
    return np.random.default_rng(1).normal(0, 0.3, shape).astype(np.float32)


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)


def _is_on_grid(values: np.ndarray, shapes: Mapping[tuple[int, ...], tuple[int, ...]]) -> bool:
    """Whether a weight lies on an int8 grid along the kernel's channels; along any axis in another layout."""
    axes = shapes.get(_squeezed(values.shape))
    if axes is not None and max(-axis for axis in axes) <= values.ndim:
        return _lies_along(values, axes)
    return any(_lies_along(values, (axis,)) for axis in range(values.ndim))


def _lies_along(values: np.ndarray, axes: Sequence[int]) -> bool:
    """Whether there is a scale for each index of these axes."""
    rows = np.moveaxis(values, axes, range(len(axes)))
    return bool(steps_to_largest(rows.reshape(int(np.prod(rows.shape[: len(axes)])), -1), _TOP).all())
