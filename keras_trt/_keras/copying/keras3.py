"""How Keras 3's objects are copied."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keras_trt._base.private import private
from keras_trt._keras.copying.graph import ABSENT, Layer, Optimizer, Tensor, call_number, nodes_of
from keras_trt._keras.copying.instance import Instance, attributes
from keras_trt._keras.copying.walk import Copier, Kind


class Operation(Layer):
    """An operation, a layer or a model."""

    calls = ("_inbound_nodes", "_outbound_nodes")
    uncompiled = {  # noqa: RUF012 - never changed
        "compiled": False,
        "loss": None,
        "steps_per_execution": 1,
        "unrolled_steps_per_execution": 1,
        "train_function": None,
        "test_function": None,
        "predict_function": None,
        "_compile_loss": None,
        "_compile_metrics": None,
        "_loss_tracker": None,
        "_run_eagerly": False,
        "_jit_compile": None,
        "optimizer": ABSENT,
        "history": ABSENT,
        "_compile_config": ABSENT,
        "_compiled_trainable_state": ABSENT,
        "_eval_epoch_iterator": ABSENT,
    }

    def state(self, obj: object) -> dict[str, Any]:
        held = super().state(obj)
        if not getattr(obj, "compiled", False) and "optimizer" in attributes(obj):
            held["optimizer"] = attributes(obj)["optimizer"]  # the user's own, under `compile`'s name
        if _is_functional(obj):
            private(obj, "_nodes", "keras")
            del held["_nodes"]  # names calls by the ids of their layers
        return held

    def finish(self, old: object, new: object, copy: Copier) -> None:
        super().finish(old, new, copy)
        if _is_functional(old):
            vars(new)["_nodes"] = {_node_key(node, copy) for node in nodes_of(old)}


def _is_functional(obj: object) -> bool:
    from keras.src.models.functional import Functional

    return isinstance(obj, Functional) and bool(private(obj, "_nodes_by_depth", "keras"))


def _node_key(node: Any, copy: Copier) -> str:
    from keras.src.ops.function import make_node_key

    number = node.operation._inbound_nodes.index(node)
    return str(make_node_key(copy(node.operation), call_number(node.operation, number, copy)))


class Tracker(Instance[Any]):
    """What sorts a layer's attributes into variables, layers and metrics; it counts them by their ids."""

    def __init__(self) -> None:
        super().__init__(own=True)

    def state(self, obj: object) -> dict[str, Any]:
        return {name: value for name, value in attributes(obj).items() if name != "stored_ids"}

    def finish(self, old: Any, new: Any, copy: Copier) -> None:
        new.stored_ids = {name: set(map(copy.new_id, ids)) for name, ids in old.stored_ids.items()}


def kinds() -> Iterator[tuple[type, Kind[Any]]]:
    """Keras 3's classes with a kind of their own, each before its bases."""
    import keras
    from keras.src.utils.tracking import Tracker as KerasTracker

    yield keras.Operation, Operation(keras.Model)
    yield keras.KerasTensor, Tensor()
    yield keras.optimizers.Optimizer, Optimizer("_trainable_variables_indices", keras.Variable)
    yield KerasTracker, Tracker()
