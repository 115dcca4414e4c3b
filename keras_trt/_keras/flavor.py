"""The few things that the two Kerases do differently.

The flavour is a property of a model object, never of the process: both Kerases live side by side.
Everything outside this room gets a `Flavor` and never asks for its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from keras_trt._base.names import unique
from keras_trt._base.nests import Nest
from keras_trt._keras.copying.copy_model import copy_model
from keras_trt._keras.types import Layer, M, Model, Policy, Tensor, Variable

if TYPE_CHECKING:
    from tensorflow import Variable as TFVariable


class Flavor:
    """One Keras. Subclasses: `keras3.Keras3` and `legacy.LegacyKeras`.

    Attributes:
        name: `"keras3"` or `"legacy"`.
        packages: Whose modules this Keras itself looks up when a file names them.
        keras: The module.
        runs_autograph: Whether Python's `if` and `for` over tensors in a user's `call` become graph ops.
        fuses_normalization: Whether layer and group normalisation borrow a fused batch normalisation.
        recurrent_loop: The method in which a recurrent layer loops over its steps.
        clones_by_call: Whether `clone_model` hands each call of a graph to a function of ours.
        names_inputs: Whether the tensor of an input has a name beside its layer's.
        casts_narrow_weights: Whether a layer casts float16 or bfloat16 weights to what it computes in.
        optimizer_built: The attribute by which an optimizer says that it has been built.
        optimizer_index: The attribute in which it has the number of each weight that it knows.
        has_graphs: Whether its backend is TensorFlow, whose graphs can be read, changed and exported.
    """

    name: str
    packages: tuple[str, ...]
    keras: ModuleType
    runs_autograph: bool
    fuses_normalization: bool
    recurrent_loop: str
    clones_by_call: bool
    names_inputs: bool
    casts_narrow_weights: bool
    optimizer_built: str
    optimizer_index: str
    has_graphs: bool = True

    @property
    def ops(self) -> ModuleType:
        """The operators that numbers are written in, by the names of `keras.ops`."""
        from keras_trt._keras.backends import tensorflow_ops

        return tensorflow_ops

    @property
    def graph_ops(self) -> ModuleType:
        """Operators for the tensors of a functional model; of use are those that both Kerases name alike."""
        raise NotImplementedError

    @property
    def tf(self) -> ModuleType:
        """TensorFlow, for what reads its graphs.

        Raises:
            ModelError: The model's Keras has another backend.
        """
        import tensorflow

        return tensorflow

    def is_layer(self, obj: object) -> TypeGuard[Layer]:
        """Whether `obj` is a layer (or a model) of this Keras."""
        return isinstance(obj, self.keras.layers.Layer)

    def is_model(self, obj: object) -> TypeGuard[Model]:
        """Whether `obj` is a model of this Keras."""
        return isinstance(obj, self.keras.Model)

    def keeps_floats(self, layer: Layer) -> bool:
        """Whether TensorRT takes the layer's weights as float numbers only: recurrent cells and tables."""
        names = ("LSTMCell", "GRUCell", "SimpleRNNCell", "Embedding")
        return isinstance(layer, tuple(getattr(self.keras.layers, name) for name in names))

    def is_functional(self, model: Model) -> bool:
        """Whether the model's layer graph can be read (Functional or a built Sequential)."""
        raise NotImplementedError

    def writes_layers(self, model_class: type[object]) -> bool:
        """Whether the config of such a functional model holds its layers' configs, as Keras's own does.

        A subclass with a `get_config` or a constructor of its own makes its layers anew.
        """
        raise NotImplementedError

    def calls(self, model: Model) -> list[tuple[Any, list[Tensor], list[Tensor], Nest]]:
        """(layer or operation, tensors read, tensors made, nest of all arguments) of a model, in order."""
        raise NotImplementedError

    def endpoints(self, model: Model) -> tuple[list[Tensor], list[Tensor]]:
        """The symbolic tensors that enter and leave a functional model, flattened."""
        raise NotImplementedError

    def nests(self, model: Model) -> tuple[Nest, Nest]:
        """The nests of symbolic tensors that a functional model takes and returns."""
        raise NotImplementedError

    def input_nest(self, model: Model) -> Nest:
        """The nest of symbolic inputs a functional model is called with; None for other models."""
        return self.nests(model)[0] if self.is_functional(model) else None

    def first_call(self, model: Model) -> list[Nest]:
        """The arguments that a model without a layer graph was first called on; none where it never was.

        Their leaves are shapes, or specs with a shape and a dtype where this Keras remembers those too.
        """
        raise NotImplementedError

    def inference_arguments(self, model: Model) -> dict[str, bool]:
        """What a call of the model is told where it does not train."""
        raise NotImplementedError

    def policy_attributes(self, layer: Layer, policy: Policy) -> dict[str, Any]:
        """The attributes that hold a layer's dtype policy, with what they hold under another one."""
        raise NotImplementedError

    def fuses_attention(self, layer: Layer) -> bool:
        """Whether an attention layer that returns no scores computes all in one operation."""
        raise NotImplementedError

    def inputs_called(self, model: Model) -> int:
        """How many tensors a model without a layer graph was first called on; 1 where it never was."""
        raise NotImplementedError

    def children(self, layer: Any) -> list[Layer]:
        """The layers directly inside `layer`."""
        return list(layer._flatten_layers(include_self=False, recursive=False))

    def is_quantizer(self, layer: Layer) -> bool:
        """Whether `layer` is one of the quantisers this library puts inside twins."""
        return bool(getattr(layer, "is_keras_trt_quantizer", False))

    def walk(self, model: Layer, *, prefix: str = "") -> Iterator[tuple[str, Layer]]:
        """Every layer inside `model`, depth first, once, with its path (`"backbone/conv1"`).

        No two layers have one path: a second layer `b` inside `a`, which the Kerases allow in custom layers
        and subclassed models, is `"a/b#2"`. The library's own quantisers inside a layer are not shown.
        """
        yield from self._walk(model, prefix, set(), set())

    def _walk(
        self, layer: Layer, prefix: str, seen: set[int], taken: set[str]
    ) -> Iterator[tuple[str, Layer]]:
        for child in self.children(layer):
            if id(child) in seen or self.is_quantizer(child):
                continue
            seen.add(id(child))
            path = unique(f"{prefix}{child.name}", taken, mark="#", first=2)
            yield path, child
            yield from self._walk(child, f"{path}/", seen, taken)

    def clone(self, model: M) -> M:
        """A new model, not compiled, with the same classes, names and weights; nothing is shared.

        Raises:
            ModelError: Something in the model cannot be copied; the message names it.
        """
        return copy_model(self, model)

    def copy_kinds(self) -> Iterator[tuple[type, Any]]:
        """This Keras's classes that are copied in a way of their own (see `copying`)."""
        raise NotImplementedError

    def unlocked(self, layer: Layer) -> AbstractContextManager[None]:
        """Context in which weights and sub-layers may be added to a layer that is already built."""
        raise NotImplementedError

    def rename(self, layer: Layer, name: str) -> None:
        """Gives a layer that is not yet part of a model another name."""
        raise NotImplementedError

    def control_flow(self) -> ModuleType | None:
        """The module in which `keras.ops` finds `scan` and `switch`; None where it has neither."""
        raise NotImplementedError

    def makers(self, layer_class: type[Any]) -> list[str]:
        """Names of the methods after which a layer may have new sub-layers, beside its construction."""
        raise NotImplementedError

    def rebuild_steps(self, model: Any) -> None:
        """Makes a compiled model trace its train, test and predict steps anew; `fit` may be running."""
        model.test_function = model.predict_function = None
        if model.train_function is not None:
            model.make_train_function(force=True)

    def batches_trained(self, model: Model) -> int | None:
        """How many batches the model's optimiser has seen, in files too; None without one that counts."""
        iterations = getattr(getattr(model, "optimizer", None), "iterations", None)
        return None if iterations is None else int(iterations.numpy())

    def strategy_scope(self, model: Model) -> AbstractContextManager[Any]:
        """The context in which the model's variables live; where one is entered already, that one."""
        strategy = getattr(model, "distribute_strategy", None)
        if strategy is None or self.tf.distribute.has_strategy():
            return nullcontext()
        return strategy.scope()

    def forget_sublayers(self, layer: Layer, sublayers: list[object]) -> None:
        """Takes sub-layers out of a layer's tracking; call inside `unlocked`."""
        raise NotImplementedError

    def add_state(
        self,
        layer: Layer,
        name: str,
        value: float,
        trainable: bool = False,
        shape: tuple[int, ...] = (),
        constraint: Callable[[Tensor], Tensor] | None = None,
    ) -> Variable:
        """A float32 weight, of one value at first, that agrees across replicas of a strategy."""
        initializer = self.keras.initializers.Constant(value)
        return layer.add_weight(
            name=name,
            shape=shape,
            dtype="float32",
            initializer=initializer,
            trainable=trainable,
            constraint=constraint,
            **self.state_options(),
        )

    def state_options(self) -> dict[str, Any]:
        """What `add_weight` is told for a weight that is never cast and agrees across replicas."""
        raise NotImplementedError

    def spec_classes(self) -> tuple[type, ...]:
        """Classes of what stands for tensors in the config of an Input."""
        return (self.tf.TypeSpec,)

    def mask_variable(self, mask: np.ndarray) -> Variable:
        """A mask that steps can see and that no file holds."""
        return self.tf.Variable(mask, trainable=False, dtype=self.tf.bool)

    def raw(self, variable: Variable) -> TFVariable:
        """The `tf.Variable` behind a Keras variable, never autocast."""
        raise NotImplementedError

    def value(self, variable: Variable) -> Tensor:
        """What a variable holds, as a tensor that is never autocast."""
        value: Tensor = self.tf.convert_to_tensor(self.raw(variable))
        return value

    def array(self, variable: Variable) -> np.ndarray:
        """What a variable holds now, as numbers."""
        return np.asarray(self.raw(variable).numpy())

    def reading_archives(self) -> AbstractContextManager[None]:
        """While open, the weights in a `.keras` file are read at once, not by jumps in its archive."""
        return nullcontext()

    def bring_up_to_date(self, model: Model) -> None:
        """Writes what a training that is running holds into the variables, where a backend keeps it apart."""

    def list_weights_anew(self, model: Layer) -> None:
        """Has a backend that keeps lists of weights make them anew, when some came or went."""

    def first_replica(self, variable: Variable) -> TFVariable:
        """The `tf.Variable` behind a Keras variable; under a strategy the first of those that agree."""
        raw = self.raw(variable)
        return getattr(raw, "values", (raw,))[0]

    def number(self, variable: Variable) -> float | None:
        """What a scalar variable holds now, in a graph too; None for one that Keras has yet to make."""
        first = self.first_replica(variable)
        if not isinstance(first, self.tf.Variable):
            return None
        with self.tf.init_scope():
            return float(first.numpy())

    def is_settled(self, variable: Variable) -> bool:
        """Whether what a variable holds may be read as a fact now, and what runs be made for it.

        A training step of TensorFlow is: whoever changes such a variable makes it trace anew.
        """
        return bool(self.tf.executing_eagerly()) or self.is_training()

    def is_training(self) -> bool:
        """Whether the layer that runs now was called for training."""
        raise NotImplementedError

    def checkpoint_with(self, layer: Layer, name: str, child: object) -> None:
        """Makes `tf.train.Checkpoint` store a part of a layer, where Keras does not."""

    def __repr__(self) -> str:
        return f"Flavor({self.name!r})"
