"""How lists, dictionaries, sets and tuples are copied, weak ones too."""

from __future__ import annotations

import collections
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

from keras_trt._keras.copying.instance import Instance
from keras_trt._keras.copying.walk import Copier, Kind, T


class List(Instance[list[Any]]):
    """A list, also one with attributes."""

    def children(self, obj: list[object]) -> Iterator[object]:
        yield from list.__iter__(obj)
        yield from self.state(obj).values()

    def fill(self, old: list[object], new: list[object], copy: Copier) -> None:
        list.extend(new, map(copy, list.__iter__(old)))
        super().fill(old, new, copy)


class Deque(Kind[collections.deque[Any]]):
    """A deque."""

    follows = True

    def children(self, obj: collections.deque[object]) -> Iterable[object]:
        return obj

    def shell(self, obj: collections.deque[object], copy: Copier) -> collections.deque[Any]:
        return type(obj)(maxlen=obj.maxlen)

    def fill(self, old: collections.deque[object], new: collections.deque[object], copy: Copier) -> None:
        new.extend(map(copy, old))


class _Hashing(Instance[T]):
    """A container that asks what it holds for a hash, so it is filled when that is complete."""

    def fill(self, old: T, new: T, copy: Copier) -> None:
        super().fill(old, new, copy)
        for child in self.children(old):
            copy(child)


class Dict(_Hashing[dict[Any, Any]]):
    """A dictionary, also an ordered one, one with defaults, one with attributes."""

    def _class(self, obj: dict[object, object]) -> Any:
        return collections.OrderedDict if isinstance(obj, collections.OrderedDict) else dict

    def children(self, obj: dict[object, object]) -> Iterator[object]:
        for key, value in self._class(obj).items(obj):
            yield key
            yield value
        yield getattr(obj, "default_factory", None)
        yield from self.state(obj).values()

    def finish(self, old: dict[object, object], new: dict[object, object], copy: Copier) -> None:
        if isinstance(old, collections.defaultdict) and isinstance(new, collections.defaultdict):
            new.default_factory = copy(old.default_factory)
        cls = self._class(old)
        for key, value in cls.items(old):
            cls.__setitem__(new, copy(key), copy(value))


class Set(_Hashing[set[Any]]):
    """A set."""

    def children(self, obj: set[object]) -> Iterator[object]:
        yield from set.__iter__(obj)
        yield from self.state(obj).values()

    def finish(self, old: set[object], new: set[object], copy: Copier) -> None:
        for child in set.__iter__(old):
            set.add(new, copy(child))


class Tuple(Kind[tuple[Any, ...]]):
    """A tuple, also one with named fields; made at once, for it cannot be filled later."""

    follows = True  # for the lists that it may hold

    def children(self, obj: tuple[object, ...]) -> Iterable[object]:
        return tuple.__iter__(obj)

    def shell(self, obj: tuple[object, ...], copy: Copier) -> tuple[Any, ...]:
        return tuple.__new__(type(obj), map(copy, tuple.__iter__(obj)))


class FrozenSet(Kind[frozenset[Any]]):
    """A frozen set."""

    follows = True  # for the lists that it may hold

    def children(self, obj: frozenset[object]) -> Iterable[object]:
        return obj

    def shell(self, obj: frozenset[object], copy: Copier) -> frozenset[Any]:
        return frozenset(map(copy, obj))


class WeakContainer(Kind):
    """A weak set or dictionary: the copy refers to what was copied and to what is shared."""

    follows = True

    def _added(self, obj: object) -> dict[str, Any]:
        """The attributes of a subclass."""
        usual = vars(self._base(obj)())
        return {name: value for name, value in vars(obj).items() if name not in usual}

    def _base(self, obj: object) -> Any:
        bases = (weakref.WeakSet, weakref.WeakKeyDictionary, weakref.WeakValueDictionary)
        return next(base for base in bases if isinstance(obj, base))

    def children(self, obj: object) -> Iterable[Any]:
        return self._added(obj).values()

    def shell(self, obj: object, copy: Copier) -> Any:
        new = object.__new__(type(obj))
        self._base(obj).__init__(new)
        return new

    def fill(self, old: object, new: object, copy: Copier) -> None:
        vars(new).update((name, copy(value)) for name, value in self._added(old).items())

    def finish(self, old: Any, new: Any, copy: Copier) -> None:
        base = self._base(old)
        if base is weakref.WeakSet:
            base.update(new, map(copy, old))
        else:
            base.update(new, {copy(key): copy(value) for key, value in base.items(old)})
