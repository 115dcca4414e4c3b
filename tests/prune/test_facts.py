"""The report on sparsity tells targets, what was reached, and what TensorRT can use."""

import pytest

from keras_trt.prune import prune_model, sparsity_report
from keras_trt.prune.facts import total_sparsity


def net(k):
    inputs = k.Input((8, 8, 16))
    h = k.layers.Conv2D(16, 3, name="conv")(inputs)
    h = k.layers.DepthwiseConv2D(3, name="depthwise")(h)
    return k.Model(inputs, k.layers.Dense(6, name="head")(k.layers.GlobalAveragePooling2D()(h)))


def rows(model):
    return {row["weight"].split(".")[0]: row for row in sparsity_report(model).rows}


def test_target_pattern_and_reached_sparsity_are_told(k):
    found = rows(prune_model(prune_model(net(k), 0.3, only="head"), pattern="2:4", only="conv"))
    assert (found["conv"]["pattern"], found["conv"]["target"], found["conv"]["sparsity"]) == ("2:4", 0.5, 0.5)
    assert (found["head"]["pattern"], found["head"]["target"]) == ("unstructured", 0.3)
    assert found["head"]["sparsity"] == pytest.approx(0.3, abs=0.01)
    assert (found["depthwise"]["pattern"], found["depthwise"]["sparsity"]) == (None, 0)


def test_it_says_whether_tensorrt_can_use_the_zeros_and_why_not(k):
    found = rows(prune_model(net(k), pattern="2:4"))
    assert found["conv"]["tensorrt"].startswith("yes: 2:4")
    assert "2:4 pays only with input channels % 16 == 0" in found["head"]["tensorrt"]
    assert "only when named in `only`" in found["depthwise"]["tensorrt"]
    assert all(row["tensorrt"] == "" for row in rows(net(k)).values())
    found = rows(prune_model(net(k), 0.5, only=["conv", "depthwise"]))
    assert 'prune with pattern="2:4"' in found["conv"]["tensorrt"]
    assert found["depthwise"]["tensorrt"].startswith("no: each output sees one input channel")
    narrow = k.Sequential([k.Input((6,)), k.layers.Dense(8, name="d")])
    assert "6 input channels" in rows(prune_model(narrow, 0.5))["d"]["tensorrt"]


def test_a_threshold_is_told_as_one_and_survives_a_file(k, tmp_path):
    pruned = prune_model(net(k), threshold=0.5)
    pruned.save(tmp_path / "m.keras")
    assert rows(k.models.load_model(tmp_path / "m.keras"))["conv"]["target"] == "|w| < 0.5 std"


def test_the_total_counts_the_pruned_weights(k):
    assert total_sparsity(prune_model(net(k), 0.5, only="conv")) == 0.5
    assert total_sparsity(net(k)) == 0
