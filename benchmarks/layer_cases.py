"""The models of the layer sweep: at least one for every public layer of both Kerases.

A row is named after its layer, what is special about it behind a colon.
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.layer_nets import Case, Tensor, case, of
from benchmarks.preprocessing_cases import IMAGES, REGULARIZATION, SOUND, TABLES

VECTOR, SEQUENCE = Tensor((8,)), Tensor((6, 4))
LINE, IMAGE, VOLUME = Tensor((12, 4)), Tensor((8, 8, 4)), Tensor((6, 6, 6, 2))
FRAMES = Tensor((3, 6, 6, 2))
IDS = Tensor((6,), "int32", high=10)

NO_STATE = "an engine keeps no state between calls"
OTHER_FRAMEWORK = "it runs code of another framework than TensorFlow"


# --- the core, convolutions, pooling and what moves values ---------------------------------------------


def _own_layer(L: Any) -> Any:
    class Scaled(L.Layer):
        def build(self, shape: Any) -> None:
            self.w = self.add_weight(shape=(shape[-1], 3), initializer="glorot_uniform", name="w")
            self.built = True

        def call(self, x: Any) -> Any:
            return x @ self.w

    return Scaled()


def _own_wrapper(L: Any) -> Any:
    class Twice(L.Wrapper):
        def call(self, x: Any) -> Any:
            return self.layer(self.layer(x))

        def compute_output_shape(self, shape: Any) -> Any:
            return shape

    return Twice(L.Dense(8))


def _saved_model(L: Any) -> Any:
    import keras

    x = keras.Input((8,))
    model = keras.Model(x, keras.layers.Dense(3)(x))
    folder = tempfile.mkdtemp()
    model.export(Path(folder) / "saved", verbose=False)
    return L.TFSMLayer(str(Path(folder) / "saved"), call_endpoint="serve")


def _dense_features(L: Any) -> Any:
    import tensorflow as tf

    return L.DenseFeatures([tf.feature_column.numeric_column("a", shape=(8,))])


CORE: dict[str, Case] = {
    "Activation": case(lambda L: L.Activation("swish"), VECTOR),
    **{
        f"Activation: {name}": case(of("Activation", name), VECTOR)
        for name in (
            "elu",
            "exponential",
            "gelu",
            "hard_sigmoid",
            "leaky_relu",
            "linear",
            "mish",
            "relu6",
            "selu",
            "sigmoid",
            "softmax",
            "softplus",
            "softsign",
            "tanh",
        )
    },
    "ActivityRegularization": case(lambda L: L.ActivityRegularization(0.1), VECTOR),
    "Dense": case(lambda L: L.Dense(5, activation="relu"), VECTOR),
    "Dense: of sequences": case(lambda L: L.Dense(5), SEQUENCE),
    "EinsumDense": case(lambda L: L.EinsumDense("abc,cde->abde", (None, 2, 5), bias_axes="de"), SEQUENCE),
    "Embedding": case(lambda L: L.Embedding(10, 4), IDS),
    "Identity": case(lambda L: L.Identity(), VECTOR),
    "InputLayer": case(lambda L: L.Identity(), VECTOR),
    "Lambda": case(lambda L: L.Lambda(lambda x: x * 2 + 1), VECTOR),
    "Layer": case(_own_layer, VECTOR),
    "Masking": case(lambda L: L.Masking(), SEQUENCE),
    "ReversibleEmbedding": case(
        lambda L: L.ReversibleEmbedding(10, 4), IDS, call=lambda L, layer, x: layer(layer(x[0]), reverse=True)
    ),
    "Wrapper": case(_own_wrapper, VECTOR),
    "ELU": case(lambda L: L.ELU(), VECTOR),
    "LeakyReLU": case(lambda L: L.LeakyReLU(), VECTOR),
    "PReLU": case(lambda L: L.PReLU(), VECTOR),
    "PReLU: shared axes": case(lambda L: L.PReLU(shared_axes=[1, 2]), IMAGE),
    "ReLU": case(lambda L: L.ReLU(6.0, 0.1, 0.2), VECTOR),
    "Softmax": case(lambda L: L.Softmax(), VECTOR),
    "Softmax: masked": case(
        lambda L: L.Softmax(), SEQUENCE, Tensor((6, 4), "bool"), call=lambda L, layer, x: layer(x[0], x[1])
    ),
    "ThresholdedReLU": case(lambda L: L.ThresholdedReLU(0.5), VECTOR),
    "DenseFeatures": case(_dense_features, VECTOR, call=lambda L, layer, x: layer({"a": x[0]})),
    "FlaxLayer": case(lambda L: L.FlaxLayer(None), VECTOR, impossible=OTHER_FRAMEWORK),
    "JaxLayer": case(
        lambda L: L.JaxLayer(lambda inputs: inputs * 2.0, params=[]), VECTOR, impossible=OTHER_FRAMEWORK
    ),
    "TorchModuleWrapper": case(lambda L: L.TorchModuleWrapper(None), VECTOR, impossible=OTHER_FRAMEWORK),
    "TFSMLayer": case(_saved_model, VECTOR),
}

CONVOLUTIONS: dict[str, Case] = {
    "Conv1D": case(lambda L: L.Conv1D(6, 3), LINE),
    "Conv1D: causal": case(lambda L: L.Conv1D(6, 3, padding="causal"), LINE),
    "Conv1D: dilated": case(lambda L: L.Conv1D(6, 3, dilation_rate=2, padding="same"), LINE),
    "Conv2D": case(lambda L: L.Conv2D(6, 3, activation="relu"), IMAGE),
    "Conv2D: strided, same": case(lambda L: L.Conv2D(6, 3, strides=2, padding="same"), IMAGE),
    "Conv2D: dilated": case(lambda L: L.Conv2D(6, 3, dilation_rate=2, padding="same"), IMAGE),
    "Conv2D: grouped": case(lambda L: L.Conv2D(6, 3, groups=2), IMAGE),
    "Conv3D": case(lambda L: L.Conv3D(4, 3, strides=2, padding="same"), VOLUME),
    "Conv1DTranspose": case(lambda L: L.Conv1DTranspose(6, 3, strides=2), LINE),
    "Conv2DTranspose": case(lambda L: L.Conv2DTranspose(6, 3, strides=2, padding="same"), IMAGE),
    "Conv3DTranspose": case(lambda L: L.Conv3DTranspose(3, 3, strides=2), VOLUME),
    "DepthwiseConv1D": case(lambda L: L.DepthwiseConv1D(3), LINE),
    "DepthwiseConv2D": case(lambda L: L.DepthwiseConv2D(3, depth_multiplier=2), IMAGE),
    "DepthwiseConv2D: dilated": case(lambda L: L.DepthwiseConv2D(3, dilation_rate=2), IMAGE),
    "SeparableConv1D": case(lambda L: L.SeparableConv1D(6, 3, padding="same"), LINE),
    "SeparableConv2D": case(lambda L: L.SeparableConv2D(6, 3, strides=2), IMAGE),
    "LocallyConnected1D": case(lambda L: L.LocallyConnected1D(6, 3), LINE),
    "LocallyConnected1D: implementation 2": case(
        lambda L: L.LocallyConnected1D(6, 3, implementation=2), LINE
    ),
    "LocallyConnected1D: implementation 3": case(
        lambda L: L.LocallyConnected1D(6, 3, implementation=3), LINE
    ),
    "LocallyConnected2D": case(lambda L: L.LocallyConnected2D(6, 3), IMAGE),
    "SpectralNormalization": case(
        lambda L: L.SpectralNormalization(L.Conv2D(6, 3)),
        IMAGE,
        impossible={"tf_keras": "tf_keras builds it only where tf.keras is tf_keras (TF_USE_LEGACY_KERAS=1)"},
    ),
}


def _by_rank(*kinds: str) -> Iterator[tuple[str, Tensor]]:
    """`AveragePooling1D` to `AveragePooling3D` with an input each, and so on."""
    for kind in kinds:
        yield from ((f"{kind}{n}D", x) for n, x in ((1, LINE), (2, IMAGE), (3, VOLUME)))


POOLING: dict[str, Case] = {
    **{name: case(of(name, 2), x) for name, x in _by_rank("AveragePooling", "MaxPooling")},
    **{f"{name}: same": case(of(name, 3, 2, padding="same"), x)
       for name, x in _by_rank("AveragePooling", "MaxPooling")},
    **{name: case(of(name), x) for name, x in _by_rank("GlobalAveragePooling", "GlobalMaxPooling")},
    "GlobalAveragePooling1D: masked": case(
        lambda L: L.GlobalAveragePooling1D(), SEQUENCE, call=lambda L, layer, x: layer(L.Masking()(x[0]))
    ),
    **{name: case(of(name, 3), x) for name, x in _by_rank("AdaptiveAveragePooling", "AdaptiveMaxPooling")},
    "AdaptiveAveragePooling2D: uneven": case(lambda L: L.AdaptiveAveragePooling2D((3, 5)), IMAGE),
    "AdaptiveMaxPooling2D: uneven": case(lambda L: L.AdaptiveMaxPooling2D((3, 5)), IMAGE),
}  # fmt: skip

LAYOUT: dict[str, Case] = {
    **{name: case(of(name, 1), x) for name, x in _by_rank("Cropping", "ZeroPadding")},
    **{name: case(of(name, 2), x) for name, x in _by_rank("UpSampling")},
    "UpSampling2D: bilinear": case(lambda L: L.UpSampling2D(2, interpolation="bilinear"), IMAGE),
    "UpSampling2D: bicubic": case(lambda L: L.UpSampling2D(2, interpolation="bicubic"), IMAGE),
    "UpSampling2D: lanczos3": case(lambda L: L.UpSampling2D(2, interpolation="lanczos3"), IMAGE),
    "Flatten": case(lambda L: L.Flatten(), IMAGE),
    "Permute": case(lambda L: L.Permute((3, 1, 2)), IMAGE),
    "RepeatVector": case(lambda L: L.RepeatVector(3), VECTOR),
    "Reshape": case(lambda L: L.Reshape((2, -1)), IMAGE),
}

NORMALIZATION: dict[str, Case] = {
    "BatchNormalization": case(lambda L: L.BatchNormalization(), IMAGE),
    "BatchNormalization: axis 1": case(lambda L: L.BatchNormalization(axis=1), IMAGE),
    "GroupNormalization": case(lambda L: L.GroupNormalization(2), IMAGE),
    "LayerNormalization": case(lambda L: L.LayerNormalization(), SEQUENCE),
    "LayerNormalization: two axes": case(lambda L: L.LayerNormalization(axis=(1, 2)), SEQUENCE),
    "RMSNormalization": case(lambda L: L.RMSNormalization(), SEQUENCE),
    "UnitNormalization": case(lambda L: L.UnitNormalization(), SEQUENCE),
}

MERGING: dict[str, Case] = {
    **{name: case(of(name), VECTOR, VECTOR)
       for name in ("Add", "Average", "Concatenate", "Maximum", "Minimum", "Multiply", "Subtract")},
    "Add: behind a convolution": case(
        lambda L: L.Add(), IMAGE, call=lambda L, layer, x: layer([x[0], L.Conv2D(4, 3, padding="same")(x[0])])
    ),
    "Multiply: squeeze-excite": case(
        lambda L: L.Multiply(), IMAGE,
        call=lambda L, layer, x: layer(
            [x[0], L.Dense(4, "sigmoid")(L.GlobalAveragePooling2D(keepdims=True)(x[0]))]
        ),
    ),
    "Dot": case(lambda L: L.Dot(axes=1), VECTOR, VECTOR),
    "Dot: normalised matrices": case(lambda L: L.Dot(axes=2, normalize=True), SEQUENCE, SEQUENCE),
}  # fmt: skip

# --- attention and recurrent layers --------------------------------------------------------------------


def _to_itself(L: Any, layer: Any, x: list[Any]) -> Any:
    return layer(x[0], x[0])


def _states(L: Any, layer: Any, x: list[Any]) -> Any:
    return list(layer(x[0]))


def _masked(L: Any, layer: Any, x: list[Any]) -> Any:
    return layer(L.Masking()(x[0]))


def _minimal_cell(L: Any) -> Any:
    keras = importlib.import_module(L.__name__.partition(".")[0])

    @keras.saving.register_keras_serializable("layer_cases")
    class Cell(L.AbstractRNNCell):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.dense = L.Dense(4)

        state_size = output_size = 4

        def call(self, x: Any, states: Any) -> Any:
            y = self.dense(x) + states[0]
            return y, [y]

    return L.RNN(Cell())


ATTENTION: dict[str, Case] = {
    "Attention": case(lambda L: L.Attention(), SEQUENCE, SEQUENCE),
    "Attention: concatenated scores": case(lambda L: L.Attention(score_mode="concat"), SEQUENCE, SEQUENCE),
    "AdditiveAttention": case(lambda L: L.AdditiveAttention(), SEQUENCE, SEQUENCE),
    "MultiHeadAttention": case(lambda L: L.MultiHeadAttention(2, 4), SEQUENCE, call=_to_itself),
    "MultiHeadAttention: causal": case(
        lambda L: L.MultiHeadAttention(2, 4), SEQUENCE,
        call=lambda L, layer, x: layer(x[0], x[0], use_causal_mask=True),
    ),
    "MultiHeadAttention: with a mask": case(
        # Long enough for no row to be masked as a whole by chance: that has no meaning.
        lambda L: L.MultiHeadAttention(2, 4), Tensor((16, 4)), Tensor((16, 16), "bool"),
        call=lambda L, layer, x: layer(x[0], x[0], attention_mask=x[1]),
    ),
    "GroupQueryAttention": case(lambda L: L.GroupQueryAttention(4, 4, 2), SEQUENCE, call=_to_itself),
}  # fmt: skip

_RECURRENT = ("LSTM", "GRU", "SimpleRNN")
RECURRENT: dict[str, Case] = {
    **{n: case(of(n, 5), SEQUENCE) for n in _RECURRENT},
    **{f"{n}: sequences and states": case(
        of(n, 5, return_sequences=True, return_state=True), SEQUENCE, call=_states) for n in _RECURRENT},
    **{f"{n}: backwards": case(of(n, 5, go_backwards=True), SEQUENCE) for n in _RECURRENT},
    **{f"{n}: masked": case(of(n, 5), SEQUENCE, call=_masked) for n in _RECURRENT},
    **{f"{n}: unrolled": case(of(n, 5, unroll=True), SEQUENCE) for n in _RECURRENT},
    **{f"{n}: open length": case(of(n, 5), Tensor((None, 4)), input_shapes=(None, (2, 6, 12), 4))
       for n in _RECURRENT},
    **{f"{n}: stateful": case(of(n, 5, stateful=True), SEQUENCE, batch=4, impossible=NO_STATE)
       for n in _RECURRENT},
    "GRU: reset_after=False": case(lambda L: L.GRU(5, reset_after=False), SEQUENCE),
    **{f"{n}Cell": case(lambda L, n=n: L.RNN(of(f"{n}Cell", 5)(L)), SEQUENCE) for n in _RECURRENT},
    "RNN": case(lambda L: L.RNN(L.LSTMCell(5), return_sequences=True), SEQUENCE),
    "AbstractRNNCell": case(_minimal_cell, SEQUENCE),
    "StackedRNNCells": case(lambda L: L.RNN(L.StackedRNNCells([L.LSTMCell(5), L.GRUCell(3)])), SEQUENCE),
    "Bidirectional": case(lambda L: L.Bidirectional(L.LSTM(5)), SEQUENCE),
    "Bidirectional: GRU, summed": case(
        lambda L: L.Bidirectional(L.GRU(5, return_sequences=True), merge_mode="sum"), SEQUENCE
    ),
    "Bidirectional: SimpleRNN": case(lambda L: L.Bidirectional(L.SimpleRNN(5)), SEQUENCE),
    "TimeDistributed": case(lambda L: L.TimeDistributed(L.Conv2D(3, 3)), FRAMES),
    "ConvLSTM1D": case(lambda L: L.ConvLSTM1D(3, 3), Tensor((3, 6, 2))),
    "ConvLSTM2D": case(lambda L: L.ConvLSTM2D(3, 3), FRAMES),
    "ConvLSTM3D": case(lambda L: L.ConvLSTM3D(3, 3), Tensor((3, 4, 4, 4, 2))),
}  # fmt: skip

SECTIONS: dict[str, dict[str, Case]] = {
    "Core layers and activations": CORE,
    "Convolutions": CONVOLUTIONS,
    "Pooling": POOLING,
    "Padding, cropping, reshaping": LAYOUT,
    "Normalisation": NORMALIZATION,
    "Merging": MERGING,
    "Attention": ATTENTION,
    "Recurrent layers": RECURRENT,
    "Regularisation": REGULARIZATION,
    "Preprocessing of numbers and text": TABLES,
    "Sound": SOUND,
    "Images": IMAGES,
}
CASES: dict[str, Case] = {name: case for cases in SECTIONS.values() for name, case in cases.items()}
