"""The walk over everything a model holds, and the copy of what must not be shared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from keras_trt.errors import ModelError

T = TypeVar("T")


class Kind(Generic[T]):
    """How the objects of some classes are copied.

    Attributes:
        own: Whether such an object belongs to the model, so that a copy gets one of its own. Others are
            copied where they lead to one that does.
        follows: Whether it is copied, too, where something that is copied holds it.
    """

    own = False
    follows = False

    def children(self, obj: T) -> Iterable[object]:
        """What the object holds."""
        return ()

    def pointed_at(self, obj: T) -> Iterable[object]:
        """What it refers to without holding it: a weak reference keeps nothing alive."""
        return ()

    def shell(self, obj: T, copy: Copier) -> T:
        """The new object; a mutable one is still empty, for what it holds may lead back to it."""
        raise NotImplementedError

    def fill(self, old: T, new: T, copy: Copier) -> None:
        """Gives a new mutable object what it holds."""

    def finish(self, old: T, new: T, copy: Copier) -> None:
        """Mends what can be known only when everything has been copied (ids, numbers of nodes)."""


class Copier:
    """Copies objects; what was shared among them is shared among their copies.

    Calling it gives the copy of one object, or the object itself where that is no part of the model.

    Args:
        kind_of: Gives the kind of an object; None keeps the object without looking into it.
    """

    def __init__(self, kind_of: Callable[[object], Kind[object] | None]) -> None:
        self._kind_of = kind_of
        self._reached: dict[int, tuple[Any, Kind[Any]]] = {}  # holds the objects, so that no id is used twice
        self._holders: dict[int, list[int]] = {}
        self._needed: set[int] = set()
        self._made: dict[int, Any] = {}
        self._empty: list[int] = []

    def copy(self, root: T) -> T:
        """The copy of `root` and of all that belongs to it.

        Raises:
            ModelError: Something cannot be copied; the message says where it is held.
        """
        self._scan(root)
        self._mark()
        new = self(root)
        filled = 0
        while filled < len(self._empty):
            key = self._empty[filled]
            old, kind = self._reached[key]
            self._careful(old, kind.fill, old, self._made[key], self)
            filled += 1
        for key in self._empty:
            old, kind = self._reached[key]
            self._careful(old, kind.finish, old, self._made[key], self)
        return new

    def __call__(self, obj: T) -> T:
        key = id(obj)
        if key not in self._needed:
            return obj
        if key not in self._made:
            kind = self._reached[key][1]
            self._made[key] = self._careful(obj, kind.shell, obj, self)
            self._empty.append(key)
        return self._made[key]

    def made(self, obj: T) -> T | None:
        """The copy of an object if one has been made, else None."""
        return self._made.get(id(obj))

    def instances_of(self, cls: type[T]) -> Iterator[T]:
        """The objects of a class among all that was found."""
        return (obj for obj, _ in self._reached.values() if isinstance(obj, cls))

    def new_id(self, old_id: int) -> int:
        """The `id` of the copy of the object with this `id`."""
        return id(self(self._reached[old_id][0])) if old_id in self._reached else old_id

    def _scan(self, root: object) -> None:
        """Finds everything that can be reached, and who holds it."""
        kind_of, instances_of, holders = self._kind_of, self._reached, self._holders
        kind = kind_of(root)
        if kind is None:
            return
        instances_of[id(root)] = (root, kind)
        stack = [(root, kind)]
        while stack:
            obj, kind = stack.pop()
            for child in kind.children(obj):
                child_kind = kind_of(child)
                if child_kind is None:
                    continue
                holders.setdefault(id(child), []).append(id(obj))
                if id(child) not in instances_of:
                    instances_of[id(child)] = (child, child_kind)
                    stack.append((child, child_kind))
            for child in kind.pointed_at(obj):
                holders.setdefault(id(child), []).append(id(obj))

    def _mark(self) -> None:
        """Decides what is copied: what belongs to the model, what leads to it, what follows these."""
        stack = [key for key, (_, kind) in self._reached.items() if kind.own]
        while stack:
            key = stack.pop()
            if key not in self._needed:
                self._needed.add(key)
                stack += self._holders.get(key, ())
        self._needed &= self._reached.keys()
        stack = [*self._needed]
        while stack:
            obj, kind = self._reached[stack.pop()]
            for child in kind.children(obj):
                key = id(child)
                if key in self._reached and self._reached[key][1].follows and key not in self._needed:
                    self._needed.add(key)
                    stack.append(key)

    def _careful(self, obj: object, action: Callable[..., object], *args: object) -> Any:
        try:
            return action(*args)
        except ModelError:
            raise
        except Exception as e:  # whatever a class of the user's does when it is made without its constructor
            raise ModelError(f"{self.place(obj)} cannot be copied: {type(e).__name__}: {e}.") from e

    def place(self, obj: object) -> str:
        """Where an object is held, in words: the nearest layer and its attribute."""
        what, key, seen = f"an object of type {type(obj).__name__}", id(obj), set()
        while key not in seen:
            seen.add(key)
            holder = next((h for h in self._holders.get(key, ()) if h in self._reached), None)
            if holder is None:
                break
            owner = self._reached[holder][0]
            held = getattr(owner, "__dict__", {})
            name = next((name for name, value in held.items() if id(value) == key), None)
            if name is not None and hasattr(owner, "_inbound_nodes"):
                return f"Layer {owner.name!r} ({type(owner).__name__}): its attribute {name!r}, {what},"
            key = holder
        return what[0].upper() + what[1:]
