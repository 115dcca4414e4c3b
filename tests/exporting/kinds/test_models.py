"""Every kind of model, with every kind of input, exports; the bundle takes and gives what Keras does."""

from __future__ import annotations

import numpy as np
import pytest

from keras_trt.compare.verify import verify
from keras_trt.errors import ModelError
from keras_trt.exporting.export import export
from keras_trt.runtime import load
from tests.onnx_tools import build

FLOATS = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
IMAGES = np.random.default_rng(1).uniform(0, 255, (4, 12, 12, 3)).astype(np.float32)
WORDS = np.random.default_rng(2).integers(0, 9, (4, 5)).astype(np.int32)
SEEN = np.random.default_rng(3).random((4, 5)) < 0.5


def tensors(k):
    """TensorFlow's functions, for a model's own operations."""
    import tensorflow as tf

    return tf


def sequential(k):
    return k.Sequential([k.Input((6,), name="x"), k.layers.Dense(3, name="y")]), FLOATS


def nested(k):
    inner = k.Sequential([k.Input((6,)), k.layers.Dense(4, "relu"), k.layers.BatchNormalization()], name="in")
    x = k.Input((6,), name="x")
    middle = k.Model(x, [inner(x), k.layers.Dense(4)(x)], name="middle")
    y = k.Input((6,), name="y")
    return k.Model(y, k.layers.Add(name="sum")(middle(y))), FLOATS


def subclassed(k):
    class Net(k.Model):
        def __init__(self):
            super().__init__(name="net")
            self.dense = k.layers.Dense(3)

        def call(self, x):
            return {"scores": self.dense(x["a"]), "both": [x["a"] * 2.0, x["b"]]}

    model, data = Net(), {"a": FLOATS, "b": FLOATS[:, :2]}
    model(data)
    return model, data


def listed(k):
    a, b = k.Input((6,), name="a"), k.Input((5,), name="b", dtype="int32")
    shared = k.layers.Dense(3, name="shared")
    words = k.layers.Embedding(9, 6, name="words")(b)
    return k.Model([a, b], [shared(a), shared(words)]), [FLOATS, WORDS]


def tupled(k):
    a, b = k.Input((6,), name="a"), k.Input((6,), name="b")
    return k.Model((a, b), (k.layers.Add(name="sum")([a, b]), k.layers.Dense(2, name="y")(a))), (
        FLOATS,
        -FLOATS,
    )


def nested_dicts(k):
    a, b, c = (k.Input((6,), name=name) for name in ("left", "near", "far"))
    inputs = {"left": a, "right": {"near": b, "far": c}}
    outputs = {"all": k.layers.Add(name="sum")([a, b, c]), "some": [k.layers.Dense(2, name="y")(c)]}
    return k.Model(inputs, outputs), {"left": FLOATS, "right": {"near": FLOATS * 2, "far": FLOATS * 3}}


def masked(k):
    words = k.Input((5,), name="words", dtype="int64")
    seen = k.Input((5,), name="seen", dtype="bool")
    tf = tensors(k)

    class Chosen(k.layers.Layer):
        def call(self, inputs):
            x, chosen = inputs
            return tf.reduce_sum(tf.where(chosen[..., None], x, tf.zeros_like(x)), axis=1), ~chosen

        def compute_output_shape(self, shapes):
            return (shapes[0][0], shapes[0][2]), shapes[1]

        def compute_output_spec(self, inputs):
            (x, chosen) = inputs
            return k.KerasTensor((x.shape[0], x.shape[2]), x.dtype), k.KerasTensor(chosen.shape, "bool")

    y = k.layers.Embedding(9, 4, name="embedding")(words)
    return k.Model([words, seen], list(Chosen(name="chosen")([y, seen]))), [WORDS.astype(np.int64), SEEN]


def own_layers(k):
    tf = tensors(k)

    class Own(k.layers.Layer):
        def build(self, shape):
            self.kernel = self.add_weight(
                shape=(3, 3, shape[-1], 4), initializer="glorot_uniform", name="own"
            )
            super().build(shape)

        def call(self, x):
            y = tf.nn.conv2d(x, tf.convert_to_tensor(self.kernel), strides=2, padding="SAME")
            y = tf.where(y > 0, tf.math.log(tf.abs(y) + 1.0), y)
            return tf.einsum("bhwc,bhwd->bcd", y, y)

        def compute_output_shape(self, shape):
            return (shape[0], 4, 4)

    return k.Sequential([k.Input((12, 12, 3), name="x"), Own(name="own"), k.layers.Flatten(name="y")]), IMAGES


def operations(k):
    """`keras.ops` on symbolic tensors; tf_keras has TensorFlow's functions there."""
    x = k.Input((6,), name="x")
    if hasattr(k, "ops"):
        y = k.ops.softmax(k.ops.reshape(k.ops.sin(x) * 2.0, (-1, 2, 3)), axis=-1)
        return k.Model(x, k.ops.concatenate([k.ops.max(y, axis=1), k.ops.mean(y, axis=1)], axis=-1)), FLOATS
    tf = tensors(k)
    y = tf.nn.softmax(tf.reshape(tf.sin(x) * 2.0, (-1, 2, 3)), axis=-1)
    return k.Model(x, tf.concat([tf.reduce_max(y, axis=1), tf.reduce_mean(y, axis=1)], axis=-1)), FLOATS


def preprocessing(k):
    layers = [
        k.layers.RandomFlip(),
        k.layers.RandomZoom(0.2),
        k.layers.RandomContrast(0.1),
        k.layers.CenterCrop(8, 8),
        k.layers.Resizing(6, 6),
        k.layers.Rescaling(1 / 127.5, offset=-1),
        k.layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.0, 2.0, 3.0]),
        k.layers.Conv2D(2, 3, name="y"),
    ]
    return k.Sequential([k.Input((12, 12, 3), name="x"), *layers]), IMAGES


def bytes_in(k):
    x = k.Input((12, 12, 3), name="x", dtype="uint8")
    return k.Model(x, k.layers.Conv2D(2, 3, name="y")(k.layers.Rescaling(1 / 255.0)(x))), IMAGES.astype(
        np.uint8
    )


def tanh_gelu(k):
    x = k.Input((6,), name="x")

    class Gelu(k.layers.Layer):
        def call(self, x):
            return k.activations.gelu(x, approximate=True)

        def compute_output_shape(self, shape):
            return shape

    return k.Model(x, Gelu(name="y")(x)), FLOATS


KINDS = [
    sequential,
    nested,
    subclassed,
    listed,
    tupled,
    nested_dicts,
    masked,
    own_layers,
    operations,
    preprocessing,
    bytes_in,
    tanh_gelu,
]


def flat(nest):
    if isinstance(nest, dict):
        return [leaf for key in nest for leaf in flat(nest[key])]
    return (
        [leaf for part in nest for leaf in flat(part)]
        if isinstance(nest, list | tuple)
        else [np.asarray(nest)]
    )


def shape_of(nest):
    if isinstance(nest, dict):
        return {key: shape_of(part) for key, part in nest.items()}
    return [shape_of(part) for part in nest] if isinstance(nest, list | tuple) else None


def agrees(model, data, path, tolerance=1e-5):
    found = load(path, verbose=0).predict(data, verbose=0)
    expected = model(data, training=False)
    assert shape_of(found) == shape_of(expected)
    for a, b in zip(flat(found), flat(expected), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        if a.dtype == bool:
            np.testing.assert_array_equal(a, b)
        else:
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_model_becomes_a_bundle_that_predicts_alike_and_builds(k, kind, tmp_path):
    model, data = kind(k)
    report = export(model, tmp_path / "net", engine=None, verbose=0)
    assert report.differences[0]["relative"] < 1e-5
    assert not [op for op in report.operators if op.startswith("Random")]
    agrees(model, data, tmp_path / "net")
    build(tmp_path / "net" / "model.onnx")


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_a_model_trained_in_mixed_precision_is_exported_in_float32(k, policy, tmp_path):
    x = k.Input((12, 12, 3), name="x")
    y = k.layers.Conv2D(4, 3, use_bias=False, dtype=policy)(x)
    y = k.layers.ReLU(dtype=policy)(k.layers.BatchNormalization(dtype=policy)(y))
    y = k.layers.GlobalAveragePooling2D(dtype=policy)(y)
    model = k.Model(x, k.layers.Dense(3, dtype="float32", name="y")(y))
    report = export(model, tmp_path / "net", engine=None, verbose=0)
    assert report.precision == "float32"
    assert report.differences[0]["relative"] < 1e-5
    agrees(model, IMAGES / 255, tmp_path / "net", 2e-2)
    build(tmp_path / "net" / "model.onnx")


def mixed_net(k, policy, own_call):
    tf = tensors(k)
    convolution = k.layers.Conv2D(4, 3, activation="relu", dtype=policy)
    dense = k.layers.Dense(3, dtype=policy, name="y")
    pool, soft = k.layers.GlobalAveragePooling2D(), k.layers.Activation("softmax", dtype="float32", name="p")

    def call(x):
        y = dense(pool(convolution(x)))
        return {"logits": y, "p": soft(y)}

    class Net(k.Model):
        def __init__(self):
            super().__init__(name="net", dtype=policy)
            self.parts = [convolution, dense, pool, soft]

        def call(self, x):
            return call(x)

    if own_call:
        model = Net()
        model(tf.constant(IMAGES / 255))
        return model
    x = k.Input((12, 12, 3), name="x")
    return k.Model(x, call(x))


@pytest.mark.parametrize("own_call", [False, True])
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16"])
def test_what_a_low_policy_returns_keeps_its_type(k, policy, own_call, tmp_path):
    model, images = mixed_net(k, policy, own_call), IMAGES / 255
    expected = model.predict(images, verbose=0)
    export(model, tmp_path / "net", engine=None, verbose=0)
    build(tmp_path / "net" / "model.onnx")
    for runner in ("openvino", "onnxruntime"):
        engine = load(tmp_path / "net", runner=runner, verbose=0)
        found = engine.predict(images, verbose=0, batch_size=5)
        whole = engine.as_layer()(images)
        for name, right in expected.items():
            assert found[name].dtype == right.dtype
            assert flat(whole)[list(expected).index(name)].dtype == right.dtype
            np.testing.assert_allclose(np.float64(found[name]), np.float64(right), atol=1e-2)
    report = verify(model, tmp_path / "net", images, verbose=0)
    assert not [d for d in report.differences if d.diverges]


def words_net(k):
    tf = tensors(k)

    class Net(k.Model):
        def __init__(self):
            super().__init__(name="net")
            self.embedding, self.dense = k.layers.Embedding(9, 4), k.layers.Dense(2)
            self.embedding.build((None, 5))
            self.dense.build((None, 4))
            self.built = True

        def call(self, x):
            seen = tf.cast(x["seen"], tf.float32)[..., None]
            return self.dense(tf.reduce_sum(self.embedding(x["words"]) * seen, axis=1))

    return Net()


def test_a_subclassed_model_that_was_never_called_takes_a_signature(k, tmp_path):
    tf, model, data = tensors(k), words_net(k), {"words": WORDS, "seen": SEEN}
    with pytest.raises(ModelError, match=r"never called.*input_shapes"):
        export(model, tmp_path / "net", engine=None, verbose=0)
    signature = {"words": tf.TensorSpec((None, 5), tf.int32), "seen": tf.TensorSpec((None, 5), tf.bool)}
    export(model, tmp_path / "net", input_shapes=signature, engine=None, verbose=0)
    inputs = {spec.name: spec.dtype for spec in load(tmp_path / "net", verbose=0).inputs}
    assert inputs == {"words": "int32", "seen": "bool"}
    agrees(model, data, tmp_path / "net")
    build(tmp_path / "net" / "model.onnx")


def test_named_axes_reach_the_graph_and_the_engine(k, tmp_path):
    x = k.Input((None, None, 3), name="x")
    y = k.layers.GlobalAveragePooling2D(name="y")(k.layers.Conv2D(2, 3)(x))
    shapes = (None, (8, 12, 16), "width", 3)
    model = k.Model(x, y)
    export(model, tmp_path / "net", input_shapes=shapes, engine=None, verbose=0)
    loaded = load(tmp_path / "net", verbose=0)
    assert loaded.inputs[0].shape == ("batch", "x_axis_1", "width", 3)
    agrees(model, IMAGES[:, :, :9], tmp_path / "net")
    build(tmp_path / "net" / "model.onnx", input_shapes={"x_axis_1": (8, 12, 16), "width": (8, 9, 12)})


@pytest.mark.parametrize("first", ["open", "fixed"])
def test_one_input_may_have_a_fixed_first_axis_beside_an_open_one(k, first, tmp_path):
    free, single = k.Input((6,), name="free"), k.Input(batch_shape=(1, 6), name="single")
    inputs, rows = [free, single], [np.tile(FLOATS, (10, 1)), FLOATS[:1]]
    if first == "fixed":
        inputs, rows = inputs[::-1], rows[::-1]
    model = k.Model(inputs, k.layers.Dense(3)(k.layers.Add()([free, single])))
    export(model, tmp_path / "net", engine=None, verbose=0)
    build(tmp_path / "net" / "model.onnx")
    for runner in ("openvino", "onnxruntime"):
        engine = load(tmp_path / "net", runner=runner, verbose=0)
        for found in (engine.predict(rows, verbose=0), engine.predict_on_batch(rows)):
            np.testing.assert_allclose(found, model(rows), atol=1e-5)


def test_an_input_and_an_output_may_have_the_same_key(k, tmp_path):
    x = k.Input((6,), name="image")
    model = k.Model({"image": x}, {"image": k.layers.Dense(3)(x)})
    export(model, tmp_path / "net", engine=None, verbose=0)
    engine = load(tmp_path / "net", verbose=0)
    expected = model.predict({"image": FLOATS}, verbose=0)
    engine.compile(loss={"image": "mse"})
    assert engine.evaluate({"image": FLOATS}, {"image": expected["image"] + 1}, verbose=0) == pytest.approx(1)
