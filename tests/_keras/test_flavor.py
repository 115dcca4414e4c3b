"""Which Keras a model belongs to, and what each flavour does its own way."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from keras_trt._keras.flavor_of import check_model, flavor_of
from keras_trt._keras.graph import layer_graph
from keras_trt.errors import ModelError
from tests.nets import residual_net


def test_the_flavour_is_that_of_the_object(k):
    expected = "keras3" if k.__name__ == "keras" else "legacy"
    model = residual_net(k)
    assert flavor_of(model).name == expected
    assert flavor_of(model.get_layer("stem")).name == expected
    assert flavor_of(k.layers.Dense).name == expected
    assert flavor_of(model).keras is k


def test_models_of_users_own_classes_have_the_flavour_of_their_base(k):
    class Mine(k.Model):
        pass

    assert flavor_of(Mine()) is flavor_of(k.layers.ReLU())


def test_both_kerases_live_in_one_process():
    import keras
    import tf_keras

    assert flavor_of(residual_net(keras)) is not flavor_of(residual_net(tf_keras))


def test_other_objects_and_unbuilt_models_are_refused(k):
    with pytest.raises(ModelError, match="A Keras 3 or tf_keras model is needed. Received: 3 .of type int"):
        flavor_of(3)
    with pytest.raises(ModelError, match="has no weights yet"):
        check_model(k.Sequential([k.layers.Dense(2)]))
    with pytest.raises(ModelError, match="not a single layer. Received: layer 'd'"):
        check_model(k.layers.Dense(2, name="d"))


def test_a_backend_that_no_model_trains_on_is_refused_with_the_way_out():
    if not importlib.util.find_spec("keras.src.backend.openvino"):
        pytest.skip("this Keras has no openvino backend")
    code = (
        "import os; os.environ['KERAS_BACKEND'] = 'openvino'; import keras, keras_trt\n"
        "model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])\n"
        "for function in (keras_trt.quantize_model, lambda m: keras_trt.prune_model(m, 0.5),\n"
        "                 keras_trt.fuse_model, lambda model: keras_trt.export(model, 'never.bundle')):\n"
        "    try: function(model)\n"
        "    except keras_trt.errors.ModelError as e: print(e)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    lines = run.stdout.splitlines()
    assert len(lines) == 4
    assert all("a model on the 'openvino' backend" in line for line in lines)
    assert all("KERAS_BACKEND=tensorflow" in line for line in lines)


def test_walking_gives_every_layer_once_with_its_path(k):
    inputs = k.Input((8, 8, 3))
    shared = k.layers.Dense(4, name="shared")
    x = k.layers.GlobalAveragePooling2D(name="pool")(k.layers.Conv2D(4, 3, name="c")(inputs))
    inner = k.Model(inputs, shared(x), name="inner")
    outer_inputs = k.Input((8, 8, 3))
    model = k.Model(outer_inputs, shared(inner(outer_inputs)))
    paths = [path for path, _ in flavor_of(model).walk(model)]
    assert {"inner", "inner/c", "inner/pool", "shared"} <= set(paths) | {"shared"}
    assert sum(path.endswith("shared") for path in paths) == 1


def test_the_graph_of_a_nested_model_is_flat(k):
    inputs = k.Input((8, 8, 3))
    inner = k.Model(inputs, k.layers.ReLU(name="r")(k.layers.Conv2D(4, 3, name="c")(inputs)), name="inner")
    outer = k.Input((8, 8, 3))
    model = k.Model(outer, k.layers.Flatten(name="f")(inner(outer)))
    graph = layer_graph(flavor_of(model), model)
    assert [(n.path, n.kind) for n in graph.nodes] == [
        ("inner/c", "Conv2D"), ("inner/r", "ReLU"), ("f", "Flatten"),
    ]  # fmt: skip
    assert graph.nodes[0].inputs == graph.inputs
    assert graph.nodes[2].outputs == graph.outputs
    assert graph.producer(graph.nodes[2].inputs[0]).path == "inner/r"
    assert graph.nodes[0].kernels == ("kernel",)


@pytest.mark.filterwarnings("ignore:Layer 'inner' .* was passed an input with a mask")  # Keras 3's
def test_nested_models_take_tensors_with_a_mask(k):
    L, first, second = k.layers, k.Input((6, 4)), k.Input((3, 4))
    ends = [L.GlobalAveragePooling1D()(L.Dense(4, name=name)(x)) for name, x in (("a", first), ("b", second))]
    inner = k.Model([first, second], L.Add()(ends), name="inner")
    words, x = k.Input((6,), dtype="int32"), k.Input((3, 4))
    model = k.Model([words, x], inner([L.Embedding(9, 4, mask_zero=True, name="words")(words), x]))
    graph = layer_graph(flavor_of(model), model)
    read = {node.path: node.inputs for node in graph.nodes}
    assert graph.producer(read["inner/a"][0]).path == "words"
    assert read["inner/b"] == graph.inputs[1:]


def test_cloning_keeps_predictions_and_flags_and_shares_nothing(k):
    model = residual_net(k)
    model.get_layer("strided").trainable = False
    flavor = flavor_of(model)
    copy = flavor.clone(model)
    x = np.random.default_rng(0).random((4, 8, 8, 3), dtype=np.float32)
    assert np.array_equal(model.predict(x, verbose=0), copy.predict(x, verbose=0))
    assert not copy.get_layer("strided").trainable
    copy.get_layer("stem").set_weights([np.zeros_like(w) for w in copy.get_layer("stem").get_weights()])
    assert np.abs(model.get_layer("stem").get_weights()[0]).max() > 0


def test_layers_of_one_name_have_paths_of_their_own(k):
    class Pair(k.layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.parts = [k.layers.Dense(2, name="same") for _ in range(3)]

        def call(self, x):
            return self.parts[2](self.parts[1](self.parts[0](x)))

    class Net(k.Model):
        def __init__(self):
            super().__init__()
            self.a, self.b = Pair(name="pair"), Pair(name="pair")

        def call(self, x):
            return self.b(self.a(x))

    net = Net()
    net(np.zeros((1, 2)))
    pairs = [f"pair{i}/same{j}" for i in ("", "#2") for j in ("", "#2", "#3")]
    paths = [path for path, _ in flavor_of(net).walk(net)]
    assert paths == ["pair", *pairs[:3], "pair#2", *pairs[3:]]


def test_a_layer_shared_by_two_nested_models_is_one_layer_of_the_graph(k):
    shared, x = k.layers.Dense(4, name="d"), k.Input((4,))
    a, b = k.Sequential([k.Input((4,)), shared], name="a"), k.Sequential([k.Input((4,)), shared], name="b")
    model = k.Model(x, b(a(x)))
    nodes = [node for node in layer_graph(flavor_of(model), model).nodes if node.kind == "Dense"]
    assert [(node.path, node.key) for node in nodes] == [("a/d", "a/d"), ("a/d", "a/d#2")]
