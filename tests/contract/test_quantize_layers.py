"""Every kind of layer and of model that `quantize_model` covers, for either Keras."""

from __future__ import annotations

import numpy as np
import pytest

import keras_trt
from keras_trt.callbacks.quantize import Quantize
from keras_trt.errors import ModelError
from keras_trt.models.load_model import load_model
from keras_trt.models.report import report
from keras_trt.models.save_model import save_model
from keras_trt.models.strip import strip
from keras_trt.quantize import quantize_model
from keras_trt.quantize.inventory import inventory


def data(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def check_close_and_trained_and_saved(model, quantized, x, path):
    reference, ours = model.predict(x, verbose=0), quantized.predict(x, verbose=0)
    assert 0 < np.abs(ours - reference).max() < 0.1 * np.abs(reference).max()
    quantized.compile("adam", "mse")
    quantized.fit(x, reference, verbose=0)
    save_model(quantized, path)
    loaded = load_model(path)
    assert np.array_equal(loaded.predict(x, verbose=0), quantized.predict(x, verbose=0))
    assert inventory(loaded) == inventory(quantized)


def layer_cases(k):
    """name -> (input shape, layer, quantised weights, quantised activations)."""
    L = k.layers
    return {
        "conv1d": ((12, 4), L.Conv1D(6, 3), 1, 1),
        "conv1d_causal": ((12, 4), L.Conv1D(6, 3, padding="causal"), 1, 1),
        "conv2d": ((8, 8, 4), L.Conv2D(6, 3), 1, 1),
        "conv3d": ((6, 6, 6, 2), L.Conv3D(4, 3), 1, 1),
        "depthwise1d": ((12, 4), L.DepthwiseConv1D(3), 1, 1),
        "depthwise2d": ((8, 8, 4), L.DepthwiseConv2D(3, depth_multiplier=2), 1, 1),
        "separable1d": ((12, 4), L.SeparableConv1D(6, 3, padding="same"), 2, 2),
        "separable2d": ((8, 8, 4), L.SeparableConv2D(6, 3, strides=2, activation="relu"), 2, 2),
        "transpose1d": ((12, 4), L.Conv1DTranspose(6, 3), 1, 1),
        "transpose2d": ((8, 8, 4), L.Conv2DTranspose(6, 3, strides=2), 1, 1),
        "transpose3d": ((4, 4, 4, 2), L.Conv3DTranspose(3, 3), 1, 1),
        "dense": ((8,), L.Dense(5), 1, 1),
        "dense3d": ((6, 8), L.Dense(5), 1, 1),
        "einsum": ((6, 8), L.EinsumDense("abc,cde->abde", (None, 2, 5), bias_axes="de"), 1, 1),
        "lstm": ((6, 4), L.LSTM(5, return_sequences=True), 2, 0),
        "gru": ((6, 4), L.GRU(5), 2, 0),
        "simple_rnn": ((6, 4), L.SimpleRNN(5), 2, 0),
        "bidirectional": ((6, 4), L.Bidirectional(L.LSTM(5)), 4, 0),
        "time_distributed": ((6, 4), L.TimeDistributed(L.Dense(5)), 1, 1),
    }


NAMES = sorted(layer_cases(__import__("keras")))


@pytest.mark.parametrize("name", NAMES)
def test_layer(k, name, tmp_path):
    shape, layer, weights, activations = layer_cases(k)[name]
    inputs = k.Input(shape)
    model = k.Model(inputs, layer(inputs))
    x = data(16, *shape)
    quantized = quantize_model(model, calibration_data=x if activations else None, verbose=0)
    kinds = [t.kind for t in inventory(quantized)]
    assert (kinds.count("weight"), kinds.count("activation")) == (weights, activations)
    check_close_and_trained_and_saved(model, quantized, x, tmp_path / "m.keras")


@pytest.mark.parametrize(
    ("equation", "shape"), [("abc,bd->adc", (4, 8)), ("abc,dc->abd", (6, 4)), ("...x,xy->...y", (6, 4))]
)
def test_a_product_over_any_axis_is_exported_as_trained(k, equation, shape, tmp_path):
    k.utils.set_random_seed(0)  # some values would lie beside a rounding border
    inputs = k.Input((6, 8))
    layer = k.layers.EinsumDense(equation, 4 if "..." in equation else shape, bias_axes=equation[-1])
    model, x = (
        k.Model(inputs, layer(inputs)),
        np.random.default_rng(0).normal(size=(16, 6, 8)).astype("float32"),
    )
    quantized = quantize_model(model, calibration_data=x, verbose=0)
    found = keras_trt.export(quantized, tmp_path / "m.bundle", engine=None, verbose=0)
    assert found.differences[0]["relative"] < 1e-5
    assert found.int8_mac_share == 1.0


def test_a_kernel_with_a_matrix_for_each_index_stays_float_with_the_reason(k):
    inputs = k.Input((6, 8))
    layer = k.layers.EinsumDense("abc,bcd->abd", (6, 4), name="each")
    model = quantize_model(k.Model(inputs, k.layers.Dense(2, name="head")(layer(inputs))))
    assert {t.layer for t in inventory(model)} == {"head"}
    rows = {row["layer"]: row["reason"] for row in report(model).rows}
    assert rows["each"].startswith("no one product")


def attention_net(k, mask=False):
    inputs = k.Input((6, 8))
    attention = k.layers.MultiHeadAttention(2, 4, dropout=0.1, name="attention")
    x = attention(inputs, inputs, use_causal_mask=True) if mask else attention(inputs, inputs)
    x = k.layers.LayerNormalization(name="norm")(k.layers.Add(name="add")([inputs, x]))
    return k.Model(inputs, k.layers.Dense(3, name="head")(x))


@pytest.mark.parametrize("mask", [False, True])
def test_attention_quantises_projections_and_both_products(k, mask, tmp_path):
    model, x = attention_net(k, mask), data(32, 6, 8)
    quantized = quantize_model(model, calibration_data=x, verbose=0)
    found = {(t.layer.split("/")[-1], t.name) for t in inventory(quantized) if t.kind == "activation"}
    inside = {name.split("attention")[1] for layer, name in found if layer == "attention"}
    assert inside == {f"_{p}_quantizer" for p in ("query", "key", "probabilities", "value")}
    assert sum(t.kind == "weight" for t in inventory(quantized)) == 5  # q, k, v, output, head
    check_close_and_trained_and_saved(model, quantized, x, tmp_path / "m.keras")


@pytest.mark.parametrize("choice", [None, "second", "second/query"])
def test_attention_over_masked_words_computes_and_copies_what_keras_does(k, choice, rng):
    words = k.Input((6,), dtype="int32")
    x = k.layers.Embedding(11, 8, mask_zero=True)(words)
    for name in ("first", "second"):
        x = k.layers.MultiHeadAttention(2, 4, name=name)(x, x)
    model, data = k.Model(words, x), rng.integers(1, 11, (16, 6))
    data[:, 4:] = 0
    quantized = quantize_model(model, only=choice, calibration_data=data, verbose=0)
    reference, ours = model.predict(data, verbose=0), quantized.predict(data, verbose=0)
    assert np.abs(ours - reference).max() < 0.1 * np.abs(reference).max()  # padded words too
    again = quantize_model(quantized, only=choice)
    np.testing.assert_array_equal(again.predict(data, verbose=0), ours)
    np.testing.assert_array_equal(strip(quantized).predict(data, verbose=0), reference)


def test_attention_without_quantised_products_computes_what_keras_does(k):
    model, x = attention_net(k), data(8, 6, 8)
    quantized = quantize_model(model, only="attention")
    reference, ours = model.predict(x, verbose=0), quantized.predict(x, verbose=0)
    assert np.abs(ours - reference).max() < 0.02 * np.abs(reference).max()  # no range yet: weights only


def test_grouped_query_attention(tmp_path):
    import keras

    inputs = keras.Input((6, 8))
    attention = keras.layers.GroupQueryAttention(4, 4, 2, name="attention")
    model, x = keras.Model(inputs, attention(inputs, inputs)), data(32, 6, 8)
    quantized = quantize_model(model, calibration_data=x, verbose=0)
    kinds = [t.kind for t in inventory(quantized)]
    assert (kinds.count("weight"), kinds.count("activation")) == (4, 8)
    reference, ours = model.predict(x, verbose=0), quantized.predict(x, verbose=0)
    assert 0 < np.abs(ours - reference).max() < 0.1 * np.abs(reference).max()
    save_model(quantized, tmp_path / "m.keras")
    assert np.array_equal(load_model(tmp_path / "m.keras").predict(x, verbose=0), ours)


def test_embeddings_stay_float_with_the_reason(k):
    inputs = k.Input((6,), dtype="int32")
    x = k.layers.Embedding(20, 8, name="table")(inputs)
    model = quantize_model(k.Model(inputs, k.layers.Dense(2, name="head")(x)))
    assert {t.layer for t in inventory(model)} == {"head"}
    rows = {row["layer"]: row["reason"] for row in report(model).rows}
    assert rows["table"].startswith("a table look-up gains no speed")


def test_embeddings_named_in_only_are_put_on_the_grid_and_export(k, tmp_path, rng):
    inputs = k.Input((6,), dtype="int32")
    x = k.layers.Embedding(20, 8, name="table")(inputs)
    model, x = k.Model(inputs, k.layers.Dense(2, name="head")(x)), rng.integers(0, 20, (16, 6))
    quantized = quantize_model(model, only=["table", "head"], calibration_data=x, verbose=0)
    rows = {row["layer"]: row for row in report(quantized).rows}
    assert rows["table"]["quantised"] == "embeddings"
    assert rows["table"]["reason"].startswith("weights only, as `only` names it")
    expected = quantized.predict(x, verbose=0)
    assert 0 < np.abs(expected - model.predict(x, verbose=0)).max() < 0.05
    keras_trt.export(quantized, tmp_path / "m.bundle", engine=None, verbose=0)  # checks the numbers itself
    save_model(quantized, tmp_path / "m.keras")
    loaded = quantize_model(load_model(tmp_path / "m.keras"))
    assert {t.layer for t in inventory(loaded)} == {"table", "head"}
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), expected)
    assert {t.layer for t in inventory(quantize_model(model, "fp8", only=".*"))} == {"head"}


def test_a_table_read_both_ways_stays_float_with_the_reason(tmp_path, rng):
    import keras

    table = keras.layers.ReversibleEmbedding(20, 8, name="table")
    inputs = keras.Input((6,), dtype="int32")
    model = keras.Model(inputs, table(keras.layers.Dense(8, name="middle")(table(inputs)), reverse=True))
    quantized = quantize_model(model, calibration_data=rng.integers(0, 20, (16, 6)), verbose=0)
    assert {t.layer for t in inventory(quantized)} == {"middle"}
    rows = {row["layer"]: row["reason"] for row in report(quantized).rows}
    assert "no one scale fits both" in rows["table"]


def test_calibration_data_for_a_model_with_quantised_weights_only_is_not_needed(k):
    model = k.Sequential([k.Input((6, 4)), k.layers.LSTM(5)])
    quantized = quantize_model(model, calibration_data=data(8, 6, 4), verbose=0)
    assert {t.kind for t in inventory(quantized)} == {"weight"}


def test_layers_inside_a_cell_of_your_own_stay_float_with_the_reason(k):
    @k.saving.register_keras_serializable(f"test_cells_{k.__name__}")
    class Cell(k.layers.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self.state_size = self.output_size = 4
            self.dense = k.layers.Dense(4, name="inner")

        def build(self, shape):
            self.dense.build(shape)
            self.built = True

        def call(self, x, states):
            y = self.dense(x) + states[0]
            return y, [y]

    inputs = k.Input((6, 4))
    y = k.layers.RNN(Cell(name="cell"), name="loop")(inputs)
    model = quantize_model(k.Model(inputs, k.layers.Dense(2, name="head")(y)))
    assert {t.layer for t in inventory(model)} == {"head"}
    rows = {row["layer"]: row["reason"] for row in report(model).rows}
    assert "which TensorRT computes in float" in rows["loop/cell/inner"]


def test_grouped_convolution(k):
    inputs = k.Input((8, 8, 4))
    model = k.Model(inputs, k.layers.Conv2D(8, 3, groups=2)(inputs))
    x = data(8, 8, 8, 4)
    quantized = quantize_model(model, calibration_data=x, verbose=0)
    reference = model.predict(x, verbose=0)
    assert 0 < np.abs(quantized.predict(x, verbose=0) - reference).max() < 0.05 * np.abs(reference).max()


def backbone(k, name="backbone"):
    inputs = k.Input((8, 8, 3))
    x = k.layers.Conv2D(8, 3, padding="same", name="c1")(inputs)
    x = k.layers.BatchNormalization(name="b1")(x)
    y = k.layers.ReLU(name="r1")(x)
    x = k.layers.Conv2D(8, 3, padding="same", name="c2")(y)
    return k.Model(inputs, k.layers.Add(name="a")([y, x]), name=name)


def test_nested_models_of_any_depth(k, tmp_path):
    middle_in = k.Input((8, 8, 3))
    middle = k.Model(
        middle_in, k.layers.GlobalAveragePooling2D(name="g")(backbone(k)(middle_in)), name="middle"
    )
    inputs = k.Input((8, 8, 3))
    model = k.Model(inputs, k.layers.Dense(3, name="head")(middle(inputs)))
    x = data(16, 8, 8, 3)
    quantized = quantize_model(model, calibration_data=x, verbose=0)
    assert {t.layer for t in inventory(quantized)} == {
        "middle/backbone/c1", "middle/backbone/c2", "middle/backbone/a", "middle/g", "head",
    }  # fmt: skip
    save_model(quantized, tmp_path / "m.keras")
    loaded = load_model(tmp_path / "m.keras")
    assert np.array_equal(loaded.predict(x, verbose=0), quantized.predict(x, verbose=0))


def test_several_inputs_and_outputs_in_dicts(k):
    a, b = k.Input((4,), name="a"), k.Input((6,), name="b")
    x = k.layers.Concatenate()([k.layers.Dense(8, name="da")(a), k.layers.Dense(8, name="db")(b)])
    outputs = {"one": k.layers.Dense(2, name="one")(x), "two": k.layers.Dense(3, name="two")(x)}
    model = k.Model({"a": a, "b": b}, outputs)
    x = {"a": data(16, 4), "b": data(16, 6)}
    quantized = quantize_model(model, calibration_data=x, verbose=0)
    ours = quantized.predict(x, verbose=0)
    assert set(ours) == {"one", "two"}
    ranges = {t.layer: t.amax for t in inventory(quantized) if t.kind == "activation"}
    assert ranges["one"] == ranges["two"]  # one tensor, one range
    assert ranges["da"] == pytest.approx(np.abs(x["a"]).max())


def test_operations_between_layers_stay(k):
    import tensorflow as tf

    inputs = k.Input((8,))
    x = k.layers.Dense(8, name="d1")(inputs)
    x = k.ops.tanh(x * 2.0) + 1.0 if hasattr(k, "ops") else tf.tanh(x * 2.0) + 1.0
    model, x = k.Model(inputs, k.layers.Dense(2, name="d2")(x)), data(16, 8)
    quantized = quantize_model(model, calibration_data=x, verbose=0)
    assert {t.layer for t in inventory(quantized)} == {"d1", "d2"}
    reference = model.predict(x, verbose=0)
    assert np.abs(quantized.predict(x, verbose=0) - reference).max() < 0.1 * np.abs(reference).max()


def custom_classes(k):
    @k.saving.register_keras_serializable(package=f"tests_{k.__name__}")
    class Block(k.layers.Layer):
        """Makes one sub-layer at once and one in `build`."""

        def __init__(self, units=4, **kwargs):
            super().__init__(**kwargs)
            self.units = units
            self.first = k.layers.Dense(units, activation="relu")

        def build(self, input_shape):
            self.second = k.layers.Dense(self.units)
            self.first.build(input_shape)
            self.second.build((None, self.units))
            self.built = True

        def call(self, x):
            return self.second(self.first(x))

        def get_config(self):
            return {**super().get_config(), "units": self.units}

    @k.saving.register_keras_serializable(package=f"tests_{k.__name__}")
    class Net(k.Model):
        def __init__(self, units=4, **kwargs):
            super().__init__(**kwargs)
            self.units = units
            self.block = Block(units, name="block")
            self.head = k.layers.Dense(2, name="head")

        def call(self, x, training=False):
            return self.head(self.block(x))

        def get_config(self):
            return {"units": self.units, "name": self.name}

    return Block, Net


def test_custom_layers_keep_their_quantised_sub_layers_through_a_file(k, tmp_path):
    block, _ = custom_classes(k)
    inputs = k.Input((6,))
    model, x = k.Model(inputs, block(name="block")(inputs)), data(16, 6)
    quantized = quantize_model(model, calibration_data=x, verbose=0)
    assert len(inventory(quantized)) == 4
    save_model(quantized, tmp_path / "m.keras")
    loaded = load_model(tmp_path / "m.keras")
    assert [t.amax for t in inventory(loaded)] == [t.amax for t in inventory(quantized)]
    assert np.array_equal(loaded.predict(x, verbose=0), quantized.predict(x, verbose=0))
    assert np.array_equal(strip(quantized).predict(x, verbose=0), model.predict(x, verbose=0))


def test_subclassed_models_are_copied_or_converted_in_place(k, tmp_path):
    _, net = custom_classes(k)
    model, x = net(name="net"), data(16, 6)
    reference = model(x).numpy()
    quantized = quantize_model(model, calibration_data=x, verbose=0)
    assert sum(t.kind == "weight" for t in inventory(quantized)) == 3
    assert isinstance(quantized, net)
    assert inventory(model) == []
    save_model(quantized, tmp_path / "m.keras")
    loaded = load_model(tmp_path / "m.keras")
    assert np.array_equal(loaded.predict(x, verbose=0), quantized.predict(x, verbose=0))
    model.compile("adam", "mse")
    model.fit(x, reference, verbose=0, callbacks=[Quantize()])
    assert sum(t.kind == "weight" for t in inventory(model)) == 3
    assert isinstance(model, net)


def test_subclassed_models_keep_layers_in_lists_dicts_and_unbuilt_sequentials_through_a_file(k, tmp_path):
    @k.saving.register_keras_serializable(package=f"tests_{k.__name__}")
    class Parts(k.Model):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.blocks = [k.layers.Dense(8, name=f"block{i}") for i in range(2)]
            self.tail = k.Sequential([k.layers.ReLU(), k.layers.Dense(8, name="inner")], name="tail")
            self.heads = {"a": k.layers.Dense(2, name="a"), "b": k.layers.Dense(3, name="b")}

        def call(self, x, training=False):
            for block in self.blocks:
                x = block(x)
            x = self.tail(x)
            return {name: head(x) for name, head in self.heads.items()}

        def get_config(self):
            return {"name": self.name}

    model, x = Parts(name="parts"), data(16, 6)
    model(x)
    quantized = quantize_model(model, calibration_data=x, verbose=0)
    names = {"block0", "block1", "tail/inner", "a", "b"}
    assert {t.layer for t in inventory(quantized)} == names
    save_model(quantized, tmp_path / "m.keras")
    loaded = load_model(tmp_path / "m.keras")
    assert inventory(loaded) == inventory(quantized)
    for name, expected in quantized.predict(x, verbose=0).items():
        np.testing.assert_array_equal(loaded.predict(x, verbose=0)[name], expected)


def test_a_registered_custom_layer_is_quantised_in_one_line(k, tmp_path):
    from keras_trt._keras.kernels import register_layer

    @k.saving.register_keras_serializable(package=f"tests_{k.__name__}")
    class Projection(k.layers.Layer):
        def build(self, input_shape):
            self.w = self.add_weight(shape=(input_shape[-1], 5), initializer="glorot_uniform", name="w")
            self.built = True

        def call(self, x):
            return x @ self.w

    register_layer(Projection, kernels=["w"], channel_axis=-1)
    inputs = k.Input((6,))
    model, x = k.Model(inputs, Projection(name="p")(inputs)), data(16, 6)
    quantized = quantize_model(model, calibration_data=x, verbose=0)
    assert [(t.kind, t.name) for t in inventory(quantized)] == [
        ("activation", "p_quantizer"),
        ("weight", "w"),
    ]
    reference = model.predict(x, verbose=0)
    assert 0 < np.abs(quantized.predict(x, verbose=0) - reference).max() < 0.05 * np.abs(reference).max()
    save_model(quantized, tmp_path / "m.keras")
    loaded = load_model(tmp_path / "m.keras")
    assert np.array_equal(loaded.predict(x, verbose=0), quantized.predict(x, verbose=0))


def test_layers_that_keras_has_quantised_itself_are_refused_by_name():
    import keras

    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4, name="theirs")])
    model.layers[0].quantize("int8")
    with pytest.raises(
        ModelError, match="theirs \\(Dense\\): Keras's own `quantize` has replaced its weights"
    ):
        quantize_model(model)
