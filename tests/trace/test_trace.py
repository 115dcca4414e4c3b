"""Tracing gives one frozen graph with Keras's names and structures, and leaves the model alone."""

from __future__ import annotations

import numpy as np
import pytest

from keras_trt.errors import ExportError, InputError, ModelError
from keras_trt.trace.run import run
from keras_trt.trace.trace import trace


def ops(traced):
    return [node.op for node in traced.graph_def.node]


def several(k, nest):
    a, b = k.Input((4,), name="a"), k.Input((6,), name="b", dtype="int32")
    dense = k.layers.Dense(3, name="dense")
    shared = dense(a)
    other = k.layers.Embedding(5, 2, name="embedding")(b)
    return k.Model(
        [a, b] if nest == "list" else {"b": b, "a": a}, {"second": other, "first": [shared, shared]}
    )


@pytest.mark.parametrize("nest", ["list", "dict"])
def test_names_order_dtypes_and_structures_are_those_of_keras(k, nest):
    traced = trace(several(k, nest))
    assert [(i.name, i.shape, i.dtype) for i in traced.inputs] == [
        ("a", ("batch", 4), "float32"),
        ("b", ("batch", 6), "int32"),
    ]
    assert traced.input_structure == (["a", "b"] if nest == "list" else {"b": "b", "a": "a"})
    assert traced.output_structure == {"second": "embedding", "first": ["dense", "dense"]}
    assert {o.name: o.shape for o in traced.outputs} == {"dense": ("batch", 3), "embedding": ("batch", 6, 2)}


def test_an_output_that_is_an_input_gets_a_name_of_its_own(k):
    x = k.Input((4,), name="x")
    traced = trace(k.Model(x, [x, k.layers.Dense(2, name="y")(x)]))
    assert traced.output_structure == ["x_1", "y"]


def test_two_outputs_of_one_layer_are_told_apart(k):
    a, b = k.Input((4,), name="a"), k.Input((4,), name="b")
    dense = k.layers.Dense(2, name="dense")
    assert trace(k.Model([a, b], [dense(a), dense(b)])).output_structure == ["dense", "dense_1"]


def test_a_sequential_model_takes_one_tensor(k):
    traced = trace(k.Sequential([k.Input((4,), name="x"), k.layers.Dense(2, name="y")]))
    assert (traced.input_structure, traced.output_structure) == ("x", "y")


def subclassed(k):
    class Net(k.Model):
        def __init__(self):
            super().__init__(name="net")
            self.dense = k.layers.Dense(2)

        def call(self, x):
            return {"out": self.dense(x["a"]), "twice": x["b"] * 2}

    return Net()


def test_a_subclassed_model_is_read_off_its_first_call(k):
    model = subclassed(k)
    model({"a": np.ones((2, 4), np.float32), "b": np.ones((2, 3), np.float32)})
    traced = trace(model)
    assert [(i.name, i.shape) for i in traced.inputs] == [("a", ("batch", 4)), ("b", ("batch", 3))]
    assert traced.output_structure == {"out": "out", "twice": "twice"}


def test_a_subclassed_model_that_was_never_called_needs_shapes(k):
    model = subclassed(k)
    model.dense.build((None, 4))
    model.built = True
    with pytest.raises(ModelError, match=r"never called.*input_shapes"):
        trace(model)
    traced = trace(model, {"a": (None, 4), "b": (None, 3)})
    assert [i.name for i in traced.inputs] == ["a", "b"]


def open_net(k):
    return k.Sequential([k.Input((None, None, 3), name="image"), k.layers.Conv2D(2, 3, name="conv")])


def test_input_shapes_fix_open_axes(k):
    assert trace(open_net(k)).inputs[0].shape == ("batch", "image_axis_1", "image_axis_2", 3)
    assert trace(open_net(k), (None, 32, 32, 3)).inputs[0].shape == ("batch", 32, 32, 3)
    assert trace(open_net(k), {"image": (4, 32, 32, 3)}).inputs[0].shape == (4, 32, 32, 3)
    named = trace(open_net(k), {"image": (None, "height", (32, 64, 128), 3)})
    assert named.inputs[0].shape == ("batch", "height", "image_axis_2", 3)
    assert named.axis_sizes == {"image_axis_2": (32, 64, 128)}


@pytest.mark.parametrize("shape", [(None, 32, 32, 4), (None, 32, 32), [(None, 32, 32, 3)] * 2])
def test_input_shapes_that_contradict_the_model_are_refused(k, shape):
    with pytest.raises(InputError, match="`input_shapes` must"):
        trace(open_net(k), shape)


def test_captured_tensors_become_constants_and_kernels_stay_outside(k):
    """A Normalization's mean is a captured tensor; Keras's own ONNX export leaves it as an unfed input."""
    normalization = k.layers.Normalization(mean=[1.0, 2.0], variance=[4.0, 9.0])
    dense = k.layers.Dense(2)
    traced = trace(k.Sequential([k.Input((2,)), normalization, dense]))
    assert [n.name for n in traced.graph_def.node if n.op == "Placeholder"] == ["input_0", *traced.weights]
    np.testing.assert_array_equal(*traced.weights.values(), dense.kernel)
    assert "ReadVariableOp" not in ops(traced)
    whole = traced.whole_graph()
    assert [n.name for n in whole.node if n.op == "Placeholder"] == ["input_0"]


def test_a_trace_shares_the_memory_of_the_weights_and_keeps_their_values(k):
    model = k.Sequential([k.Input((64,)), k.layers.Dense(512), k.layers.Dense(8)])
    variable = getattr(model.weights[0], "_value", model.weights[0])
    traced = trace(model)
    large = next(array for array in traced.weights.values() if array.shape == (64, 512))
    before = large.copy()
    assert np.shares_memory(large, np.asarray(variable.value()))
    variable.assign(variable + 1.0)
    np.testing.assert_array_equal(large, before)


def test_nothing_of_a_trace_stays_in_memory(k):
    """TensorFlow registers the gradient of `silu` for good, with the graph; every export left one behind."""
    import gc

    def graphs():
        gc.collect()
        return sum(type(o).__name__ == "FuncGraph" for o in gc.get_objects())

    model = k.Sequential([k.Input((4,)), k.layers.Dense(3, activation="swish")])
    before = graphs()
    trace(model)
    assert graphs() <= before


def test_weights_in_loops_become_constants(k):
    traced = trace(k.Sequential([k.Input((5, 4)), k.layers.LSTM(3), k.layers.Dense(2)]))
    assert [array.shape for array in traced.weights.values()] == [(3, 2)]


def test_grouped_convolutions_are_not_hidden_in_a_function(k):
    traced = trace(k.Sequential([k.Input((8, 8, 4)), k.layers.Conv2D(4, 3, groups=2)]))
    assert "Conv2D" in ops(traced)
    assert not [op for op in ops(traced) if "PartitionedCall" in op]


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_models_are_traced_in_float32_and_keep_their_policy(k, policy):
    layer = k.layers.Dense(2, dtype=policy, name="dense")
    model = k.Sequential([k.Input((4,)), layer])
    traced = trace(model)
    assert "Cast" not in ops(traced)
    assert traced.outputs[0].dtype == "float32"
    assert traced.predicted_dtypes == {traced.outputs[0].name: policy.removeprefix("mixed_")}
    x = np.ones((1, 4), np.float32)
    assert model(x).dtype == policy.removeprefix("mixed_")
    assert next(iter(run(model, traced, {traced.inputs[0].name: x}).values())).dtype == np.float32


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float32"])
def test_inputs_in_bfloat16_are_refused_by_name(k, policy):
    x = k.Input((4,), dtype="bfloat16", name="x")
    with pytest.raises(ModelError, match="input 'x' of dtype 'bfloat16'.*'float32'"):
        trace(k.Model(x, k.layers.Dense(2, dtype=policy)(x)))


def test_an_open_axis_that_a_layer_loops_over_is_refused_with_what_to_pass(k):
    class Loop(k.Model):
        def call(self, x):
            return sum(x[:, i] for i in range(x.shape[1]))

    model = Loop()
    model(np.ones((2, 3, 4), np.float32))
    with pytest.raises(ExportError, match=r"The axes \['input_1_axis_1'\] of its inputs.*`input_shapes`"):
        trace(model, (None, None, 4))
    assert trace(model, (None, 3, 4)).outputs[0].shape == ("batch", 4)


def test_random_layers_vanish_and_nothing_trains(k):
    layers = [k.layers.GaussianNoise(1.0), k.layers.Dropout(0.5), k.layers.BatchNormalization()]
    model = k.Sequential([k.Input((4,)), *layers])
    before = [w.copy() for w in model.get_weights()]
    assert not [op for op in ops(trace(model)) if op.startswith("Random") or "Assign" in op]
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_call_without_a_training_argument_is_traced(k):
    class Plain(k.Model):
        def __init__(self):
            super().__init__()
            self.dense = k.layers.Dense(2)

        def call(self, inputs):
            return self.dense(inputs)

    model = Plain()
    model(np.ones((1, 4), np.float32))
    traced = trace(model)
    assert (traced.input_structure, traced.output_structure) == ("input_1", "output_1")


def test_layer_paths_reach_into_nested_models(k):
    inner = k.Sequential([k.Input((4,)), k.layers.Dense(3, name="dense")], name="backbone")
    traced = trace(k.Sequential([k.Input((4,)), inner, k.layers.Dense(2, name="head")]))
    assert {"backbone", "backbone/dense", "head"} <= set(traced.layers)


def two_inputs(k, keys=("query", "key")):
    query, key = k.Input((None, 4), name="query"), k.Input((None, 4), name="key")
    both = k.layers.Concatenate(axis=1)([query, key])
    structure = [query, key] if keys is None else dict(zip(keys, (query, key), strict=True))
    return k.Model(structure, k.layers.GlobalAveragePooling1D()(both))


def shapes(traced):
    return {info.name: info.shape[1] for info in traced.inputs}


@pytest.mark.filterwarnings("ignore:When providing `inputs` as a dict")  # Keras 3 wants keys to be names
@pytest.mark.parametrize("keys", [None, ("query", "key"), ("q", "k")])
def test_input_shapes_by_name_leave_the_others_as_they_are(k, keys):
    model = two_inputs(k, keys)
    assert shapes(trace(model, {"key": (None, 8, 4)})) == {"query": "query_axis_1", "key": 8}
    assert shapes(trace(model, {"key": (None, 8, 4), "query": (None, 2, 4)})) == {"query": 2, "key": 8}
    assert shapes(trace(model, [(None, 2, 4), (None, 8, 4)])) == {"query": 2, "key": 8}


@pytest.mark.filterwarnings("ignore:When providing `inputs` as a dict")  # Keras 3 wants keys to be names
def test_input_shapes_by_key_hold_in_any_order(k):
    model = two_inputs(k, ("q", "k"))
    assert shapes(trace(model, {"k": (None, 8, 4), "q": (None, 2, 4)})) == {"query": 2, "key": 8}
    assert shapes(trace(model, {"k": (None, 8, 4)})) == {"query": "query_axis_1", "key": 8}


@pytest.mark.filterwarnings("ignore:When providing `inputs` as a dict")  # Keras 3 wants keys to be names
@pytest.mark.parametrize("keys", [None, ("q", "k")])
@pytest.mark.parametrize("given", [("querry", "key"), ("key", "querry"), ("querry",)])
def test_input_shapes_with_an_unknown_name_are_refused(k, keys, given):
    asked = {name: (None, 8, 4) for name in given}
    with pytest.raises(InputError, match=r"unknown inputs \['querry'\]; the inputs are \['query', 'key'\]"):
        trace(two_inputs(k, keys), asked)


def test_input_shapes_of_a_subclassed_model_name_what_it_was_called_with(k):
    model = subclassed(k)
    model({"a": np.ones((2, 4), np.float32), "b": np.ones((2, 3), np.float32)})
    traced = trace(model, {"b": (None, 5)})
    assert [(i.name, i.shape) for i in traced.inputs] == [("a", ("batch", 4)), ("b", ("batch", 5))]
    with pytest.raises(InputError, match=r"unknown inputs \['c'\]; the inputs are \['a', 'b'\]"):
        trace(model, {"a": (None, 4), "c": (None, 3)})


def test_input_shapes_give_sizes_of_axes_by_their_names(k):
    traced = trace(two_inputs(k), {"query_axis_1": (1, 4, 8)})
    assert shapes(traced) == {"query": "query_axis_1", "key": "key_axis_1"}
    assert traced.axis_sizes == {"query_axis_1": (1, 4, 8)}
    shared = dict.fromkeys(("query", "key"), (None, "length", 4))
    traced = trace(two_inputs(k), {**shared, "length": (1, 4, 8)})
    assert shapes(traced) == {"query": "length", "key": "length"}
    assert traced.axis_sizes == {"length": (1, 4, 8)}
    message = r"unknown inputs \['time'\]; the inputs are \[.*, their dynamic axes \[.*'query_axis_1'"
    with pytest.raises(InputError, match=message):
        trace(two_inputs(k), {"time": (1, 4, 8)})


def test_input_shapes_of_a_subclassed_model_give_sizes_of_axes(k):
    model = subclassed(k)
    model({"a": np.ones((2, 4), np.float32), "b": np.ones((2, 3), np.float32)})
    traced = trace(model, {"b": (None, "width"), "width": (1, 3, 5)})
    assert traced.inputs[1].shape == ("batch", "width")
    assert traced.axis_sizes == {"width": (1, 3, 5)}
