"""Keras 3 on the TensorFlow backend."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

from keras_trt._base.nests import Nest
from keras_trt._base.private import private
from keras_trt._keras.copying.keras3 import kinds
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Layer, Model, Policy, Tensor, Variable

if TYPE_CHECKING:
    from tensorflow import Variable as TFVariable


class Keras3(Flavor):
    """What Keras 3 does its own way."""

    name = "keras3"
    packages = ("keras", "keras_hub", "keras_cv", "keras_nlp")
    runs_autograph = False
    fuses_normalization = False
    recurrent_loop = "inner_loop"
    clones_by_call = True
    names_inputs = True
    casts_narrow_weights = True
    optimizer_built = "built"
    optimizer_index = "_trainable_variables_indices"

    @property
    def keras(self) -> ModuleType:  # type: ignore[override]
        """The `keras` module."""
        import keras

        return keras

    def is_functional(self, model: Model) -> bool:
        if isinstance(model, self.keras.Sequential):
            return private(model, "_functional", "keras") is not None
        from keras.src.models.functional import Functional

        if isinstance(model, Functional):
            private(model, "_nodes_by_depth", "keras")
            return True
        return False

    def writes_layers(self, model_class: type[Any]) -> bool:
        from keras.src.models.functional import functional_like_constructor

        own = model_class.get_config.__module__.split(".")[0] == "keras"
        return own and (
            issubclass(model_class, self.keras.Sequential) or functional_like_constructor(model_class)
        )

    def calls(self, model: Model) -> list[tuple[Any, list[Tensor], list[Tensor], Nest]]:
        by_depth = _graph_model(model)._nodes_by_depth
        nodes = [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]
        return [
            (n.operation, list(n.input_tensors), list(n.outputs), (n.arguments.args, n.arguments.kwargs))
            for n in nodes
            if not n.is_input
        ]

    def endpoints(self, model: Model) -> tuple[list[Tensor], list[Tensor]]:
        graph = _graph_model(model)
        return self.keras.tree.flatten(graph.inputs), self.keras.tree.flatten(graph.outputs)

    def nests(self, model: Model) -> tuple[Nest, Nest]:
        graph = _graph_model(model)
        inputs, outputs = (private(graph, name, "keras") for name in ("_inputs_struct", "_outputs_struct"))
        alone = isinstance(outputs, list | tuple) and len(outputs) == 1  # a call returns the one itself
        return inputs, outputs[0] if alone else outputs

    def first_call(self, model: Model) -> list[Nest]:
        return list((private(model, "_build_shapes_dict", "keras") or {}).values())

    def inference_arguments(self, model: Model) -> dict[str, bool]:
        return {"training": False}

    def policy_attributes(self, layer: Layer, policy: Policy) -> dict[str, Any]:
        private(layer, "_dtype_policy", "keras")
        return {"_dtype_policy": policy}

    def fuses_attention(self, layer: Any) -> bool:
        private(layer, "_flash_attention", "keras")  # a release without it computes in another way
        if isinstance(layer, self.keras.layers.MultiHeadAttention):
            return not private(layer, "_dropout", "keras")
        return not layer.dropout

    def inputs_called(self, model: Model) -> int:
        return max(1, len(list(_shapes(self.first_call(model)))))

    def copy_kinds(self) -> Iterator[tuple[type, Any]]:
        return kinds()

    def batches_trained(self, model: Model) -> int | None:
        # `iterations` counts updates, of which there are fewer when gradients are accumulated.
        optimizer = getattr(model, "optimizer", None)
        if not isinstance(optimizer, self.keras.optimizers.Optimizer):  # not compiled
            return super().batches_trained(model)
        return int(private(getattr(optimizer, "inner_optimizer", optimizer), "_iterations", "keras").numpy())

    @contextmanager
    def unlocked(self, layer: Any) -> Iterator[None]:
        tracker = layer._tracker
        locked = tracker.locked
        if locked:
            tracker.unlock()
        try:
            yield
        finally:
            if locked:
                tracker.lock()

    def rename(self, layer: Any, name: str) -> None:
        layer.name = name

    @property
    def graph_ops(self) -> ModuleType:
        return self.keras.ops

    def control_flow(self) -> ModuleType | None:
        from keras.src.backend import core

        return core

    def makers(self, layer_class: type[Any]) -> list[str]:
        return ["_post_build"]  # runs after `build`, whose own signature Keras inspects

    def forget_sublayers(self, layer: Any, sublayers: list[object]) -> None:
        layer._layers[:] = [other for other in layer._layers if all(other is not s for s in sublayers)]

    def state_options(self) -> dict[str, Any]:
        takes = inspect.signature(self.keras.layers.Layer.add_weight).parameters
        return {"autocast": False, **({"aggregation": "mean"} if "aggregation" in takes else {})}

    def is_training(self) -> bool:
        from keras.src.backend.common import global_state

        return bool(getattr(global_state.get_global_attribute("current_call_ctx"), "training", None))

    def checkpoint_with(self, layer: Any, name: str, child: object) -> None:
        layer._track_trackable(child, name=name, overwrite=True)  # TensorFlow looks into no list of Keras 3's

    def raw(self, variable: Variable) -> TFVariable:
        if not isinstance(variable, self.keras.Variable):
            return variable
        value = private(variable, "_value", "keras")
        return variable.value if value is None else value  # None while Keras builds a model symbolically


def _graph_model(model: Model) -> Any:
    """A Sequential keeps its graph in a Functional model inside."""
    import keras

    return private(model, "_functional", "keras") if isinstance(model, keras.Sequential) else model


def _shapes(nest: object) -> Iterator[Any]:
    """The shapes in a structure of them."""
    members = list(nest.values()) if isinstance(nest, dict) else nest
    if isinstance(nest, list | tuple) and all(size is None or isinstance(size, int) for size in nest):
        yield nest
    elif isinstance(members, list | tuple):
        for member in members:
            yield from _shapes(member)
