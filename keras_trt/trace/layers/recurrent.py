"""Traces recurrent layers as one operator each, as ONNX has them, instead of a loop over the steps.

The operator is TensorFlow's `CudnnRNNV3`, which knows its shapes and is never run here. Its parameters are
not packed as cuDNN wants them but as `kernel`, `recurrent_kernel` and `bias` of the cell, flat and one behind
the other; `convert/handlers/layers/recurrent.py` reads them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from keras_trt._keras.calls.running import running
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.kernels import is_keras_own
from keras_trt._keras.types import Layer, Model, Tensor
from keras_trt._machine.process import attributes_replaced

RECURRENT = ("LSTM", "GRU", "SimpleRNN")
"""The layers that ONNX has an operator for."""


@contextmanager
def recurrent_operators(flavor: Flavor, model: Model, kinds: Sequence[str] = RECURRENT) -> Iterator[None]:
    """While open, layers that an operator computes exactly are traced as such.

    Those with a mask stay loops: ONNX knows lengths only, and a mask may begin with, or hold, unseen steps.
    """
    method = flavor.recurrent_loop
    make = {"inner_loop": _inner_loop, "call": _call}[method]
    with attributes_replaced() as replace:
        for _, layer in flavor.walk(model):
            mode = _mode(flavor, layer, method, kinds)
            if mode is not None:
                replace(layer, method, make(flavor, layer, mode))
        yield


def _mode(flavor: Flavor, layer: Layer, method: str, kinds: Sequence[str]) -> str | None:
    """What cuDNN calls the layer's computation; None where no operator does it."""
    layers, cell = flavor.keras.layers, getattr(layer, "cell", None)
    if (
        cell is None
        or not isinstance(layer, layers.RNN)
        or layer.stateful
        or getattr(layer, "time_major", False)
    ):
        return None
    kind = next((name for name in kinds if isinstance(cell, getattr(layers, f"{name}Cell"))), None)
    if kind is None or not _is_stock(layer, method) or not _is_stock(cell, "call"):
        return None
    if any(getattr(owner, "input_quantizers", None) for owner in (layer, cell)):
        return None  # the operator's inputs have no place for them
    activation = _name(flavor, cell.activation)
    if kind == "SimpleRNN":
        return {"tanh": "rnn_tanh", "relu": "rnn_relu"}.get(activation)
    stock = (activation, _name(flavor, cell.recurrent_activation)) == ("tanh", "sigmoid")
    return kind.lower() if stock else None


def _is_stock(layer: Layer, method: str) -> bool:
    """Whether the method is that of Keras's own class, perhaps behind this library's twin."""
    owner = next(c for c in type(layer).__mro__ if method in vars(c) and "_float_class" not in vars(c))
    return is_keras_own(owner)


def _name(flavor: Flavor, activation: object) -> str:
    names = ("tanh", "sigmoid", "relu")
    return next((name for name in names if activation is flavor.keras.activations.get(name)), "")


def _inner_loop(flavor: Flavor, layer: Any, mode: str) -> Any:
    """Keras 3's seam: the layer's own `call` handles states and what is returned."""
    loop = layer.inner_loop

    def inner_loop(sequences: Tensor, initial_state: object, mask: object, training: bool = False) -> Any:
        if mask is not None:
            return loop(sequences, initial_state, mask, training)
        return _sequence(flavor, layer, mode, sequences, initial_state)

    return inner_loop


def _call(flavor: Flavor, layer: Any, mode: str) -> Any:
    """tf_keras's seam."""
    call = layer.call

    def operator(
        inputs: Any, mask: object = None, training: object = None, initial_state: Any = None, **kwargs: object
    ) -> Any:
        if mask is not None or kwargs.get("constants") or isinstance(inputs, flavor.tf.RaggedTensor):
            return call(inputs, mask=mask, training=training, initial_state=initial_state, **kwargs)
        inputs, initial_state, _ = layer._process_inputs(inputs, initial_state, None)
        last, outputs, states = _sequence(flavor, layer, mode, inputs, initial_state)
        output = outputs if layer.return_sequences else last
        return [output, *states] if layer.return_state else output

    return operator


def _sequence(flavor: Flavor, layer: Any, mode: str, x: Tensor, states: Any) -> tuple[Any, Any, list[Any]]:
    """The last output, all outputs and the last states, in the order in which the steps are taken."""
    tf = flavor.tf
    states = [tf.expand_dims(state, 0) for state in tf.nest.flatten(states)]
    steps = tf.transpose(x, [1, 0, 2])
    if layer.go_backwards:
        steps = tf.reverse(steps, [0])
    size = tf.shape(steps)
    outputs, state, memory, *_ = tf.raw_ops.CudnnRNNV3(
        input=steps,
        input_h=states[0],
        input_c=states[1] if mode == "lstm" else tf.zeros([0]),
        params=_parameters(flavor, layer.cell),
        sequence_lengths=tf.fill([size[1]], size[0]),
        rnn_mode=mode,
        is_training=False,
    )
    outputs.set_shape([*steps.shape[:2], layer.cell.units])
    state = tf.squeeze(state, 0)
    memories = [tf.squeeze(memory, 0)] if mode == "lstm" else []
    return state, tf.transpose(outputs, [1, 0, 2]), [state, *memories]


def _parameters(flavor: Flavor, cell: Any) -> Any:
    tf = flavor.tf
    with running(cell):
        weights = [cell.kernel, cell.recurrent_kernel, cell.bias]
    if weights[2] is None and getattr(cell, "reset_after", False):
        weights[2] = tf.zeros([2, 3 * cell.units])  # two biases tell where the reset gate acts
    tensors = (tf.convert_to_tensor(flavor.raw(w)) for w in weights if w is not None)
    return tf.concat([tf.reshape(tf.cast(tensor, cell.compute_dtype), [-1]) for tensor in tensors], 0)
