"""How TensorFlow's objects are copied: variables, and what wraps lists and dictionaries."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from keras_trt._base.private import private
from keras_trt._keras.copying import functions
from keras_trt._keras.copying.containers import Dict, List
from keras_trt._keras.copying.instance import Instance, attributes
from keras_trt._keras.copying.walk import Copier, Kind

if TYPE_CHECKING:
    import tensorflow as tf
    import wrapt
    from tensorflow.python.trackable import base


class Variable(Kind["tf.Variable"]):
    """A `tf.Variable`: a new one with the same value, under the same strategy and on the same device.

    One of a package's own class stays of that class, for it may be read as something else than it holds.
    Where it is wrapped around another variable, it is copied as an object that holds one.
    """

    own = True
    _wrapper: Instance[Any] = Instance(own=True)

    def children(self, obj: tf.Variable) -> Iterator[object]:
        if _wraps(obj):
            yield from self._wrapper.children(obj)
            return
        yield obj.constraint
        yield from _added(obj).values()

    def shell(self, obj: tf.Variable, copy: Copier) -> tf.Variable:
        if _wraps(obj):
            return self._wrapper.shell(obj, copy)
        new = self._new(obj)
        if _is_others(type(obj)):
            new.__class__ = type(obj)
        return new

    def _new(self, obj: tf.Variable) -> tf.Variable:
        import tensorflow as tf

        strategy = getattr(obj, "distribute_strategy", None)
        with tf.init_scope(), strategy.scope() if strategy is not None else tf.device(obj.device):
            return tf.Variable(
                obj.read_value(),
                trainable=obj.trainable,
                name=obj.name.removesuffix(":0"),
                dtype=obj.dtype,
                shape=obj.shape,
                aggregation=obj.aggregation,
                synchronization=obj.synchronization,
            )

    def fill(self, old: tf.Variable, new: tf.Variable, copy: Copier) -> None:
        if _wraps(old):
            self._wrapper.fill(old, new, copy)
            return
        constraint = copy(old.constraint)
        if constraint is not None:
            for replica in getattr(new, "values", (new,)):  # one for each replica of a strategy
                private(replica, "_constraint", "tensorflow")
                replica._constraint = constraint
        for name, value in _added(old).items():
            new.__dict__[name] = copy(value)


def _is_others(cls: type) -> bool:
    """Whether a class of variables is neither TensorFlow's nor a Keras's."""
    return cls.__module__.split(".")[0] not in ("tensorflow", "keras", "tf_keras")


def _wraps(variable: tf.Variable) -> bool:
    """Whether a variable is one of a package's own class, around another."""
    import tensorflow as tf

    return _is_others(type(variable)) and any(isinstance(v, tf.Variable) for v in vars(variable).values())


@functools.cache
def _usual() -> frozenset[str]:
    import tensorflow as tf

    return frozenset(vars(tf.Variable(0.0)))


def _added(variable: tf.Variable) -> dict[str, Any]:
    """What somebody has hung on a variable."""
    if hasattr(variable, "values"):  # a variable of a strategy has attributes that others do not have
        return {}
    return {name: value for name, value in vars(variable).items() if name not in _usual()}


class WrappedDict(Dict):
    """What TensorFlow makes of a dictionary that is set as an attribute."""

    def children(self, obj: wrapt.ObjectProxy) -> Iterator[object]:
        yield obj.__wrapped__
        yield from attributes(obj).values()

    def shell(self, obj: wrapt.ObjectProxy, copy: Copier) -> wrapt.ObjectProxy:
        import wrapt

        cls: Any = type(obj)
        new = cls.__new__(cls)
        wrapt.ObjectProxy.__init__(new, copy(obj.__wrapped__))
        return new

    def finish(self, old: dict[object, object], new: dict[object, object], copy: Copier) -> None:
        """The dictionary inside is copied as every dictionary is."""


class Reference(Kind["base.TrackableReference"]):
    """What a checkpoint follows from one object to another: a name and the object."""

    follows = True

    def children(self, obj: base.TrackableReference) -> Iterable[object]:
        return (obj.ref,)

    def shell(self, obj: base.TrackableReference, copy: Copier) -> base.TrackableReference:
        return type(obj)(obj.name, copy(obj.ref))


class Checkpoint(Instance["tf.train.Checkpoint"]):
    """The checkpoint of itself that a tf_keras model holds."""

    def children(self, obj: tf.train.Checkpoint) -> Iterable[object]:
        return ()

    def pointed_at(self, obj: tf.train.Checkpoint) -> Iterator[object]:
        root = getattr(obj, "root", None)
        target = root() if callable(root) else root
        if target is not None:
            yield target

    def shell(self, obj: tf.train.Checkpoint, copy: Copier) -> tf.train.Checkpoint:
        import weakref

        import tensorflow as tf

        target = next(self.pointed_at(obj))
        return tf.train.Checkpoint(root=weakref.ref(copy(target)))

    def fill(self, old: tf.train.Checkpoint, new: tf.train.Checkpoint, copy: Copier) -> None:
        """It is complete."""


def kinds() -> Iterator[tuple[type, Kind[Any]]]:
    """TensorFlow's classes that are looked into, each before its bases."""
    import tensorflow as tf
    from tensorflow.python.trackable import base, data_structures, layer_utils
    from tensorflow.python.util import object_identity

    yield tf.Variable, Variable()
    yield from functions.kinds()
    yield tf.train.Checkpoint, Checkpoint()
    yield base.TrackableReference, Reference()
    yield data_structures.ListWrapper, List(follows=True)
    yield data_structures._DictWrapper, WrappedDict(follows=True)
    yield data_structures._TupleWrapper, WrappedDict(follows=True)
    yield data_structures.TrackableDataStructure, Instance(follows=True)
    yield layer_utils.AttributeSentinel, Instance(follows=True)
    yield layer_utils.MutationSentinel, Instance(follows=True)
    yield object_identity._ObjectIdentityWrapper, Instance()
    yield object_identity.ObjectIdentityDictionary, Instance()
    yield object_identity.ObjectIdentitySet, Instance()
    yield tf.__internal__.tracking.AutoTrackable, Instance(follows=True)
