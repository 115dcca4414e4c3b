"""The whole road: a Keras model becomes a bundle that TensorRT builds and a CPU predicts."""

from __future__ import annotations

import json
import logging
import os

import numpy as np
import onnx
import pytest

import keras_trt
from keras_trt.bundle import read_bundle
from keras_trt.errors import BundleError, BundleExistsError, ExportError, InputError, ModelError
from keras_trt.exporting.export import export
from keras_trt.quantize import quantize_model
from keras_trt.runtime import load
from keras_trt.runtime.choosing import trial
from tests.nets import images, residual_net
from tests.onnx_tools import build, run

ALL_TARGETS = ("SM86", "SM89", "SM120")


def randomised(model, seed=0):
    """Batch normalisation with statistics of its own; else folding it would go unnoticed."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if "BatchNormalization" in type(layer).__name__:
            shapes = [w.shape for w in layer.get_weights()]
            values = [
                rng.uniform(0.5, 1.5, s) if i in (0, 3) else rng.normal(0, 0.1, s)
                for i, s in enumerate(shapes)
            ]
            layer.set_weights(values)
    return model


@pytest.fixture
def quantized(k):
    k.utils.set_random_seed(0)
    return quantize_model(randomised(residual_net(k)), calibration_data=images()[0], verbose=0)


def written(path):
    bundle = read_bundle(path)
    return bundle, onnx.load(bundle.onnx_path)


def test_an_int8_model_fulfils_every_rule_of_tensorrt(quantized, tmp_path):
    report = export(quantized, tmp_path / "net", engine=None, verbose=0)
    bundle, proto = written(tmp_path / "net")
    onnx.checker.check_model(proto, full_check=True)
    arrays = {i.name: onnx.numpy_helper.to_array(i) for i in proto.graph.initializer}
    assert {n.domain for n in proto.graph.node} == {""}
    assert "BatchNormalization" not in report.operators
    for node in proto.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            scale, zero_point = (arrays[name] for name in node.input[1:])
            assert (scale > 0).all()
            assert zero_point.dtype == np.int8
            assert not zero_point.any()
    makers = {n.output[0]: n for n in proto.graph.node}
    for node in proto.graph.node:
        if node.op_type in ("Conv", "MatMul"):
            assert [makers[name].op_type for name in node.input[:2]] == ["DequantizeLinear"] * 2
            assert arrays[makers[node.input[1]].input[0]].dtype == np.int8
    assert not any(
        makers[n.input[0]].op_type == "Conv"
        for n in proto.graph.node
        if n.op_type in ("Mul", "Add", "Sub") and n.input[0] in makers and n.input[1] in arrays
    )
    assert [i.name for i in proto.graph.input] == ["image"]
    assert [o.name for o in proto.graph.output] == ["probabilities"]
    for value in (*proto.graph.input, *proto.graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"
    assert set(report.int8_layers) == {"stem", "separable", "depthwise", "strided", "probabilities"}
    assert report.float_layers == ()
    assert report.int8_mac_share == 1.0
    assert bundle.manifest.precision == "int8"
    assert proto.opset_import[0].version == bundle.manifest.opset == 19


def test_int8_predictions_agree_with_the_quantised_keras_model(quantized, tmp_path):
    export(quantized, tmp_path / "net", engine=None, verbose=0)
    x = images(256, seed=1)[0]
    expected = quantized.predict(x, verbose=0)
    found = run(read_bundle(tmp_path / "net").onnx_path, image=x)["probabilities"]
    second, first = np.sort(expected, axis=1)[:, -2:].T
    clear = first - second > 0.01  # an untrained net is undecided about the others
    assert clear.sum() > 200
    assert (found.argmax(1) == expected.argmax(1))[clear].all()
    assert np.abs(found - expected).mean() < 0.005


def test_the_int8_model_is_built_for_three_gpu_generations(quantized, tmp_path):
    report = export(quantized, tmp_path / "net", compute_capabilities=ALL_TARGETS, verbose=0)
    (plan,) = report.plans
    assert plan["compute_capabilities"] == ALL_TARGETS
    assert plan["computes"] == {"int8": 6}
    assert read_bundle(tmp_path / "net").plan_paths[0].stat().st_size == plan["bytes"]


@pytest.mark.parametrize("precision", [None, "fp16", "bf16"])
def test_a_float_model_computes_in_the_precision_asked_for(k, precision, tmp_path):
    model = randomised(residual_net(k))
    report = export(model, tmp_path / "net", precision=precision, compute_capabilities=ALL_TARGETS, verbose=0)
    assert report.plans[0]["compute_capabilities"] == ALL_TARGETS
    name = {None: "float32", "fp16": "float16", "bf16": "bfloat16"}[precision]
    assert report.plans[0]["computes"] == {name: 6}
    _, proto = written(tmp_path / "net")
    for value in (*proto.graph.input, *proto.graph.output):
        assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert report.differences[0]["relative"] < {None: 1e-5, "fp16": 1e-2, "bf16": 5e-2}[precision]


def test_options_of_the_builder_are_in_the_plans_stamp(quantized, tmp_path):
    config = keras_trt.EngineConfig(
        profiles=[{"batch": 1}, {"batch": (2, 4, 8)}], optimization_level=1, compute_capabilities="SM89"
    )
    report = export(quantized, tmp_path / "net", engine="tensorrt_rtx", config=config, verbose=0)
    (stamp,) = read_bundle(tmp_path / "net").manifest.plans
    assert stamp.config == {"profiles": [{"batch": 1}, {"batch": [2, 4, 8]}], "optimization_level": 1}
    assert stamp.compute_capabilities == ("SM89",)
    assert report.plans[0]["config"] == stamp.config
    again = keras_trt.build(tmp_path / "net", "tensorrt_rtx", config=config, verbose=0)
    assert again.plans[0].reused


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"engine": None},
            r"`config` is for a plan, and engine=None builds none. Received: \{'tf32': False\}",
        ),
        ({"route": "tf-trt"}, '`config` is for route="onnx" only'),
        (
            {"compute_capabilities": ["SM86"], "engine": "tensorrt_rtx"},
            r"different GPU classes. Received: \['SM86'\] and \['SM89'\]",
        ),
        ({"engine": "tensorrt_rtx"}, "`sparse_weights` needs weights in the 2:4 pattern"),
    ],
)
def test_options_that_contradict_each_other_are_refused(quantized, tmp_path, options, text):
    ada = {"compute_capabilities": "SM89"} if options.get("engine") else {}
    sparse = True if "sparse" in text else None
    config = keras_trt.EngineConfig(tf32=False, sparse_weights=sparse, **ada)
    with pytest.raises(InputError, match=text):
        export(quantized, tmp_path / "net", config=config, verbose=0, **options)
    assert not (tmp_path / "net").exists()


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_a_quantised_model_keeps_int8_with_another_float_type_around_it(quantized, precision, tmp_path):
    report = export(
        quantized, tmp_path / "net", precision=precision, compute_capabilities=["SM89"], verbose=0
    )
    assert report.precision == f"int8+{precision}"
    assert report.plans[0]["computes"] == {"int8": 6}
    _, proto = written(tmp_path / "net")
    scales = {n.input[1] for n in proto.graph.node if n.op_type == "QuantizeLinear"}
    kinds = {i.data_type for i in proto.graph.initializer if i.name in scales}
    assert kinds == {onnx.TensorProto.FLOAT16 if precision == "fp16" else onnx.TensorProto.BFLOAT16}


def test_a_float_model_is_quantised_on_the_way_when_data_is_given(k, tmp_path):
    model = residual_net(k)
    before = [w.copy() for w in model.get_weights()]
    report = export(
        model, tmp_path / "net", precision="int8+fp16", calibration_data=images()[0], engine=None, verbose=0
    )
    assert report.precision == "int8+fp16"
    assert report.int8_mac_share == 1.0
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_same_model_gives_the_same_bytes(quantized, tmp_path):
    for name in ("a", "b"):
        export(quantized, tmp_path / name, engine=None, verify=False, verbose=0)
    for file in ("model.onnx", "manifest.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_weights_go_beside_the_graph_on_request(quantized, tmp_path):
    x = images(4)[0]
    for name, external in (("inside", None), ("beside", True), ("again", True), ("forced", False)):
        options = {"external_data": external, "compute_capabilities": ["SM89"], "verbose": 0}
        report = export(quantized, tmp_path / name, **options)
        held = [p.name for p in (tmp_path / name).iterdir() if p.is_file()]
        assert ("model.onnx.data" in held) is (external is True)
        assert report.onnx_bytes == sum((tmp_path / name / f).stat().st_size for f in held if "onnx" in f)
        assert report.plans[0]["computes"] == {"int8": 6}
    moved = (tmp_path / "beside").rename(tmp_path / "moved")
    assert set(read_bundle(moved).manifest.external_data) == {"model.onnx.data"}
    for file in ("model.onnx", "model.onnx.data"):
        assert (moved / file).read_bytes() == (tmp_path / "again" / file).read_bytes()
    assert (moved / "model.onnx").stat().st_size < (tmp_path / "inside" / "model.onnx").stat().st_size
    expected = load(tmp_path / "inside", verbose=0).predict(x, verbose=0)
    np.testing.assert_array_equal(load(moved, verbose=0).predict(x, verbose=0), expected)
    found = keras_trt.verify(quantized, moved, x, verbose=0)
    assert found.first_divergence is None
    assert {d.runner for d in found.layers} == {"onnxruntime"}
    assert found.first_divergence is None
    assert {d.runner for d in found.layers} == {"onnxruntime"}


def test_weights_too_large_for_one_file_go_beside_it_unless_that_is_forbidden(k, tmp_path, monkeypatch):
    from keras_trt.packing import write

    monkeypatch.setattr(write, "LARGEST", 1000)
    export(residual_net(k), tmp_path / "net", engine=None, verbose=0)
    assert set(read_bundle(tmp_path / "net").manifest.external_data) == {"model.onnx.data"}
    with pytest.raises(InputError, match=r"The weights take 0.0 GB.*Received: external_data=False"):
        export(residual_net(k), tmp_path / "other", external_data=False, engine=None, verbose=0)
    assert [path.name for path in tmp_path.iterdir()] == ["net"]


def test_damaged_weights_beside_the_graph_are_found(quantized, tmp_path):
    export(quantized, tmp_path / "net", external_data=True, engine=None, verbose=0)
    weights = tmp_path / "net" / "model.onnx.data"
    weights.write_bytes(weights.read_bytes()[:-8] + bytes(8))
    with pytest.raises(BundleError, match="`model.onnx.data` is not the file that was exported"):
        load(tmp_path / "net", verbose=0)


@pytest.mark.parametrize("opset", [17, 20, 24])
def test_the_opset_can_be_chosen(k, opset, tmp_path):
    report = export(residual_net(k), tmp_path / "net", opset=opset, compute_capabilities=["SM89"], verbose=0)
    _, proto = written(tmp_path / "net")
    assert proto.opset_import[0].version == report.opset == opset


@pytest.mark.parametrize(("precision", "needed"), [("float32", 17), ("fp16", 19), ("bf16", 22)])
def test_the_opset_is_raised_where_the_precision_needs_it(k, precision, needed, tmp_path):
    options = {"precision": precision, "opset": 17, "engine": None, "verbose": 0}
    assert export(residual_net(k), tmp_path / "net", **options).opset == needed


def test_nodes_are_named_after_keras_layers(quantized, tmp_path):
    export(quantized, tmp_path / "net", engine=None, verify=False, verbose=0)
    _, proto = written(tmp_path / "net")
    layers = {layer.name for layer in quantized.layers}
    assert all(node.name.split("/")[0] in layers for node in proto.graph.node)
    convs = {node.name.split("/")[0] for node in proto.graph.node if node.op_type == "Conv"}
    assert convs == {"stem", "separable", "depthwise", "strided"}


def test_the_report_prints_a_table_and_is_plain_data(quantized, tmp_path, capsys):
    report = export(quantized, tmp_path / "net", compute_capabilities=["SM89"], verbose=0)
    assert capsys.readouterr() == ("", "")
    data = json.loads(json.dumps(report.to_dict()))
    assert data["int8_mac_share"] == 1.0
    assert list(data["seconds"]) == ["trace", "convert", "optimise", "write", "verify", "build"]
    text = str(report)
    for part in (
        "residual_net",
        "int8 (opset 19)",
        "100.0% of the multiply-accumulates",
        "SM89",
        "probabilities",
    ):
        assert part in text


def test_verbose_shows_the_stages(k, tmp_path, capsys):
    export(residual_net(k), tmp_path / "net", engine=None, verbose=1)
    shown = capsys.readouterr().out
    assert all(stage in shown for stage in ("trace", "convert", "optimise", "write", "verify"))


def test_nothing_of_the_process_is_changed(k, tmp_path, monkeypatch):
    monkeypatch.delenv("TF_USE_LEGACY_KERAS", raising=False)
    environment, level = dict(os.environ), logging.getLogger("tf2onnx").level
    export(residual_net(k), tmp_path / "net", engine=None, verbose=0)
    assert dict(os.environ) == environment
    assert logging.getLogger("tf2onnx").level == level


def unbuilt(k):
    return k.Sequential([k.layers.Dense(2)])


def with_nan(k):
    model = residual_net(k)
    kernel = model.get_layer("strided").kernel
    kernel.assign(np.full(kernel.shape, np.nan))
    return model


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (unbuilt, "has no weights yet"),
        (with_nan, r"Layer 'strided': weight .*kernel.* holds 576 values that are NaN or infinite"),
        (
            lambda k: quantize_model(residual_net(k)),
            r"6 quantised layers|quantised layers have no activation range",
        ),
        (lambda k: object(), "A Keras 3 or tf_keras model is needed"),
    ],
    ids=["unbuilt", "nan", "uncalibrated", "no model"],
)
def test_a_model_that_cannot_be_exported_is_refused_before_any_work(k, make, message, tmp_path):
    with pytest.raises(ModelError, match=message):
        export(make(k), tmp_path / "net", verbose=0)
    assert not any(tmp_path.iterdir())


def test_an_existing_bundle_is_kept_unless_told_otherwise(k, tmp_path):
    model = residual_net(k)
    export(model, tmp_path / "net", engine=None, verbose=0)
    with pytest.raises(BundleExistsError, match="overwrite=True"):
        export(model, tmp_path / "net", engine=None, verbose=0)
    export(model, tmp_path / "net", engine=None, overwrite=True, verbose=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"precision": "fp8x"}, "`precision` must be one of"),
        ({"precision": "fp8"}, r"quantize_model\(model, 'fp8', calibration_data=x\), path\)"),
        ({"precision": "fp16+bf16"}, "`precision` must be one of"),
        ({"route": "tflite"}, "`route` must be one of"),
        ({"engine": "cudnn"}, "`engine` must be one of"),
        ({"opset": 12}, "`opset` must be a number from 17 to 24"),
        ({"external_data": "yes"}, "`external_data` must be None, True or False"),
        ({"batch": (4, 2, 1)}, "`batch` must be a whole number or"),
        ({"input_shapes": (None, 9, 9, 3)}, "`input_shapes` must have as many axes as input 'image'"),
    ],
)
def test_wrong_arguments_name_themselves(k, arguments, message, tmp_path):
    with pytest.raises(InputError, match=message):
        export(residual_net(k), tmp_path / "net", verbose=0, **arguments)
    assert not any(tmp_path.iterdir())


def test_the_precision_may_be_written_in_capitals(k, tmp_path):
    options = {"precision": "INT8", "calibration_data": images()[0], "engine": None, "verbose": 0}
    assert export(residual_net(k), tmp_path / "net", **options).int8_mac_share == 1.0


def test_int8_of_a_float_model_needs_data(k, tmp_path):
    with pytest.raises(ModelError, match="calibration_data"):
        export(residual_net(k), tmp_path / "net", precision="int8", verbose=0)


def test_a_model_that_differs_from_keras_is_not_written(k, tmp_path, monkeypatch):
    monkeypatch.setitem(trial.FLOAT_ERROR, "float32", -1.0)  # less than any difference
    with pytest.raises(ExportError, match="differs from Keras: output 'probabilities' by"):
        export(residual_net(k), tmp_path / "net", engine=None, verbose=0)
    assert not any(tmp_path.iterdir())


def test_an_old_bundle_survives_a_failed_export(k, tmp_path, monkeypatch):
    model = residual_net(k)
    export(model, tmp_path / "net", engine=None, verbose=0)
    before = (tmp_path / "net" / "model.onnx").read_bytes()
    monkeypatch.setitem(trial.FLOAT_ERROR, "float32", -1.0)  # less than any difference
    with pytest.raises(ExportError):
        export(model, tmp_path / "net", engine=None, overwrite=True, verbose=0)
    assert (tmp_path / "net" / "model.onnx").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["net"]


def test_the_onnx_alone_builds_for_every_target(quantized, tmp_path):
    export(quantized, tmp_path / "net", engine=None, verbose=0)
    assert build(tmp_path / "net" / "model.onnx", targets=ALL_TARGETS).audit.precisions == {"int8": 6}


def test_a_wrong_int8_weight_is_found_although_rounding_would_hide_it(k, tmp_path, monkeypatch):
    from keras_trt.onnx_passes.quantized import weights

    original = weights.to_grid

    def off_by_a_percent(weight, axis, layer, form):
        integers, scales = original(weight, axis, layer, form)
        return integers, scales * np.float32(1.01)

    monkeypatch.setattr(weights, "to_grid", off_by_a_percent)
    model = quantize_model(randomised(residual_net(k)), calibration_data=images()[0], verbose=0)
    with pytest.raises(ExportError, match="differs from Keras: output 'probabilities' by .* is allowed"):
        export(model, tmp_path / "net", engine=None, verbose=0)
