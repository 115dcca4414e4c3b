"""tf_keras, the Keras 2 line that TensorFlow ships beside Keras 3."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from types import ModuleType
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

from keras_trt._base.nests import Nest
from keras_trt._base.private import private
from keras_trt._keras.copying.legacy import kinds
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Layer, Model, Policy, Tensor, Variable
from keras_trt._machine.deps import require
from keras_trt._machine.process import attributes_replaced

if TYPE_CHECKING:
    from tensorflow import Variable as TFVariable


class LegacyKeras(Flavor):
    """What tf_keras does its own way."""

    name = "legacy"
    packages = ("tf_keras", "keras")
    runs_autograph = True
    fuses_normalization = True
    recurrent_loop = "call"
    clones_by_call = False
    names_inputs = False
    casts_narrow_weights = False
    optimizer_built = "_built"
    optimizer_index = "_index_dict"

    @property
    def keras(self) -> ModuleType:  # type: ignore[override]
        """The `tf_keras` module."""
        return require("tf_keras", install="tf-keras")

    def is_functional(self, model: Model) -> bool:
        return self.is_model(model) and bool(private(model, "_is_graph_network", "tf_keras"))

    def writes_layers(self, model_class: type[Any]) -> bool:
        from tf_keras.src.engine.functional import has_functional_like_constructor

        own = model_class.get_config.__module__.split(".")[0] == "tf_keras"
        return own and (
            issubclass(model_class, self.keras.Sequential) or has_functional_like_constructor(model_class)
        )

    def calls(self, model: Model) -> list[tuple[Any, list[Tensor], list[Tensor], Nest]]:
        flatten, by_depth = self.tf.nest.flatten, private(model, "_nodes_by_depth", "tf_keras")
        nodes = [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]
        return [
            (n.layer, list(n.keras_inputs), flatten(n.outputs), (n.call_args, n.call_kwargs))
            for n in nodes
            if not n.is_input
        ]

    def endpoints(self, model: Any) -> tuple[list[Tensor], list[Tensor]]:
        return self.tf.nest.flatten(model.inputs), self.tf.nest.flatten(model.outputs)

    def nests(self, model: Model) -> tuple[Nest, Nest]:
        inputs, outputs = (private(model, name, "tf_keras") for name in ("_nested_inputs", "_nested_outputs"))
        if isinstance(model, self.keras.Sequential):  # may wrap its one tensor in a list
            return tuple(nest[0] if isinstance(nest, list) else nest for nest in (inputs, outputs))
        return inputs, outputs

    def first_call(self, model: Any) -> list[Nest]:
        spec = model.save_spec(dynamic_batch=True)  # (args, kwargs)
        return [] if spec is None else [*spec[0], *spec[1].values()]

    def inference_arguments(self, model: Model) -> dict[str, bool]:
        # `training` is passed on to a `call` that may not take it.
        return {"training": False} if private(model, "_expects_training_arg", "tf_keras") else {}

    def policy_attributes(self, layer: Layer, policy: Policy) -> dict[str, Any]:
        for name in ("_dtype_policy", "_compute_dtype_object"):
            private(layer, name, "tf_keras")
        return {"_dtype_policy": policy, "_compute_dtype_object": self.tf.as_dtype(policy.compute_dtype)}

    def fuses_attention(self, layer: Layer) -> bool:
        return False

    def inputs_called(self, model: Any) -> int:
        return max(1, len(self.tf.nest.flatten(model.save_spec())))

    def copy_kinds(self) -> Iterator[tuple[type, Any]]:
        return kinds()

    @contextmanager
    def unlocked(self, layer: Layer) -> Iterator[None]:
        yield

    def rename(self, layer: Any, name: str) -> None:
        private(layer, "_name", "tf_keras")
        layer._name = name

    @property
    def graph_ops(self) -> ModuleType:
        return self.tf

    def control_flow(self) -> ModuleType | None:
        return None

    def makers(self, layer_class: type[Any]) -> list[str]:
        private(self.keras.layers.Layer.build, "_is_default", "tf_keras")
        private(self.keras.layers.MultiHeadAttention, "_build_from_signature", "tf_keras")
        default = getattr(layer_class.build, "_is_default", False)  # a build of its own has no such mark
        late = ["_build_from_signature"] if hasattr(layer_class, "_build_from_signature") else []
        return late if default else ["build", *late]

    def forget_sublayers(self, layer: Layer, sublayers: list[object]) -> None:
        """Deleting the attribute is enough here."""

    def state_options(self) -> dict[str, Any]:
        # Replicas agree after every step, not when saved.
        return {"experimental_autocast": False, "aggregation": self.tf.VariableAggregation.MEAN}

    def is_training(self) -> bool:
        from tf_keras.src.engine import base_layer_utils

        return base_layer_utils.call_context().training is True

    def raw(self, variable: Variable) -> TFVariable:
        from tf_keras.src.mixed_precision.autocast_variable import AutoCastVariable

        return (
            private(variable, "_variable", "tf_keras") if isinstance(variable, AutoCastVariable) else variable
        )

    @contextmanager
    def reading_archives(self) -> Iterator[None]:
        from tf_keras.src.saving import saving_lib

        with attributes_replaced() as replace:
            replace(saving_lib, "H5IOStore", _read_at_once(saving_lib.H5IOStore))
            yield


@functools.cache
def _read_at_once(store: Any) -> Any:
    """tf_keras's reader of weights, handed the bytes of a file in an archive instead of the archive's stream.

    HDF5 jumps back and forth, and for a jump back a stream of an archive begins anew.
    """

    class ReadAtOnce(store):
        def __init__(self, root_path: str, archive: Any = None, mode: str = "r") -> None:
            at_once = archive if archive is None or mode != "r" else _AtOnce(archive)
            super().__init__(root_path, at_once, mode)

    return ReadAtOnce


class _AtOnce:
    """An archive whose files are read whole when they are opened."""

    def __init__(self, archive: ZipFile) -> None:
        self._archive = archive

    def open(self, name: str, mode: str) -> BytesIO:
        return BytesIO(self._archive.read(name))
