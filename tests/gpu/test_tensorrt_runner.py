"""The GPU side of the TensorRT runner: memory, streams, CUDA graphs, with a real kernel.

The engine is a stand-in that launches a small kernel where TensorRT would launch its own, so the tests need a
GPU but no TensorRT; everything below the execution context is real.
"""

import ctypes
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from keras_trt.bundle import read_bundle
from keras_trt.engine import _trt, gpus
from keras_trt.errors import EngineError, RunnerError
from keras_trt.runtime import EngineModel
from keras_trt.runtime.runners._cuda import Buffer, Device, Stream, call
from keras_trt.runtime.runners.tensorrt import TensorRTOptions, TensorRTRunner
from tests.small_onnx import model_of, save_bundle

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not gpus(), reason="no NVIDIA GPU or driver here")]

DOUBLE = b"""
.version 6.0
.target sm_50
.address_size 64
.visible .entry twice(.param .u64 x, .param .u64 y, .param .u32 n)
{
    .reg .pred %p; .reg .f32 %f; .reg .b32 %r<5>; .reg .b64 %d<5>;
    ld.param.u64 %d1, [x]; ld.param.u64 %d2, [y]; ld.param.u32 %r1, [n];
    mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x; mov.u32 %r4, %tid.x;
    mad.lo.u32 %r2, %r2, %r3, %r4;
    setp.ge.u32 %p, %r2, %r1;
    @%p bra DONE;
    mul.wide.u32 %d3, %r2, 4; add.u64 %d1, %d1, %d3; add.u64 %d2, %d2, %d3;
    ld.global.f32 %f, [%d1]; add.f32 %f, %f, %f; st.global.f32 [%d2], %f;
DONE:
    ret;
}
"""
LARGEST = 1 << 16


class Context:
    """y = 2 x, with the methods of `IExecutionContext` that the runner calls."""

    def __init__(self):
        call("cuModuleLoadData", ctypes.byref(module := ctypes.c_void_p()), DOUBLE + b"\0")
        call("cuModuleGetFunction", ctypes.byref(function := ctypes.c_void_p()), module, b"twice")
        self.function, self.address, self.shape, self.launches = function, {}, None, 0

    def set_input_shape(self, name, shape):
        self.shape = shape
        return 1 <= shape[0] <= LARGEST

    def infer_shapes(self):
        return []

    def get_tensor_shape(self, name):
        return self.shape

    def set_tensor_address(self, name, address):
        self.address[name] = ctypes.c_uint64(address)
        return True

    def execute_async_v3(self, stream):
        self.launches += 1
        size = ctypes.c_uint32(int(np.prod(self.shape)))
        held = [self.address["x"], self.address["y"], size]
        arguments = (ctypes.c_void_p * 3)(*(ctypes.addressof(a) for a in held))
        blocks = -(-size.value // 128)
        call(
            "cuLaunchKernel",
            self.function,
            blocks,
            1,
            1,
            128,
            1,
            1,
            0,
            ctypes.c_void_p(stream),
            arguments,
            None,
        )
        return True


class Engine:
    num_io_tensors = 2

    def get_tensor_name(self, index):
        return "xy"[index]

    def get_tensor_dtype(self, name):
        return SimpleNamespace(name="FLOAT")

    def get_tensor_shape(self, name):
        return (-1, 3)

    def get_tensor_profile_shape(self, name, profile):
        return [(1, 3), (8, 3), (LARGEST, 3)]

    def create_execution_context(self):
        return Context()


class Runtime:
    engine_host_code_allowed = True

    def __init__(self, logger):
        self.logger = logger

    def deserialize_cuda_engine(self, plan):
        assert self.engine_host_code_allowed is False
        if plan != b"plan":
            self.logger.log(SimpleNamespace(name="ERROR"), "the plan is broken")
            return None
        return Engine()


class Logger:
    pass


TRT = SimpleNamespace(__name__="tensorrt", __version__="0", ILogger=Logger, Runtime=Runtime)


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    from onnx import helper

    monkeypatch.setattr(_trt, "load", lambda module, why: TRT)
    monkeypatch.setattr(_trt, "logger", lambda trt: SimpleNamespace(log=log))
    node = helper.make_node("Add", ["x", "x"], ["y"])
    model = model_of([node], {"x": ["batch", 3]}, {"y": ["batch", 3]}, {})
    return read_bundle(save_bundle(tmp_path / "b", model))


def log(severity, text):
    for capture in _trt._captures:
        capture.append((severity.name, text))


@pytest.fixture(params=[False, True], ids=["launches", "cuda graph"])
def runner(request, bundle):
    options = TensorRTOptions(cuda_graph=request.param)
    with TensorRTRunner(b"plan", bundle.manifest, options=options) as runner:
        yield runner


def rows(count, seed=0):
    return np.random.default_rng(seed).normal(size=(count, 3)).astype(np.float32)


def test_the_gpu_is_known_by_name_and_class():
    first = gpus()[0]
    assert first.name
    assert first.compute_capability.startswith("SM")
    assert first.memory > 1 << 30


def test_rows_go_to_the_gpu_and_come_back(runner):
    for count in (1, 5, 1000, 5, 70_000 % LARGEST, 1):  # memory grows, then is used again
        x = rows(count, count)
        assert np.array_equal(runner.run({"x": x})["y"], x * 2)


def test_results_belong_to_the_caller(runner):
    first = runner.run({"x": rows(4)})["y"]
    runner.run({"x": rows(4, 1)})
    assert np.array_equal(first, rows(4) * 2)


def test_a_recorded_shape_is_launched_as_one_graph(bundle):
    runner = TensorRTRunner(b"plan", bundle.manifest, options=TensorRTOptions(cuda_graph=True))
    for _ in range(5):
        assert np.array_equal(runner.run({"x": rows(4)})["y"], rows(4) * 2)
    assert runner._context.launches == 2, "one warm-up, one recording"
    big = rows(4000)
    runner.run({"x": big})  # moves the memory: what was recorded is void
    for seed in range(3):
        assert np.array_equal(runner.run({"x": rows(4, seed)})["y"], rows(4, seed) * 2)
        assert np.array_equal(runner.run({"x": big})["y"], big * 2)
    runner.close()


def test_predict_splits_at_the_profiles_largest_batch(bundle, runner):
    model = EngineModel(bundle, runner)
    assert runner.batch_range == (1, LARGEST)
    x = rows(LARGEST + 10)
    assert np.array_equal(model.predict(x, batch_size=len(x), verbose=0), x * 2)


def test_threads_do_not_mix_their_rows(runner):
    wrong = []

    def work(seed):
        for _ in range(100):
            x = rows(100 + seed, seed)
            if not np.array_equal(runner.run({"x": x})["y"], x * 2):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == []


def test_a_shape_outside_the_profile_is_named(runner):
    with pytest.raises(RunnerError, match=r"refused the shape of input `x`. Received: \(0, 3\).*\(1, 3\)"):
        runner.run({"x": rows(0)})
    assert np.array_equal(runner.run({"x": rows(2)})["y"], rows(2) * 2)


def free_memory():
    with Device():
        call("cuMemGetInfo_v2", ctypes.byref(free := ctypes.c_size_t()), ctypes.byref(ctypes.c_size_t()))
    return free.value


def test_closing_gives_the_memory_back(bundle):
    keep = Device()  # else the context itself comes and goes
    before = free_memory()
    for _ in range(3):
        runner = TensorRTRunner(b"plan", bundle.manifest, options=TensorRTOptions(cuda_graph=True))
        runner.run({"x": rows(LARGEST)})
        runner.close()
        runner.close()
    assert before - free_memory() < 32 << 20
    keep.close()


def test_a_broken_plan_says_what_tensorrt_logged(bundle):
    with pytest.raises(EngineError, match=r"cannot load the plan here:\n  the plan is broken"):
        TensorRTRunner(b"brok", bundle.manifest)


def test_too_little_memory_is_a_clear_error():
    with Device(), pytest.raises(RunnerError, match="cuMemAlloc_v2 failed: CUDA_ERROR_OUT_OF_MEMORY"):
        Buffer(1 << 50)


def test_the_current_context_is_left_as_it_was():
    def current():
        call("cuCtxGetCurrent", ctypes.byref(context := ctypes.c_void_p()))
        return context.value

    before = current()
    device = Device()
    with device:
        Stream().close()
        assert current() is not None
    assert current() == before
    device.close()


def test_pytorch_in_the_same_process_is_not_disturbed(runner):
    torch = pytest.importorskip("torch")
    held = torch.arange(10, device="cuda")
    x = rows(7)
    assert np.array_equal(runner.run({"x": x})["y"], x * 2)
    assert held.sum().item() == 45
    runner.close()
    assert (held * 2).sum().item() == 90


def test_the_real_lean_runtime_refuses_a_broken_plan():
    trt = pytest.importorskip("tensorrt_lean")
    with pytest.raises(EngineError, match=r"tensorrt_lean .* cannot load the plan here:\n  "):
        _trt.deserialize(trt, b"no plan at all" * 100, allow_host_code=False)
