"""Who computes with a layer's kernels: the layer itself, or the `call` of a layer around it.

A layer of somebody else's may multiply by the kernel of a layer that it holds (weights tied by hand), or
assign it (a mask before each product). Its `call` is traced alone, and each read of a kernel belongs to the
layer whose `call` was running then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from keras_trt._base.nests import Nest, map_nest
from keras_trt._keras.calls.functions import inlined
from keras_trt._keras.calls.kernel_use import at_inference, meeting
from keras_trt._keras.calls.record import Function, replaced_calls
from keras_trt._keras.calls.restoring import restoring
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.kernels import calls_by_keras, kernels_of
from keras_trt._keras.types import Layer, Model
from keras_trt._machine.process import attributes_replaced

ClassOf = Callable[[Layer], type]


@dataclass(frozen=True)
class KernelUse:
    """What happens to the kernels of a layer at inference.

    Attributes:
        own: Whether the layer's own `call` runs, or one of Keras's own reads its kernels.
        around: Whether a `call` of somebody else's around it computes with one of them and the inputs.
        assigned: Whether a `call` assigns one of them.
    """

    own: bool = True
    around: bool = False
    assigned: bool = False


_SCOPE = "ktrt_reader"
_Uses = Mapping[str, KernelUse]
_TRACED: WeakKeyDictionary[Any, tuple[tuple[str, ...], _Uses | None]] = WeakKeyDictionary()


def kernel_uses(flavor: Flavor, model: Model, class_of: ClassOf) -> dict[str, KernelUse]:
    """What happens to the kernels inside layers of somebody else's, by path.

    Missing is what lies in no such layer, and what cannot be known: on a backend without graphs, in a model
    that was never called, below a `call` that cannot be traced alone.

    Args:
        flavor: The model's Keras.
        model: A built model; it is not changed.
        class_of: The float class of a layer.
    """
    if not flavor.has_graphs:
        return {}
    paths = {id(layer): path for path, layer in flavor.walk(model)}
    called, known = set[str](), dict[str, KernelUse]()
    for layer, arguments in _calls(flavor, model):
        below = {path: paths[id(inner)] for path, inner in flavor.walk(layer)}
        uses = _uses_of(flavor, layer, arguments, class_of) if _holds(flavor, layer, class_of) else None
        called |= {paths.get(id(layer), "")} | (set() if uses is not None else set(below.values()))
        for path, use in (uses or {}).items():
            before = known.get(below[path], KernelUse(own=False))
            either = (before.own or use.own, before.around or use.around, before.assigned or use.assigned)
            known[below[path]] = KernelUse(*either)
    return {path: replace(use, own=use.own or path in called) for path, use in known.items()}


def _calls(flavor: Flavor, model: Model) -> Iterator[tuple[Any, Nest]]:
    """The layers that a model calls, nested functional models looked through, with specs of the arguments."""
    if not flavor.is_functional(model):
        if arguments := flavor.first_call(model):
            yield model, (tuple(map_nest(_spec_of_call, each, is_leaf=_is_shape) for each in arguments), {})
        return
    for layer, reads, _, arguments in flavor.calls(model):
        if flavor.is_model(layer) and flavor.is_functional(layer):
            yield from _calls(flavor, layer)
        elif flavor.is_layer(layer):
            read = {id(tensor) for tensor in reads}
            leaves = [
                _Spec(tuple(x.shape), x.dtype) if id(x) in read else x
                for x in flavor.ops.nest.flatten(arguments)
            ]
            yield layer, flavor.ops.nest.pack_sequence_as(arguments, leaves)


@dataclass(frozen=True)
class _Spec:
    """A tensor among the arguments of a call; Keras 3 remembers no type of a model's first."""

    shape: tuple[int | None, ...]
    dtype: Any = None


def _is_shape(leaf: object) -> bool:
    sizes = isinstance(leaf, list | tuple) and all(isinstance(size, int | None) for size in leaf)
    return hasattr(leaf, "shape") or sizes


def _spec_of_call(leaf: Any, _: object) -> object:
    if not _is_shape(leaf):
        return leaf
    shape = getattr(leaf, "shape", leaf)
    return _Spec((None, *tuple(shape)[1:]), getattr(leaf, "dtype", None))


def _holds(flavor: Flavor, layer: Layer, class_of: ClassOf) -> bool:
    """Whether a layer is, or has inside, one of somebody else's around layers with kernels."""
    return any(
        not calls_by_keras(class_of(one)) and any(kernels_of(below) for _, below in flavor.walk(one))
        for one in (layer, *(inner for _, inner in flavor.walk(layer)))
    )


def _uses_of(flavor: Flavor, layer: Layer, arguments: Nest, class_of: ClassOf) -> _Uses | None:
    """What one call does with the kernels below the layer, by path; None where it is not seen."""
    inside = tuple(path for path, _ in flavor.walk(layer))
    if layer not in _TRACED or _TRACED[layer][0] != inside:
        _TRACED[layer] = inside, None
        for guess in ("float32", "int32"):
            try:
                _TRACED[layer] = inside, _Trace(flavor, layer, arguments, guess).uses(class_of)
                break
            except Exception:  # whatever a `call` raises that wants other tensors than these
                continue
    return _TRACED[layer][1]


class _Trace:
    """One call of a layer as a graph in which the name of each operator begins with whose `call` made it."""

    def __init__(self, flavor: Flavor, layer: Any, arguments: Nest, guess: str) -> None:
        inside = dict(flavor.walk(layer))
        self.paths, self.layers = ["", *inside], [layer, *inside.values()]
        self.variables = {
            path: [flavor.first_replica(getattr(one, kernel.name)) for kernel in kernels_of(one)]
            for path, one in inside.items()
        }
        self.called, self.assigned = set[str](), set[str]()
        with inlined(), restoring(flavor, layer), attributes_replaced() as put:
            for path, variable in ((p, v) for p, variables in self.variables.items() for v in variables):
                for name in dir(variable):
                    if name.startswith(("assign", "scatter_")):
                        put(variable, name, self._noting(path, getattr(variable, name)))
            with replaced_calls(flavor, layer, partial(self._scoped, flavor.tf)):
                self.graph, self.given = _graph(flavor, layer, arguments, guess)

    def _noting(self, path: str, assign: Function) -> Function:
        def note(*args: object, **kwargs: object) -> Any:
            self.assigned.add(path)
            return assign(*args, **kwargs)

        return note

    def _scoped(self, tf: ModuleType, path: str, call: Function) -> Function:
        scope = f"{_SCOPE}{self.paths.index(path)}/"  # the slash: this very scope, whatever is around it

        def enter(*args: object, **kwargs: object) -> Any:
            self.called.add(path)
            with tf.name_scope(scope):
                return call(*args, **kwargs)

        return enter

    def uses(self, class_of: ClassOf) -> dict[str, KernelUse]:
        """What happens to the kernels of each layer inside that has any."""
        inner = {id(outer): placeholder for outer, placeholder in self.graph.captures}
        uses = {}
        for path, variables in self.variables.items():
            handles = [id(getattr(variable, "handle", None)) for variable in variables]
            users = [op for handle in handles if handle in inner for op in inner[handle].consumers()]
            regular = [op for op in users if self._is_regular(op, path, class_of)]
            reads = [op.outputs[0] for op in users if op.type == "ReadVariableOp" and op not in regular]
            around = bool(meeting(self.graph, reads, self.given))
            if variables:
                own = path in self.called or bool(regular)
                uses[path] = KernelUse(own, around, path in self.assigned)
        return uses

    def _is_regular(self, op: Any, path: str, class_of: ClassOf) -> bool:
        """Whether the layer itself has made an operator, or a layer of Keras's own."""
        number = op.name.split("/")[0].removeprefix(_SCOPE) if op.name.startswith(_SCOPE) else "0"
        maker = int(number)
        return self.paths[maker] == path or calls_by_keras(class_of(self.layers[maker]))


def _graph(flavor: Flavor, layer: Layer, arguments: Nest, guess: str) -> tuple[Any, list[Any]]:
    """The graph of a call at inference, and the tensors in it that are given."""
    tf, nest = flavor.tf, flavor.ops.nest
    leaves = nest.flatten(arguments)
    specs = [tf.TensorSpec(x.shape, x.dtype or guess) for x in leaves if isinstance(x, _Spec)]

    def call(*tensors: object) -> Any:
        given = iter(tensors)
        filled = [next(given) if isinstance(x, _Spec) else x for x in leaves]
        args, kwargs = nest.pack_sequence_as(arguments, filled)
        return layer(*args, **{**kwargs, **at_inference(layer)})

    graph = tf.function(call, autograph=flavor.runs_autograph).get_concrete_function(*specs).graph
    return graph, graph.inputs[: len(specs)]
