"""How `tf.function`s are copied: with variables of a model in them, they are traced or bound anew."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from keras_trt._base.private import private
from keras_trt._keras.copying.instance import Instance
from keras_trt._keras.copying.walk import Copier, Kind

if TYPE_CHECKING:
    import tensorflow as tf
    from tensorflow.python.saved_model import function_deserialization
    from tensorflow.types.experimental import ConcreteFunction, PolymorphicFunction


class Traced(Kind["PolymorphicFunction"]):
    """A `tf.function`: one that leads into the model is traced anew."""

    def children(self, obj: PolymorphicFunction) -> Iterable[object]:
        return (obj.python_function,)

    def shell(self, obj: PolymorphicFunction, copy: Copier) -> PolymorphicFunction:
        return obj._clone(copy(obj.python_function))


class Restored(Kind["function_deserialization.RestoredFunction"]):
    """A function from a SavedModel, which has graphs and no code."""

    def children(self, obj: function_deserialization.RestoredFunction) -> Iterable[object]:
        return obj.python_function, *obj.concrete_functions

    def shell(
        self, obj: function_deserialization.RestoredFunction, copy: Copier
    ) -> function_deserialization.RestoredFunction:
        known = SimpleNamespace(
            jit_compile=obj._jit_compile, function_type=obj._function_type, default_values=obj._default_values
        )
        graphs = [copy(function) for function in obj.concrete_functions]
        return type(obj)(copy(obj.python_function), obj._name, known, graphs)

    def fill(self, old: object, new: object, copy: Copier) -> None:
        for name, value in vars(old).items():
            vars(new).setdefault(name, copy(value))


class Concrete(Kind["ConcreteFunction"]):
    """One graph of a function: the same graph, fed with the copies of the variables it reads."""

    def children(self, obj: ConcreteFunction) -> list[tf.Variable]:
        known = (reference() for reference in obj.graph._weak_variables)
        return [variable for variable in known if variable is not None]

    def shell(self, obj: ConcreteFunction, copy: Copier) -> ConcreteFunction:
        cls: Any = type(obj)
        new: ConcreteFunction = object.__new__(_rebound(cls))
        vars(new).update(vars(obj))
        handles = {id(variable.handle): copy(variable) for variable in self.children(obj)}
        new._captured_inputs = [
            handles[id(value)].handle if id(value) in handles else value for value in obj._captured_inputs
        ]
        new._copied_variables = tuple(map(copy, self.children(obj)))
        for name in ("_first_order_tape_functions", "_higher_order_tape_functions"):
            private(obj, name, "tensorflow")
            vars(new)[name] = {}  # gradients that the old one has traced
        return new


@functools.cache
def _rebound(base: type) -> type:
    """A graph's class whose gradients reach the variables that a copy reads."""
    from tensorflow.python.ops.resource_variable_ops import variable_accessed

    private(base, "_call_flat", "tensorflow")

    class Rebound(base):
        @property
        def variables(self) -> tuple[Any, ...]:
            return self._copied_variables

        def _call_flat(self, *args: object, **kwargs: object) -> Any:
            for variable in self._copied_variables:
                variable_accessed(variable)  # a tape watches what it is told of
            return super()._call_flat(*args, **kwargs)

    Rebound.__name__ = base.__name__
    return Rebound


def kinds() -> Iterator[tuple[type, Kind[Any]]]:
    """The classes of functions, each before its bases."""
    from tensorflow.python.eager.polymorphic_function import (
        concrete_function,
        polymorphic_function,
        tf_method_target,
    )
    from tensorflow.python.saved_model import function_deserialization, signature_serialization

    yield function_deserialization.RestoredFunction, Restored()
    yield polymorphic_function.Function, Traced()
    yield concrete_function.ConcreteFunction, Concrete()
    yield tf_method_target.TfMethodTarget, Instance()
    yield signature_serialization._SignatureMap, Instance()
