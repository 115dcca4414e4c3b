"""How an object with attributes is copied."""

from __future__ import annotations

import functools
import types
from collections.abc import Iterable
from typing import Any

from keras_trt._keras.copying.walk import Copier, Kind, T


@functools.cache
def slots_of(cls: Any) -> dict[str, Any]:
    """The descriptors of a class's `__slots__`."""
    return {
        name: member
        for base in reversed(cls.__mro__)
        if "__slots__" in vars(base)
        for name, member in vars(base).items()
        if isinstance(member, types.MemberDescriptorType)
    }


def attributes(obj: object) -> dict[str, Any]:
    """What an instance holds under names of its own, its class's properties left alone."""
    cls: Any = type(obj)
    try:
        held = object.__getattribute__(obj, "__dict__")
    except AttributeError:
        held = {}
    slots = slots_of(cls)
    if not slots:
        return held
    filled = {name: member for name, member in slots.items() if _is_set(member, obj)}
    return {**held, **{name: member.__get__(obj) for name, member in filled.items()}}


def _is_set(member: Any, obj: object) -> bool:
    try:
        member.__get__(obj)
    except AttributeError:
        return False
    return True


class Instance(Kind[T]):
    """An object with attributes: made without its constructor, its attributes set past `__setattr__`."""

    def __init__(self, own: bool = False, follows: bool = False) -> None:
        self.own, self.follows = own, follows

    def state(self, obj: T) -> dict[str, Any]:
        """The attributes that the copy gets."""
        return attributes(obj)

    def children(self, obj: T) -> Iterable[object]:
        return self.state(obj).values()

    def shell(self, obj: T, copy: Copier) -> T:
        cls: Any = type(obj)
        return cls.__new__(cls) if isinstance(obj, (list, dict, set)) else object.__new__(cls)

    def fill(self, old: T, new: T, copy: Copier) -> None:
        cls: Any = type(old)
        slots = slots_of(cls)
        held = object.__getattribute__(new, "__dict__") if hasattr(old, "__dict__") else {}
        for name, value in self.state(old).items():
            if name in slots:
                slots[name].__set__(new, copy(value))
            else:
                held[name] = copy(value)
