"""`report`: what was pruned in a model, beside what is quantised."""

import json

import pytest

from keras_trt.callbacks import Prune
from keras_trt.models.report import report
from keras_trt.models.strip import strip
from keras_trt.prune import Schedule, prune_model, sparsity_report
from keras_trt.quantize.quantize_model import quantize_model

PRUNING = ("pattern", "target", "sparsity", "tensorrt")


def net(k):
    inputs = k.Input((8, 8, 16))
    h = k.layers.Conv2D(16, 3, name="conv")(inputs)
    h = k.layers.DepthwiseConv2D(3, name="depthwise")(h)
    h = k.layers.SeparableConv2D(8, 3, name="separable")(h)
    return k.Model(inputs, k.layers.Dense(6, name="head")(k.layers.GlobalAveragePooling2D()(h)))


def rows(model):
    return {row["layer"]: row for row in report(model).rows}


def test_a_model_without_zeros_has_no_columns_about_pruning(k):
    assert set(PRUNING) & set(report(net(k)).columns) == {"sparsity"}


def test_each_layer_tells_target_reached_sparsity_pattern_and_what_tensorrt_makes_of_it(k):
    model = prune_model(prune_model(net(k), 0.3, only="head"), pattern="2:4", only="conv")
    found = rows(model)
    conv, head, depthwise = found["conv"], found["head"], found["depthwise"]
    assert [conv[column] for column in PRUNING] == ["2:4", 0.5, 0.5, "yes: 2:4 along the input channels"]
    assert (head["pattern"], head["target"]) == ("unstructured", 0.3)
    assert head["sparsity"] == pytest.approx(0.3, abs=0.01)
    assert head["tensorrt"] == 'no: the zeros do not have the 2:4 pattern; prune with pattern="2:4"'
    assert [depthwise[column] for column in PRUNING[:3]] == [None, None, 0]
    assert depthwise["tensorrt"].startswith(
        "not pruned: depthwise kernels and embeddings are pruned only when"
    )


def test_layers_where_the_pattern_cannot_pay_say_so(k):
    found = rows(prune_model(net(k), pattern="2:4", skip="separable"))
    assert found["head"]["tensorrt"] == (
        "not pruned: 2:4 pays only with input channels % 16 == 0 and output channels % 8 == 0, here 8 and 6; "
        "name the layer in `only` to prune it all the same"
    )
    assert "pointwise_kernel: not pruned: left out by `only` or `skip`" in found["separable"]["tensorrt"]


def test_the_printed_table_and_the_json_say_the_same(k, tmp_path):
    found = report(prune_model(net(k), pattern="2:4", only="conv"))
    text = " ".join(str(found).split())
    assert found.title.endswith("50.0% zeros")
    assert all(column in text for column in PRUNING)
    assert "2:4" in text
    found.to_json(tmp_path / "report.json")
    saved = json.loads((tmp_path / "report.json").read_text())
    assert saved["rows"] == [dict(row) for row in found.rows]
    conv = next(row for row in saved["rows"] if row["layer"] == "conv")
    assert (conv["target"], conv["tensorrt"]) == (0.5, "yes: 2:4 along the input channels")


def test_it_agrees_with_the_sparsity_report(k):
    model = prune_model(net(k), 0.6, skip="separable")
    by_weight = {row["weight"].split(".")[0]: row for row in sparsity_report(model).rows}
    for name in ("conv", "head", "depthwise"):
        assert [rows(model)[name][c] for c in PRUNING] == [by_weight[name][c] for c in PRUNING]


def test_weights_of_one_layer_that_differ_are_named(k):
    row = rows(prune_model(net(k), 0.5))["separable"]
    assert (row["pattern"], row["target"]) == ("pointwise_kernel: unstructured", "pointwise_kernel: 0.5")
    assert row["sparsity"] == 64 / (9 * 16 + 16 * 8)
    assert "depthwise_kernel: not pruned: depthwise kernels" in row["tensorrt"]
    assert "; pointwise_kernel: no: the zeros do not have" in row["tensorrt"]


def test_quantised_and_stripped_models_tell_their_zeros(k):
    quantised = rows(quantize_model(prune_model(net(k), pattern="2:4"), verbose=0))
    assert quantised["conv"]["quantised"]
    assert (quantised["conv"]["pattern"], quantised["conv"]["sparsity"]) == ("2:4", 0.5)
    stripped = rows(strip(prune_model(net(k), pattern="2:4")))["conv"]
    assert [stripped[c] for c in PRUNING] == [None, None, 0.5, "yes: 2:4 along the input channels"]


def test_the_target_is_where_the_schedule_ends_and_what_a_layer_was_given(k):
    model = prune_model(net(k), schedule=Schedule(0.8, end_step=100, initial=0.2), only=["conv", "head"])
    assert (rows(model)["conv"]["target"], rows(model)["conv"]["sparsity"]) == (0.8, round(0.2 * 2304) / 2304)
    for strategy in ("global", "lamp"):
        shared = rows(prune_model(net(k), 0.5, strategy=strategy, only=["conv", "head"]))
        for name in ("conv", "head"):
            assert shared[name]["target"] == pytest.approx(shared[name]["sparsity"], abs=1e-6)
        assert shared["conv"]["target"] != shared["head"]["target"]


@pytest.mark.filterwarnings("ignore:This training ends with step")
def test_a_callback_that_was_stopped_leaves_its_target(k):
    import numpy as np

    model = net(k)
    model.compile("sgd", "mse")
    callback = Prune(0.8, end_step=100, frequency=2)
    model.fit(np.zeros((32, 8, 8, 16)), np.zeros((32, 6)), batch_size=8, verbose=0, callbacks=[callback])
    assert rows(model)["conv"]["target"] == 0.8
    assert 0 < rows(model)["conv"]["sparsity"] < 0.2


def test_a_float_model_says_which_layers_could_be_quantised_and_a_quantised_one_which_were_left_out(k):
    assert rows(net(k))["conv"]["reason"] == "can be quantised: call `quantize_model`"
    assert (
        rows(quantize_model(net(k), skip="conv", verbose=0))["conv"]["reason"]
        == "left out by `only` or `skip`"
    )
