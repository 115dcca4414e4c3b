"""How tf_keras's objects are copied."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keras_trt._base.private import private
from keras_trt._keras.copying.graph import ABSENT, Layer, Optimizer, Tensor, call_number, nodes_of
from keras_trt._keras.copying.instance import Instance, attributes
from keras_trt._keras.copying.walk import Copier, Kind

_COUNTS = "_obj_reference_counts_dict"
_NUMBERED = ("_network_nodes", "_input_coordinates", "_output_coordinates", "_tensor_usage_count")
"""What a functional model has that holds numbers of calls, and ids."""
_REFERENCES = "_self_unconditional_checkpoint_dependencies"
_REFERENCES_BY_NAME = "_self_unconditional_dependency_names"


class LegacyLayer(Layer):
    """A layer or a model."""

    calls = ("_inbound_nodes_value", "_outbound_nodes_value")
    uncompiled = {  # noqa: RUF012 - never changed
        "_is_compiled": False,
        "compiled_loss": None,
        "compiled_metrics": None,
        "history": None,
        "train_function": None,
        "test_function": None,
        "predict_function": None,
        "train_tf_function": None,
        "_training_state": None,
        "_steps_per_execution": None,
        "_steps_per_execution_tuner": None,
        "_run_eagerly": None,
        "_jit_compile": None,
        "optimizer": None,
        "loss": ABSENT,
        "_compile_config": ABSENT,
        "_compiled_trainable_state": ABSENT,
        "_pss_evaluation_shards": ABSENT,
        "_eval_data_handler": ABSENT,
    }

    def state(self, obj: object) -> dict[str, Any]:
        held = super().state(obj)
        given = attributes(obj)
        compiled = isinstance(obj, self.model_class) and private(obj, "_is_compiled", "tf_keras")
        if not compiled:  # the user's own, under `compile`'s names
            held.update((name, given[name]) for name in ("optimizer", "loss") if name in given)
        held.pop(_COUNTS, None)
        for name in _NUMBERED if self._has_graph(obj) else ():
            private(obj, name, "tf_keras")
            del held[name]
        return {**held, **self._references(obj, held)}

    def _has_graph(self, obj: object) -> bool:
        return isinstance(obj, self.model_class) and bool(private(obj, "_is_graph_network", "tf_keras"))

    def _references(self, obj: object, held: dict[str, Any]) -> dict[str, Any]:
        """What checkpoints follow, without the optimizer and the like."""
        lost = {n for n in self.uncompiled if n in attributes(obj) and held.get(n) is not attributes(obj)[n]}
        if not lost or _REFERENCES not in held:
            return {}
        by_name = private(obj, _REFERENCES_BY_NAME, "tensorflow")
        return {
            _REFERENCES: [reference for reference in held[_REFERENCES] if reference.name not in lost],
            _REFERENCES_BY_NAME: {name: value for name, value in by_name.items() if name not in lost},
        }

    def finish(self, old: object, new: object, copy: Copier) -> None:
        super().finish(old, new, copy)
        if _COUNTS in attributes(old):
            self._count(old, new, copy)
        if self._has_graph(old):
            self._number(old, new, copy)

    def _count(self, old: object, new: object, copy: Copier) -> None:
        """How often each object is an attribute; lost ones are left out."""
        state = {id(value) for value in self.state(old).values()}
        counts = type(attributes(old)[_COUNTS])()
        for obj, number in attributes(old)[_COUNTS].items():
            if copy.made(obj) is not None or id(obj) in state:
                counts[copy(obj)] = number
        vars(new)[_COUNTS] = counts

    def _number(self, old: object, new: object, copy: Copier) -> None:
        """The functional model's names for its calls and tensors, which hold numbers of calls and ids."""
        from tf_keras.src.engine.functional import _make_node_key

        held = vars(new)
        held["_network_nodes"] = {
            _make_node_key(
                node.layer.name, call_number(node.layer, node.layer._inbound_nodes.index(node), copy)
            )
            for node in nodes_of(old)
        }
        for name in ("_input_coordinates", "_output_coordinates"):
            held[name] = [
                (copy(layer), call_number(layer, node, copy), tensor)
                for layer, node, tensor in getattr(old, name)
            ]
        usage = attributes(old)["_tensor_usage_count"]
        held["_tensor_usage_count"] = type(usage)({str(copy.new_id(int(i))): n for i, n in usage.items()})


class Node(Instance[Any]):
    """A call of a layer, which names tensors by their ids."""

    def __init__(self) -> None:
        super().__init__(own=True)

    def fill(self, old: Any, new: object, copy: Copier) -> None:
        super().fill(old, new, copy)
        for name in ("flat_input_ids", "flat_output_ids"):
            vars(new)[name] = [str(copy.new_id(int(i))) for i in getattr(old, name)]
        pairs = old._keras_inputs_ids_and_indices
        vars(new)["_keras_inputs_ids_and_indices"] = [(str(copy.new_id(int(i))), at) for i, at in pairs]


def kinds() -> Iterator[tuple[type, Kind[Any]]]:
    """tf_keras's classes with a kind of their own, each before its bases."""
    import tensorflow as tf
    import tf_keras
    from tf_keras.src.engine.keras_tensor import KerasTensor
    from tf_keras.src.engine.node import Node as KerasNode
    from tf_keras.src.mixed_precision.autocast_variable import AutoCastVariable

    yield tf_keras.layers.Layer, LegacyLayer(tf_keras.Model)
    yield KerasTensor, Tensor()
    yield tf_keras.optimizers.Optimizer, Optimizer("_index_dict", tf.Variable)
    yield KerasNode, Node()
    yield AutoCastVariable, Instance(own=True)
