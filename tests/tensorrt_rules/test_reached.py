"""A layer that TensorRT would compute in another type than asked for is named."""

from __future__ import annotations

import pytest

from keras_trt.errors import ExportError
from keras_trt.exporting.export import export
from keras_trt.quantize import quantize_model
from keras_trt.tensorrt_rules.reached import unreached
from keras_trt.tensorrt_rules.stats import Product
from tests.nets import images, residual_net


def product(node, computes):
    return Product(node, node.split("/")[0], "Conv", computes, 1, None, False)


@pytest.mark.parametrize(
    ("computes", "precision", "found"),
    [
        ("int8", "int8", "float32"),
        ("int8", "int8+fp16", "float16"),
        ("int8", "int8", None),
        ("float", "fp16", "float32"),
        ("float", "int8+bf16", "float32"),
        ("fp8", "int8", "float32"),
    ],
)
def test_a_layer_in_another_type_is_named(computes, precision, found):
    audit = {} if found is None else {"conv/Conv": found}
    assert "in 1 layers: conv in " in unreached([product("conv/Conv", computes)], audit, precision)


@pytest.mark.parametrize(
    ("computes", "precision", "found"),
    [
        ("int8", "int8", "int8"),
        ("float", "int8", "float32"),
        ("float", "fp16", "float16"),
        ("float", "float32", "float32"),
        ("fp8", "float32", "float8_e4m3fn"),
    ],
)
def test_a_layer_in_the_type_asked_for_passes(computes, precision, found):
    assert unreached([product("conv/Conv", computes)], {"conv/Conv": found}, precision) == ""


@pytest.mark.parametrize("kept", ["gru/Loop", "gru/Loop/MatMul"])
def test_nodes_left_in_float32_on_purpose_pass(kept):
    loop = product("gru/Loop/MatMul", "float")
    assert unreached([loop], {"gru/Loop/MatMul": "float32"}, "fp16", [kept]) == ""


def recurrent_net(k):
    layer = k.layers.GRU(6, activation="elu")  # not one of the operator's own
    return k.Sequential([k.Input((5, 4), name="x"), layer, k.layers.Dense(3)])


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_a_recurrent_net_reaches_the_precision_around_its_loop(k, precision, tmp_path):
    report = export(
        recurrent_net(k), tmp_path / "net", precision=precision, compute_capabilities=["SM89"], verbose=0
    )
    assert any("Loop" in node for node in report.kept_float32)


@pytest.mark.parametrize("cell", ["LSTM", "GRU", "SimpleRNN"])
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_recurrent_operators_build_in_low_precision(k, cell, precision, tmp_path):
    layers = [k.Input((5, 4), name="x"), getattr(k.layers, cell)(6), k.layers.Dense(3)]
    report = export(
        k.Sequential(layers), tmp_path / "net", precision=precision, compute_capabilities=["SM89"], verbose=0
    )
    assert report.plans


def test_a_real_plan_reaches_int8_with_float16_around_it(k, tmp_path):
    model = quantize_model(residual_net(k), calibration_data=images()[0], skip=["strided"], verbose=0)
    report = export(model, tmp_path / "net", precision="fp16", compute_capabilities=["SM89"], verbose=0)
    assert report.plans[0]["computes"] == {"int8": 5, "float16": 1}


def lost_casts(monkeypatch):
    """An export whose float16 casts come to nothing, so that TensorRT computes in float32."""
    from keras_trt.onnx_passes.cast_floats import CastFloatsPass, CastResult

    monkeypatch.setattr(CastFloatsPass, "call", lambda self, model: CastResult(model, False))


def test_a_precision_that_is_not_reached_is_an_error_that_names_the_layer(k, tmp_path, monkeypatch):
    lost_casts(monkeypatch)
    options = {"precision": "fp16", "compute_capabilities": ["SM89"], "verbose": 0}
    with pytest.raises(ExportError, match=r"in 6 layers: stem in float32 instead of float16.*strict=False"):
        export(residual_net(k), tmp_path / "net", **options)
    assert not any(tmp_path.iterdir())


def test_strict_false_makes_it_a_warning_at_the_call(k, tmp_path, monkeypatch):
    lost_casts(monkeypatch)
    options = {"precision": "fp16", "compute_capabilities": ["SM89"], "verbose": 0}
    with pytest.warns(UserWarning, match="in 6 layers: stem in float32 instead of float16") as caught:
        report = export(residual_net(k), tmp_path / "net", strict=False, **options)
    assert caught[0].filename == __file__
    assert any("instead of float16" in note for note in report.notes)
    assert report.plans[0]["computes"] == {"float32": 6}
