"""The TensorRT runner on a real GPU: memory, streams, CUDA graphs, arrays of other libraries.

The engine is a stand-in that launches small kernels where TensorRT would launch its own, so the tests need a
GPU but no TensorRT; everything below the execution context is real.
"""

import threading
from contextlib import suppress

import numpy as np
import pytest

from keras_trt.engine import _trt, gpus
from keras_trt.errors import EngineError, InputError, RunnerError
from keras_trt.runtime import EngineModel
from keras_trt.runtime.runners.tensorrt import runner as tensorrt
from keras_trt.runtime.runners.tensorrt._cuda import Buffer, Device, Stream, bindings, call
from keras_trt.runtime.runners.tensorrt.runner import TensorRTOptions, TensorRTRunner
from tests.runtime.runners.stand_in import LARGEST, bundle_of, stand_in, use

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not gpus(), reason="no NVIDIA GPU or driver here")]


@pytest.fixture
def make(monkeypatch, tmp_path):
    """Makes runners; `make.trt.engine` is the stand-in of the last one."""
    made = []

    def make(outputs="y", *, cuda_graph=True, **options):
        make.trt = use(monkeypatch, stand_in(names="x" + outputs, **options))
        make.bundle = bundle_of(tmp_path / str(len(made)), outputs)
        with Device():  # the stand-in's kernel is of the GPU that is current when the plan is loaded
            made.append(
                TensorRTRunner(b"plan", make.bundle.manifest, options=TensorRTOptions(cuda_graph=cuda_graph))
            )
        return made[-1]

    yield make
    for runner in made:
        runner.close()


@pytest.fixture
def rows(rng):
    return lambda count: rng.normal(size=(count, 3)).astype(np.float32)


def test_the_gpu_is_known_by_name_and_class():
    first = gpus()[0]
    assert first.name
    assert first.compute_capability.startswith("SM")
    assert first.memory > 1 << 30


@pytest.mark.parametrize("cuda_graph", [False, True])
def test_rows_go_to_the_gpu_and_come_back(make, rows, cuda_graph):
    runner = make(cuda_graph=cuda_graph)
    for count in (1, 5, 1000, 5, 5, 5, 70_000 % LARGEST, 1, 5, 1000):  # memory grows, then is used again
        x = rows(count)
        assert np.array_equal(runner.run({"x": x})["y"], x * 4)


@pytest.mark.parametrize("cuda_graph", [False, True])
def test_many_batches_come_in_order_and_right(make, rows, cuda_graph):
    runner = make(cuda_graph=cuda_graph)
    batches = [rows(count) for count in (4000, 4000, 4000, 9, 4000, 60_000, 4000, 1, 4000) * 5]
    given = [{"x": x.copy()} for x in batches]

    def feeds():
        for feed in given:
            yield feed
            feed["x"][...] = np.nan  # the caller uses the array for something else

    for x, result in zip(batches, runner.run_many(feeds()), strict=True):
        assert np.array_equal(result["y"], x * 4)


def test_results_belong_to_the_caller(make, rows):
    runner, x = make(), rows(4)
    first = runner.run({"x": x})["y"]
    runner.run({"x": rows(4)})
    assert np.array_equal(first, x * 4)


def test_a_shape_that_comes_again_is_launched_as_one_graph(make, rows):
    runner = make()
    for _ in range(5):
        x = rows(4)
        assert np.array_equal(runner.run({"x": x})["y"], x * 4)
    assert len(make.trt.engine.enqueued) == 3, "a launch, one to warm up, the recording"
    for count in (4000, 4, 4000, 4, 4, 4000):  # moves the memory: what was recorded is void
        x = rows(count)
        assert np.array_equal(runner.run({"x": x})["y"], x * 4)


def test_predict_splits_at_the_profiles_largest_batch(make, rows):
    runner = make()
    model = EngineModel(make.bundle, runner)
    assert runner.batch_range == (1, LARGEST)
    x = rows(LARGEST + 10)
    assert np.array_equal(model.predict(x, batch_size=len(x), verbose=0), x * 4)
    assert np.array_equal(model.predict(x, batch_size=1000, verbose=0), x * 4)


def test_profiles_are_chosen_by_shape(make, rows):
    runner = make(profiles=((1, 1, 1), (8, 16, 32)))
    model = EngineModel(make.bundle, runner)
    for count in (1, 3, 32, 70):
        x = rows(count)
        assert np.array_equal(model.predict(x, batch_size=count, verbose=0), x * 4)


def test_an_output_whose_size_depends_on_the_data(make, rows):
    runner = make("yz")
    for count in (5, 400, 400, 400, 3):
        x = rows(count)
        for result in runner.run_many([{"x": x}, {"x": -x}]):
            assert np.array_equal(result["z"], x[x[:, 0] > 0])
            assert np.array_equal(result["y"], x * 4)
            x = -x


def test_eight_threads_do_not_mix_their_rows(make, rng):
    runner, wrong = make(), []
    data = [rng.normal(size=(1000 + 500 * seed, 3)).astype(np.float32) for seed in range(8)]

    def work(x):
        for i in range(100):
            feeds = [{"x": x + i}, {"x": x - i}, {"x": x}]
            results = runner.run_many(feeds) if i % 2 else map(runner.run, feeds)
            if not all(np.array_equal(r["y"], f["x"] * 4) for r, f in zip(results, feeds, strict=True)):
                wrong.append(len(x))

    threads = [threading.Thread(target=work, args=(x,)) for x in data]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == []


def test_a_shape_outside_the_profile_is_named(make, rows):
    runner, x = make(), rows(2)
    with pytest.raises(
        RunnerError, match=r"does not take these shapes. Received: \{'x': \(0, 3\)\}.*\(1, 3\)"
    ):
        runner.run({"x": rows(0)})
    assert np.array_equal(runner.run({"x": x})["y"], x * 4)


def free_memory():
    with Device():
        return bindings().cuMemGetInfo()[1]


def test_closing_gives_the_memory_back(make, rows):
    keep = Device()  # else the context itself comes and goes
    before = free_memory()
    for _ in range(3):
        runner = make()
        for _ in range(3):
            runner.run({"x": rows(LARGEST)})
        runner.close()
        runner.close()
    assert before - free_memory() < 32 << 20
    keep.close()


def test_refused_memory_leaves_a_working_runner(make, rows):
    runner, x = make(profiles=((1, 8, LARGEST),)), rows(8)
    runner.run({"x": x})
    held = []
    with Device():
        for size in (1 << 30, 1 << 24, 1 << 20):
            with suppress(RunnerError):
                while True:
                    held.append(Buffer(size))
    try:
        with pytest.raises(RunnerError, match="cuMemAlloc failed: CUDA_ERROR_OUT_OF_MEMORY"):
            for count in range(100, 60_000, 5000):
                list(runner.run_many({"x": rows(count + i)} for i in range(4)))
    finally:
        with Device():
            for buffer in held:
                buffer.close()
    for _ in range(3):
        assert np.array_equal(runner.run({"x": x})["y"], x * 4)


def test_a_broken_plan_says_what_tensorrt_logged(make):
    make()
    with pytest.raises(EngineError, match=r"cannot load the plan here:\n  the plan is broken"):
        TensorRTRunner(b"brok", make.bundle.manifest)


def test_too_little_memory_is_a_clear_error():
    with Device(), pytest.raises(RunnerError, match="cuMemAlloc failed: CUDA_ERROR_OUT_OF_MEMORY"):
        Buffer(1 << 50)


def test_the_current_context_is_left_as_it_was():
    def current():
        return int(call("cuCtxGetCurrent"))

    before = current()
    device = Device()
    with device:
        Stream().close()
        assert current()
    assert current() == before
    device.close()


def test_the_last_gpu_can_be_taken_by_its_number(make, rows, monkeypatch, tmp_path):
    number = len(gpus()) - 1
    use(monkeypatch, stand_in())
    bundle = bundle_of(tmp_path / "last")
    with TensorRTRunner(b"plan", bundle.manifest, options=TensorRTOptions(device=number)) as runner:
        x = rows(50)
        assert np.array_equal(runner.run({"x": x})["y"], x * 4)
        y = runner.run_on_device({"x": x})["y"]
        assert (y.device, np.array_equal(y.numpy(), x * 4)) == (number, True)


def libraries():
    """(name, function that puts an array on the GPU, function that takes one over)."""

    def torch():
        import torch

        return lambda a: torch.from_numpy(a).cuda(), lambda a: torch.from_dlpack(a).cpu().numpy()

    def cupy():
        import cupy

        return cupy.asarray, lambda a: cupy.from_dlpack(a).get()

    def jax():
        import jax

        return (lambda a: jax.device_put(a, jax.devices("gpu")[0])), lambda a: np.asarray(
            jax.numpy.from_dlpack(a)
        )

    def interface():
        cupy = pytest.importorskip("cupy")

        class Only:
            def __init__(self, array):
                self.array, self.shape = cupy.asarray(array), array.shape
                self.__cuda_array_interface__ = self.array.__cuda_array_interface__

        return Only, lambda a: cupy.asarray(a).get()

    return {"torch": torch, "cupy": cupy, "jax": jax, "interface": interface}


@pytest.mark.parametrize("library", list(libraries()))
def test_arrays_of_other_libraries_are_taken_and_given_without_a_copy(make, rows, library, monkeypatch):
    if library != "interface":
        pytest.importorskip(library)
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    to_gpu, taken = libraries()[library]()
    runner = make()
    model = EngineModel(make.bundle, runner)
    for count in (7, 7, 7, 5000):
        x = rows(count)
        there = to_gpu(x)
        found = runner.device_array(there)
        if library == "torch":
            assert found.pointer == there.data_ptr()
        if library == "cupy":
            assert found.pointer == there.data.ptr
        assert np.array_equal(model.predict_on_batch(there), x * 4)
        assert np.array_equal(model.predict(there, batch_size=count // 2, verbose=0), x * 4)
        result = model.predict_on_batch(there, on_device=True)
        assert np.array_equal(taken(result), x * 4)
        assert np.array_equal(result.numpy(), x * 4)
        assert np.array_equal(model.predict_on_batch(result), x * 16), "results are taken, too"


def test_work_that_pytorch_has_only_queued_is_waited_for(make, rows):
    torch = pytest.importorskip("torch")
    runner = make()
    model = EngineModel(make.bundle, runner)
    x = rows(LARGEST)
    for _ in range(10):
        there = torch.from_numpy(x).cuda()
        with torch.cuda.stream(torch.cuda.Stream()):
            torch.cuda._sleep(20_000_000)
            later = there * 2
            assert np.array_equal(model.predict_on_batch(later), x * 8)


def test_a_source_may_write_its_next_batch_over_the_last_one(make, rows):
    torch = pytest.importorskip("torch")
    runner = make(layers=50, spin=1000)
    model = EngineModel(make.bundle, runner)
    there = torch.empty((LARGEST, 3), device="cuda")
    batches = [rows(LARGEST) for _ in range(10)]

    def source():
        for x in batches:
            there.copy_(torch.from_numpy(x))
            yield there

    assert np.array_equal(model.predict(source(), verbose=0), np.concatenate(batches) * 4)


def test_arrays_that_cannot_be_taken_are_named(make, rows):
    torch = pytest.importorskip("torch")
    runner = make()
    model = EngineModel(make.bundle, runner)
    x = torch.from_numpy(rows(6)).cuda()
    with pytest.raises(InputError, match="Input `x`: An array on the GPU must be C-contiguous"):
        model.predict_on_batch(torch.stack([x, x], dim=2)[:, :, 0])
    with pytest.raises(
        InputError, match=r"Input `x` is taken from the GPU as it is, in float32. Received: float64"
    ):
        model.predict_on_batch(x.double())
    with pytest.raises(InputError, match=r"Input `x` takes the shape .* Received: .* \(6, 4\)"):
        model.predict_on_batch(torch.zeros((6, 4), device="cuda"))
    assert np.array_equal(model.predict_on_batch(x.cpu()), x.cpu().numpy() * 4), "from the host as ever"


def test_results_on_the_gpu_outlive_the_engine(make, rows):
    torch = pytest.importorskip("torch")
    runner, x = make(), rows(100)
    taken = torch.from_dlpack(runner.run_on_device({"x": x})["y"])
    runner.close()
    other = [torch.full((100, 3), 7.0, device="cuda") for _ in range(10)]
    assert np.array_equal(taken.cpu().numpy(), x * 4)
    assert len(other) == 10


def test_pytorch_in_the_same_process_is_not_disturbed(make, rows):
    torch = pytest.importorskip("torch")
    runner = make()
    held = torch.arange(10, device="cuda")
    x = rows(7)
    assert np.array_equal(runner.run({"x": x})["y"], x * 4)
    assert held.sum().item() == 45
    runner.close()
    assert (held * 2).sum().item() == 90


def test_calls_keep_nothing_on_the_gpu(make, rows):
    runner = make()
    for count in (900, 900, 900, 5, 5, 5):
        runner.run({"x": rows(count)})
    before, slots = free_memory(), len(runner._slots.all)
    for _ in range(500):
        list(runner.run_many({"x": rows(count)} for count in (5, 900, 5, 30)))
        runner.run_on_device({"x": rows(900)})
    assert before - free_memory() < 8 << 20
    assert len(runner._slots.all) <= slots + tensorrt.UNDER_WAY


def test_the_real_lean_runtime_refuses_a_broken_plan():
    trt = pytest.importorskip("tensorrt_lean")
    with pytest.raises(EngineError, match=r"tensorrt_lean .* cannot load the plan here:\n  "):
        _trt.deserialize(trt, b"no plan at all" * 100, allow_host_code=False)
