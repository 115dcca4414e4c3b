import dataclasses
from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest

from keras_trt._machine import deps
from keras_trt.bundle import sha256_of
from keras_trt.engine import EngineConfig, available_builders, build, build_plan, targets
from keras_trt.engine.machine.gpu import Gpu
from keras_trt.errors import EngineError, InputError, KerasTRTError, MissingDependencyError
from tests.small_onnx import conv_model, sequence_model, two_in_two_out

rtx = pytest.mark.skipif(not deps.available("tensorrt_rtx"), reason="needs tensorrt_rtx")
no_gpu = pytest.mark.skipif("tensorrt" in available_builders(), reason="is about machines without a GPU")


@pytest.fixture
def save(tmp_path):
    def save(model):
        onnx.save(model, tmp_path / "model.onnx")
        return tmp_path / "model.onnx"

    return save


@rtx
@pytest.mark.parametrize("target", ["SM86", "SM89", "SM120"])
@pytest.mark.parametrize("int8", [True, False])
def test_a_plan_is_built_for_each_gpu_without_one(save, target, int8):
    path = save(conv_model(int8=int8))
    plan = build_plan(
        path, kind="tensorrt_rtx", config=EngineConfig(compute_capabilities=[target]), verbose=0
    )
    assert len(plan.data) == plan.stamp.bytes > 10_000
    assert plan.stamp.kind == "tensorrt_rtx"
    assert plan.stamp.file == f"plans/tensorrt_rtx-{target}.plan"
    assert plan.stamp.compute_capabilities == (target,)
    assert plan.stamp.onnx_sha256 == sha256_of(path)
    assert plan.stamp.version.startswith("1.")
    assert plan.audit.precisions == {"int8" if int8 else "float32": 1}


@rtx
@no_gpu
def test_without_a_gpu_auto_builds_for_three_kinds_of_card(save):
    plan = build_plan(save(conv_model()), verbose=0)
    assert plan.stamp.compute_capabilities == ("SM86", "SM89", "SM120")
    assert plan.warnings == ()


@rtx
def test_a_single_target_may_be_plain_text(save):
    plan = build_plan(
        save(conv_model()), kind="tensorrt_rtx", config=EngineConfig(compute_capabilities="SM89"), verbose=0
    )
    assert plan.stamp.compute_capabilities == ("SM89",)


@rtx
def test_a_gpu_that_rtx_knows_is_the_only_target(save, monkeypatch):
    monkeypatch.setattr(targets, "gpus", lambda: (Gpu(0, "a card", "SM89", 1),))
    assert build_plan(save(conv_model()), kind="tensorrt_rtx", verbose=0).stamp.compute_capabilities == (
        "SM89",
    )


@rtx
def test_a_gpu_that_rtx_does_not_know_gives_plans_for_others(save, monkeypatch):
    monkeypatch.setattr(targets, "gpus", lambda: (Gpu(0, "a card", "SM90", 1),))
    plan = build_plan(save(conv_model()), kind="tensorrt_rtx", verbose=0)
    assert plan.stamp.compute_capabilities == targets.AHEAD_OF_TIME


@rtx
@pytest.mark.parametrize(
    ("model", "node", "reason"),
    [
        (conv_model(zero_point=127), "conv1/input/quantize", "Non-zero zero point is not supported"),
        (conv_model(zero_scale=True), "conv1/kernel/dequantize", "Scale coefficients must all be positive"),
    ],
)
def test_what_tensorrt_refuses_is_told_with_the_nodes_name(save, model, node, reason):
    with pytest.raises(EngineError, match=f"node `{node}`.*{reason}"):
        build_plan(save(model), verbose=0)


@rtx
def test_an_operator_that_tensorrt_lacks_is_named(save):
    model = conv_model(int8=False)
    model.graph.node[1].op_type, model.graph.node[1].domain = "FakeQuantWithMinMaxVars", "tf"
    model.opset_import.append(onnx.helper.make_opsetid("tf", 1))
    with pytest.raises(EngineError, match=r"node `relu1` \(FakeQuantWithMinMaxVars\)"):
        build_plan(save(model), verbose=0)


@rtx
def test_a_file_that_is_no_onnx_is_an_engine_error(tmp_path):
    (tmp_path / "model.onnx").write_text("no protobuf")
    with pytest.raises(EngineError, match=r"parser refused `.*model\.onnx`"):
        build_plan(tmp_path / "model.onnx", verbose=0)


@rtx
def test_weights_in_a_file_beside_are_found(tmp_path):
    onnx.save(
        conv_model(int8=False),
        tmp_path / "model.onnx",
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    assert (tmp_path / "weights.bin").exists()
    assert build_plan(tmp_path / "model.onnx", verbose=0).audit.precisions == {"float32": 1}


@rtx
def test_several_inputs_and_types_build(save):
    plan = build_plan(save(two_in_two_out()), batch=4, verbose=0)
    assert {r.type for r in plan.audit.layers} >= {"CAST", "ELEMENTWISE"}


@rtx
def test_a_static_batch_needs_no_profile(save):
    assert build_plan(save(conv_model(batch=4)), verbose=0).data


@rtx
def test_a_second_dynamic_axis_needs_sizes(save):
    path = save(sequence_model())
    with pytest.raises(
        InputError, match=r"dynamic axes \['time'\].*Pass input_shapes=\{'time': \(min, opt, max\)\}"
    ):
        build_plan(path, verbose=0)
    assert build_plan(path, input_shapes={"time": (1, 16, 64)}, verbose=0).data
    assert build_plan(path, input_shapes={"x": (None, 16, 4)}, verbose=0).data


@rtx
def test_sparse_weights_are_allowed_by_flag(save):
    assert build_plan(save(conv_model()), config=EngineConfig(sparse_weights=True), verbose=0).data


@rtx
def test_progress_is_shown_and_can_be_quieted(save, capsys):
    path = save(conv_model())
    build_plan(path, kind="tensorrt_rtx", verbose=0)
    assert capsys.readouterr().out == ""
    build_plan(path, kind="tensorrt_rtx", verbose=1)
    assert "Building tensorrt_rtx engine" in capsys.readouterr().out


@rtx
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            {"kind": "onnx"},
            r"`engine` must be one of \['auto', 'tensorrt', 'tensorrt_rtx'\]. Received: 'onnx'",
        ),
        ({"batch": 0}, "`batch` must be a whole number"),
        ({"batch": (8, 1, 32)}, "1 <= min <= opt <= max"),
        ({"batch": (1, 2)}, r"Received: \(1, 2\)"),
        ({"config": EngineConfig(compute_capabilities=["SM90"])}, r"knows: \['SM75', .*Received: \['SM90'\]"),
        ({"input_shapes": {"z": 3}}, "Received: 'z'"),
        ({"input_shapes": {"x": (None, 4, 8)}}, "must have 4 axes"),
        ({"input_shapes": {"x": (None, 4, 8, 9)}}, "cannot change a fixed axis"),
        ({"config": EngineConfig(version_compatible=True)}, "engine='tensorrt' only"),
    ],
)
def test_a_wrong_argument_is_named(save, arguments, text):
    with pytest.raises(InputError, match=text):
        build_plan(save(conv_model()), **({"kind": "tensorrt_rtx", "verbose": 0} | arguments))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.onnx', which does not exist"):
        build_plan(tmp_path / "gone.onnx")


@no_gpu
def test_tensorrt_without_a_gpu_points_to_rtx(save, monkeypatch):
    monkeypatch.setattr(deps, "available", lambda module: True)
    with pytest.raises(EngineError, match=r"no GPU or driver.*engine='tensorrt_rtx'.*keras-trt\[rtx\]"):
        build_plan(save(conv_model()), kind="tensorrt")


def test_no_builder_at_all_tells_how_to_get_one(save, monkeypatch):
    monkeypatch.setattr(deps, "available", lambda module: False)
    with pytest.raises(MissingDependencyError, match=r"pip install 'keras-trt\[rtx\]'"):
        build_plan(save(conv_model()))
    assert available_builders() == ()


def test_a_builder_without_memory_gets_advice_about_tensorflow(monkeypatch):
    monkeypatch.setattr(build, "gpus", lambda: (Gpu(0, "NVIDIA L4", "SM89", 1),))
    trt = SimpleNamespace(__name__="tensorrt", __version__="11.4.0")
    messages = [("WARNING", "slow"), ("ERROR", "Requested size was 9 bytes. Out of memory")]
    text = build._build_failed(trt, "tensorrt", Path("m.onnx"), messages, EngineConfig(tf32=False))
    assert text.splitlines()[:2] == [
        "tensorrt 11.4.0 could not build an engine from `m.onnx`:",
        "  Requested size was 9 bytes. Out of memory",
    ]
    assert "It was asked for with {'tf32': False}; without these it may build." in text
    assert "set_memory_growth" in text
    assert "set_memory_growth" not in build._build_failed(trt, "tensorrt", Path("m"), [], EngineConfig())


def test_errors_share_one_base():
    assert issubclass(EngineError, KerasTRTError)


@rtx
def test_a_plan_is_plain_data(save):
    plan = build_plan(save(conv_model()), verbose=0)
    assert dataclasses.replace(plan) == plan


def fp8_model():
    """A product of fp8 operands."""
    from onnx import TensorProto, helper

    scales = [helper.make_tensor(name, TensorProto.FLOAT, [], [0.1]) for name in ("s", "t")]
    zero = helper.make_tensor("zero", TensorProto.FLOAT8E4M3FN, [], [0.0])
    matrix = helper.make_tensor("w", TensorProto.FLOAT8E4M3FN, [32, 32], [1.0] * 1024)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "zero"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "t", "zero"], ["m"]),
        helper.make_node("MatMul", ["d", "m"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 32]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], [*scales, zero, matrix])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


@rtx
@no_gpu
def test_fp8_is_built_for_the_classes_that_have_it(save):
    plan = build_plan(save(fp8_model()), kind="tensorrt_rtx", verbose=0)
    assert plan.stamp.compute_capabilities == ("SM89", "SM120")
    assert plan.warnings[0] == "Built for SM89, SM120 only: fp8 needs SM89 or newer."


@rtx
def test_fp8_for_an_older_class_is_refused_before_the_build(save):
    with pytest.raises(InputError, match="fp8 needs GPUs of class SM89 or newer"):
        build_plan(
            save(fp8_model()),
            kind="tensorrt_rtx",
            config=EngineConfig(compute_capabilities=["SM86", "SM89"]),
            verbose=0,
        )
