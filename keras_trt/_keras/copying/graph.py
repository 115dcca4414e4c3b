"""How layers and models are copied: with the calls that their own model makes, and not compiled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from keras_trt._base.private import private
from keras_trt._keras.copying.instance import Instance, attributes
from keras_trt._keras.copying.walk import Copier

ABSENT: Any = object()  # for attributes that a model gets only when it is compiled


class Layer(Instance[Any]):
    """A layer, an operation or a model.

    A layer lists all calls that were ever made of it, by other models too. Only those are copied that a
    copied model or tensor leads to, so the lists are not followed; they are filled in the end.

    Attributes:
        calls: Names of the attributes that list nodes.
        uncompiled: What the attributes that `compile` and `fit` set are before them.
    """

    own = True
    calls: tuple[str, ...] = ()
    uncompiled: Mapping[str, Any] = {}

    def __init__(self, model_class: type) -> None:
        super().__init__(own=True)
        self.model_class = model_class

    def state(self, obj: object) -> dict[str, Any]:
        held = {name: value for name, value in attributes(obj).items() if name not in self.calls}
        if not isinstance(obj, self.model_class):
            return held
        if hasattr(held.get("call"), "adds_loss"):  # of a training that is under way
            del held["call"]
        reset = {name: self.uncompiled.get(name, value) for name, value in held.items()}
        return {name: value for name, value in reset.items() if value is not ABSENT}

    def fill(self, old: object, new: object, copy: Copier) -> None:
        super().fill(old, new, copy)
        held = attributes(old)
        for name in self.calls:
            if name in held:
                cls: Any = type(held[name])  # Keras 3 tracks some of its lists
                nodes = cls.__new__(cls)
                getattr(nodes, "__dict__", {}).update(
                    (key, copy(value)) for key, value in attributes(held[name]).items()
                )
                vars(new)[name] = nodes

    def finish(self, old: object, new: object, copy: Copier) -> None:
        for name in self.calls:
            if name in vars(new):
                made = map(copy.made, vars(old)[name])
                list.extend(vars(new)[name], [node for node in made if node is not None])


class Tensor(Instance[Any]):
    """A symbolic tensor, which leads to the call that made it."""

    def __init__(self) -> None:
        super().__init__(own=True)

    def children(self, obj: object) -> Iterator[object]:
        yield from super().children(obj)
        history = getattr(obj, "_keras_history", None)
        if history is not None and history[0] is not None:
            yield from history[0]._inbound_nodes[history[1] : history[1] + 1]

    def finish(self, old: object, new: object, copy: Copier) -> None:
        history = getattr(old, "_keras_history", None)
        if history is not None and history[0] is not None:
            index = call_number(history[0], history[1], copy)
            vars(new)["_keras_history"] = vars(new)["_keras_history"]._replace(node_index=index)


class Optimizer(Instance[Any]):
    """An optimizer that is an attribute of its own; it numbers variables under names that it gives them.

    Args:
        numbers: The attribute with these numbers.
        variable_class: The class of the variables.
    """

    def __init__(self, numbers: str, variable_class: type[object]) -> None:
        super().__init__(follows=True)
        self.numbers, self.variable_class = numbers, variable_class

    def finish(self, old: Any, new: Any, copy: Copier) -> None:
        if getattr(old, "built", False):
            private(old, self.numbers, "keras")  # tf_keras's optimizers do not say whether they are built
        numbers = attributes(old).get(self.numbers)
        if numbers:
            names = {old._var_key(variable): variable for variable in copy.instances_of(self.variable_class)}
            vars(new)[self.numbers] = {
                new._var_key(copy(names[name])): number for name, number in numbers.items() if name in names
            }


def call_number(layer: Any, number: int, copy: Copier) -> int:
    """Which of the calls of a layer's copy is the one with this number of the layer's own."""
    return sum(copy.made(node) is not None for node in layer._inbound_nodes[:number])


def nodes_of(model: Any) -> Iterator[Any]:
    """The calls that a functional model makes."""
    for nodes in model._nodes_by_depth.values():
        yield from nodes
