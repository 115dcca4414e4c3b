"""How Python's own objects are copied: functions, methods, references, locks."""

from __future__ import annotations

import collections
import functools
import threading
import types
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from keras_trt._keras.copying.containers import Deque, Dict, FrozenSet, List, Set, Tuple, WeakContainer
from keras_trt._keras.copying.instance import Instance
from keras_trt._keras.copying.walk import Copier, Kind


class Function(Kind[types.FunctionType]):
    """A function: shared, unless its closure, its defaults or its attributes lead into the model."""

    def children(self, obj: types.FunctionType) -> Iterator[object]:
        yield from obj.__closure__ or ()
        yield from obj.__defaults__ or ()
        yield from (obj.__kwdefaults__ or {}).values()
        yield from obj.__dict__.values()

    def shell(self, obj: types.FunctionType, copy: Copier) -> types.FunctionType:
        cells = None if obj.__closure__ is None else tuple(map(copy, obj.__closure__))
        defaults = None if obj.__defaults__ is None else tuple(map(copy, obj.__defaults__))
        new = types.FunctionType(obj.__code__, obj.__globals__, obj.__name__, defaults, cells)
        for name in ("__qualname__", "__module__", "__doc__", "__annotations__"):
            setattr(new, name, getattr(obj, name))
        return new

    def fill(self, old: types.FunctionType, new: types.FunctionType, copy: Copier) -> None:
        if old.__kwdefaults__ is not None:
            new.__kwdefaults__ = {name: copy(value) for name, value in old.__kwdefaults__.items()}
        new.__dict__.update((name, copy(value)) for name, value in old.__dict__.items())


class Cell(Kind[types.CellType]):
    """A variable of a closure."""

    def children(self, obj: types.CellType) -> Iterator[object]:
        try:
            yield obj.cell_contents
        except ValueError:  # not set yet
            return

    def shell(self, obj: types.CellType, copy: Copier) -> types.CellType:
        return types.CellType()

    def fill(self, old: types.CellType, new: types.CellType, copy: Copier) -> None:
        for contents in self.children(old):
            new.cell_contents = copy(contents)


class Method(Kind[types.MethodType]):
    """A bound method."""

    def children(self, obj: types.MethodType) -> Iterable[object]:
        return obj.__func__, obj.__self__

    def shell(self, obj: types.MethodType, copy: Copier) -> types.MethodType:
        return types.MethodType(copy(obj.__func__), copy(obj.__self__))


class BuiltinMethod(Kind[types.BuiltinMethodType]):
    """A method written in C, such as `some_list.append`."""

    follows = True  # for the lists that it may hold

    def children(self, obj: types.BuiltinMethodType) -> Iterable[object]:
        return (obj.__self__,)

    def shell(self, obj: types.BuiltinMethodType, copy: Copier) -> types.BuiltinMethodType:
        return getattr(copy(obj.__self__), obj.__name__)


class Partial(Kind[functools.partial[object]]):
    """A `functools.partial`."""

    follows = True  # for the lists that it may hold

    def children(self, obj: functools.partial[object]) -> Iterable[object]:
        return obj.func, *obj.args, *obj.keywords.values()

    def shell(self, obj: functools.partial[object], copy: Copier) -> functools.partial[object]:
        keywords = {name: copy(value) for name, value in obj.keywords.items()}
        return type(obj)(copy(obj.func), *map(copy, obj.args), **keywords)


class WeakReference(Kind[weakref.ReferenceType[object]]):
    """A weak reference to something in the model."""

    def pointed_at(self, obj: weakref.ReferenceType[object]) -> Iterator[object]:
        target = obj()
        if target is not None:
            yield target

    def shell(self, obj: weakref.ReferenceType[object], copy: Copier) -> weakref.ReferenceType[object]:
        return weakref.ref(copy(obj()))


class Anew(Kind[object]):
    """What each model has of its own and starts empty: locks, storage of threads."""

    follows = True

    def __init__(self, make: Callable[[], object]) -> None:
        self.make = make

    def shell(self, obj: object, copy: Copier) -> object:
        return self.make()


KINDS: dict[type, Kind[Any]] = {
    types.FunctionType: Function(),
    types.CellType: Cell(),
    types.MethodType: Method(),
    types.BuiltinMethodType: BuiltinMethod(),
    types.SimpleNamespace: Instance(),
    functools.partial: Partial(),
    weakref.ReferenceType: WeakReference(),
    weakref.WeakSet: WeakContainer(),
    weakref.WeakKeyDictionary: WeakContainer(),
    weakref.WeakValueDictionary: WeakContainer(),
    threading.local: Anew(threading.local),
    type(threading.Lock()): Anew(threading.Lock),
    type(threading.RLock()): Anew(threading.RLock),
    collections.deque: Deque(),
    list: List(follows=True),
    dict: Dict(follows=True),
    set: Set(follows=True),
    tuple: Tuple(),
    frozenset: FrozenSet(),
}
