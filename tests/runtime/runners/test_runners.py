"""Every CPU runner against numpy: one body for all."""

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from onnx import helper, numpy_helper

from keras_trt._machine import deps
from keras_trt.bundle import read_bundle
from keras_trt.errors import MissingDependencyError, RunnerError
from keras_trt.runtime.choosing.select import CPU_RUNNERS
from tests.small_onnx import conv_model, manifest_of, model_of, save_bundle, two_in_two_out

MANIFEST = manifest_of(conv_model(), "0" * 64)
ROOT = Path(__file__).parents[3]


@pytest.fixture(params=list(CPU_RUNNERS))
def runner_class(request):
    if not deps.available(request.param):
        pytest.skip(f"{request.param} is not installed")
    return CPU_RUNNERS[request.param]


def reference(x, int8):
    """relu(conv(x)) of `conv_model` in numpy, with the quantisers in float64."""
    import onnx

    held = {
        t.name: numpy_helper.to_array(t)
        for t in onnx.load_from_string(conv_model(int8=int8).SerializeToString()).graph.initializer
    }
    if int8:
        kernel = held["kernel_q"] * held["kernel_scale"][:, None, None, None].astype(np.float64)
        x = np.clip(np.round(x / held["x_scale"]), -128, 127) * held["x_scale"].astype(np.float64)
    else:
        kernel = held["kernel"].astype(np.float64)
    padded = np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    return np.maximum(np.einsum("bchwij,ocij->bohw", windows, kernel) + held["bias"][:, None, None], 0)


@pytest.mark.parametrize("int8", [True, False])
def test_numbers_are_those_of_numpy(tmp_path, runner_class, int8):
    bundle = read_bundle(save_bundle(tmp_path / "b", conv_model(int8=int8)))
    x = np.random.default_rng(1).normal(size=(3, 4, 8, 8)).astype(np.float32)
    with runner_class(bundle) as runner:
        y = runner.run({"x": x})["y"]
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, reference(x, int8), atol=1e-4)


def test_zeros_around_a_max_pool_count(tmp_path, runner_class):
    pads = np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64)
    nodes = [
        helper.make_node("Pad", ["x", "pads"], ["padded"]),
        helper.make_node("MaxPool", ["padded"], ["y"], kernel_shape=[3, 3], strides=[2, 2]),
    ]
    shape = ["batch", 1, 4, 4]
    model = model_of(nodes, {"x": shape}, {"y": ["batch", 1, 2, 2]}, {"pads": pads})
    x = -np.arange(1, 17, dtype=np.float32).reshape(1, 1, 4, 4)
    with runner_class(read_bundle(save_bundle(tmp_path / "b", model))) as runner:
        y = runner.run({"x": x})["y"]
    np.testing.assert_array_equal(y[0, 0], [[0, 0], [0, -6]])


def concatenating(between, place):
    """An int8 convolution of two concatenated inputs: Q/DQ behind the Concat or in front of it."""
    rng = np.random.default_rng(0)
    kernel = rng.integers(-63, 64, (8, 8, 1, 1)).astype(np.int8)
    tensors = {"kernel": kernel, "kernel_scale": np.full(8, 0.01, np.float32), "scale": np.float32(0.02)}
    tensors |= {"zero": np.int8(0), "kernel_zero": np.zeros(8, np.int8)}
    nodes = []

    def add(operator, *inputs, **attributes):
        nodes.append(helper.make_node(operator, inputs, [f"t{len(nodes)}"], **attributes))
        return nodes[-1].output[0]

    def pair(x):
        return add("DequantizeLinear", add("QuantizeLinear", x, "scale", "zero"), "scale", "zero")

    parts = ["a", "b"] if place == "behind" else [pair("a"), pair("b")]
    joined = add("Concat", *parts, axis=1)
    joined = joined if between is None else add(between, joined)
    data = pair(joined) if place == "behind" else joined
    weight = add("DequantizeLinear", "kernel", "kernel_scale", "kernel_zero", axis=0)
    nodes.append(helper.make_node("Conv", [data, weight], ["y"]))
    shape = ["batch", 4, 6, 6]
    return kernel, model_of(nodes, {"a": shape, "b": shape}, {"y": ["batch", 8, 6, 6]}, tensors)


@pytest.mark.parametrize(
    ("between", "place"), [(None, "behind"), ("Relu", "behind"), (None, "in front"), ("Relu", "in front")]
)
def test_an_int8_convolution_of_concatenated_tensors(tmp_path, runner_class, between, place):
    """OpenVINO's own reading of the pairs loses the scale of such an input."""
    kernel, model = concatenating(between, place)
    a, b = np.random.default_rng(1).normal(size=(2, 3, 4, 6, 6)).astype(np.float32)
    with runner_class(read_bundle(save_bundle(tmp_path / "b", model))) as runner:
        y = runner.run({"a": a, "b": b})["y"]
    x = np.clip(np.round(np.concatenate([a, b], axis=1) / np.float32(0.02)), -128, 127) * 0.02
    x = x if between is None else np.maximum(x, 0)
    np.testing.assert_allclose(y, np.einsum("bchw,oc->bohw", x, kernel[:, :, 0, 0] * 0.01), atol=1e-4)


@pytest.mark.parametrize("columns", [3, 4])
def test_an_int8_product_without_bias_whose_rows_are_split(tmp_path, runner_class, columns):
    """OpenVINO's int8 passes scale the wrong axis of 3 columns, and cannot load 4."""
    kernel = np.random.default_rng(0).integers(-63, 64, (8, columns)).astype(np.int8)
    tensors = {
        "kernel": kernel,
        "kernel_scale": np.linspace(0.005, 0.01, columns, dtype=np.float32),
        "kernel_zero": np.zeros(columns, np.int8),
        "scale": np.float32(0.02),
        "zero": np.int8(0),
        "rows": np.array([-1, 8]),
        "split": np.array([-1, 6, columns]),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["dq"]),
        helper.make_node("Reshape", ["dq", "rows"], ["flat"]),
        helper.make_node("DequantizeLinear", ["kernel", "kernel_scale", "kernel_zero"], ["w"], axis=1),
        helper.make_node("MatMul", ["flat", "w"], ["product"]),
        helper.make_node("Reshape", ["product", "split"], ["y"]),
    ]
    model = model_of(nodes, {"x": ["batch", 6, 8]}, {"y": ["batch", 6, columns]}, tensors)
    x = np.random.default_rng(1).normal(size=(2, 6, 8)).astype(np.float32)
    with runner_class(read_bundle(save_bundle(tmp_path / "b", model))) as runner:
        y = runner.run({"x": x})["y"]
    rounded = np.clip(np.round(x / np.float32(0.02)), -128, 127) * 0.02
    np.testing.assert_allclose(y, rounded @ (kernel * tensors["kernel_scale"]), atol=1e-4)


def test_int8_weights_are_computed_in_int8(tmp_path):
    if not deps.available("openvino"):
        pytest.skip("openvino is not installed")
    runner = CPU_RUNNERS["openvino"](read_bundle(save_bundle(tmp_path / "b", conv_model())))
    compiled = runner._compiled.get_runtime_model().get_ops()
    types = {
        op.get_rt_info()["layerType"].astype(str): op.get_rt_info()["runtimePrecision"].astype(str)
        for op in compiled
    }
    assert types["Convolution"] in ("u8", "i8")


def test_openvino_computes_floats_in_float32(tmp_path):
    """On CPUs with AMX its default is bfloat16, with an error that a comparison with Keras shows."""
    openvino = pytest.importorskip("openvino")
    bundle = read_bundle(save_bundle(tmp_path / "b", conv_model()))
    seen = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            openvino.Core, "compile_model", lambda self, path, device, options: seen.update(options)
        )
        CPU_RUNNERS["openvino"](bundle)
    assert seen["INFERENCE_PRECISION_HINT"] == "f32"


def test_several_inputs_and_outputs_keep_their_names(tmp_path, runner_class):
    runner = runner_class(read_bundle(save_bundle(tmp_path / "b", two_in_two_out())))
    a, b = np.full((2, 3), 0.5, np.float32), np.full((2, 3), 4, np.int32)
    found = runner.run({"a": a, "b": b})
    assert (found["total"] == 4.5).all()
    assert (found["product"] == 2).all()


def test_results_belong_to_the_caller(tmp_path, runner_class):
    runner = runner_class(read_bundle(save_bundle(tmp_path / "b", conv_model())))
    x = np.ones((1, 4, 8, 8), np.float32)
    first = runner.run({"x": x})["y"]
    kept = first.copy()
    runner.run({"x": x * -5})
    assert np.array_equal(first, kept)
    first[:] = 0


def test_threads_do_not_mix_their_rows(tmp_path, runner_class):
    runner = runner_class(read_bundle(save_bundle(tmp_path / "b", two_in_two_out())))
    wrong = []

    def work(value):
        a, b = np.full((64, 3), value, np.float32), np.ones((64, 3), np.int32)
        for _ in range(50):
            if not (runner.run({"a": a, "b": b})["product"] == value).all():
                wrong.append(value)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == []


def test_a_static_batch_is_known(tmp_path, runner_class):
    path = save_bundle(tmp_path / "b", conv_model(batch=4), batch=(4, 4, 4))
    assert runner_class(read_bundle(path)).batch_range == (4, 4)


def test_a_failure_names_the_shapes(tmp_path, runner_class):
    runner = runner_class(read_bundle(save_bundle(tmp_path / "b", conv_model())))
    with pytest.raises(RunnerError, match=r"failed on inputs of shapes \{'x': \(1, 5, 8, 8\)\}"):
        runner.run({"x": np.zeros((1, 5, 8, 8), np.float32)})


def test_a_file_that_is_no_onnx_is_a_runner_error(tmp_path, runner_class):
    path = save_bundle(tmp_path / "b", conv_model())
    (path / "model.onnx").write_text("no protobuf")
    with pytest.raises(RunnerError, match=r"cannot load `.*model\.onnx`"):
        runner_class(read_bundle(path, verify=False))


@pytest.mark.parametrize("name", list(CPU_RUNNERS))
def test_a_missing_package_comes_with_its_pip_line(tmp_path, monkeypatch, name):
    bundle = read_bundle(save_bundle(tmp_path / "b", conv_model()))
    monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(MissingDependencyError, match=f"`{name}` cannot be imported.*pip install"):
        CPU_RUNNERS[name](bundle)


@pytest.mark.parametrize("operator", ["Conv", "MatMul"])
def test_onnxruntime_adds_the_largest_products_without_loss_on_any_processor(tmp_path, operator):
    """Pairs of its int8 products overflow 16 bits by default where the processor has only AVX2."""
    if not deps.available("onnxruntime"):
        pytest.skip("onnxruntime is not installed")
    kernel = np.random.default_rng(0).integers(-127, 128, (8, 8)).astype(np.int8)
    one = np.float32(1 / 127)
    tensors = {"kernel": kernel, "one": one, "ones": np.full(8, one), "zero": np.int8(0)}
    tensors["zeros"] = np.zeros(8, np.int8)
    if operator == "Conv":
        tensors["kernel"] = kernel.T[:, :, None, None].copy()
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "one", "zero"], ["x_q"]),
        helper.make_node("DequantizeLinear", ["x_q", "one", "zero"], ["x_dq"]),
        helper.make_node(
            "DequantizeLinear", ["kernel", "ones", "zeros"], ["w"], axis=int(operator == "MatMul")
        ),
        helper.make_node(operator, ["x_dq", "w"], ["product"]),
        helper.make_node("QuantizeLinear", ["product", "tenth", "zero"], ["y_q"]),
        helper.make_node("DequantizeLinear", ["y_q", "tenth", "zero"], ["y"]),
    ]
    tensors["tenth"] = np.float32(0.1)
    shape = ["batch", 8, 1, 1] if operator == "Conv" else ["batch", 8]
    model = model_of(nodes, {"x": shape}, {"y": shape}, tensors)
    x = np.random.default_rng(1).choice([-1, 1], (16, 8)).astype(np.float32)
    with CPU_RUNNERS["onnxruntime"](read_bundle(save_bundle(tmp_path / "b", model))) as runner:
        y = runner.run({"x": x.reshape(16, *shape[1:])})["y"].reshape(16, 8)
    exact = np.clip(np.round(x @ (kernel / 127) / 0.1), -128, 127) * 0.1
    np.testing.assert_allclose(y, exact, atol=0.11)
    assert np.abs(y - exact).mean() < 0.01


WITHOUT_MEMORY = """
import resource, sys
sys.path.insert(0, {root!r})
import numpy as np
from pathlib import Path
import keras_trt
from keras_trt.errors import RunnerError
model = keras_trt.load({path!r}, {runner!r}, verbose=0)
x = np.ones((2, 4, 8, 8), np.float32)
right = model.predict(x, verbose=0)
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (300 << 20),) * 2)
for predict in (model.predict_on_batch, lambda x: model.predict(x, batch_size=len(x), verbose=0)):
    try:
        predict(np.ones((60_000, 4, 8, 8), np.float32))  # 117 MiB in, 234 out, and as much between
    except RunnerError as e:
        print(e)
    assert np.array_equal(model.predict(x, verbose=0), right)
model.close()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("runner", ["openvino", "onnxruntime"])
def test_a_batch_too_large_for_the_memory_is_an_error_and_the_next_one_runs(tmp_path, runner, int8):
    path = save_bundle(tmp_path / "b", conv_model(int8=int8))
    code = WITHOUT_MEMORY.format(root=str(ROOT), path=str(path), runner=runner)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stdout.splitlines() if "failed on inputs of shapes" in line]
    assert said, done.stdout
    assert "(60000, 4, 8, 8)" in said[0]
