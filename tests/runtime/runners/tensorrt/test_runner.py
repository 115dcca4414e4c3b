"""What the TensorRT runner does with slots, memory, streams, contexts and graphs.

The engine is a stand-in and the driver one without a GPU, which runs work as late as it may; tests/gpu has
the same engine on a real one.
"""

import ctypes
import threading
from enum import IntEnum

import numpy as np
import pytest

from keras_trt.errors import EngineError, InputError, RunnerError
from keras_trt.runtime import EngineModel
from keras_trt.runtime.runners.tensorrt import _cuda, contexts, slots
from keras_trt.runtime.runners.tensorrt import runner as tensorrt
from keras_trt.runtime.runners.tensorrt.runner import TensorRTRunner
from tests.runtime.runners.stand_in import bundle_of, stand_in, use


@pytest.mark.parametrize("cuda_graph", [False, True])
def test_rows_go_to_the_gpu_and_come_back(make, rows, cuda_graph):
    runner = make(cuda_graph=cuda_graph)
    for count in (1, 5, 1000, 5, 5, 5, 1, 1000, 1, 5):  # memory grows, then is used again
        x = rows(count)
        assert np.array_equal(runner.run({"x": x})["y"], x * 4)


@pytest.mark.parametrize("cuda_graph", [False, True])
def test_many_batches_come_in_order_and_right(make, rows, cuda_graph):
    runner = make(cuda_graph=cuda_graph)
    batches = [rows(count) for count in (4, 4, 4, 4, 9, 4, 4, 100, 4, 1, 4, 4)]
    given = [{"x": x.copy()} for x in batches]

    def feeds():
        for feed in given:
            yield feed
            feed["x"][...] = np.nan  # the caller uses the array for something else

    results = [result["y"] for result in runner.run_many(feeds())]
    assert [len(y) for y in results] == [len(x) for x in batches]
    for x, y in zip(batches, results, strict=True):
        assert np.array_equal(y, x * 4)


def test_a_few_batches_are_under_way_before_the_first_is_waited_for(make, rows):
    runner, asked = make(), []
    results = runner.run_many({"x": asked.append(i) or rows(2)} for i in range(10))
    next(results)
    assert len(asked) == tensorrt.UNDER_WAY + 1
    results.close()


def test_a_failing_batch_leaves_a_working_runner(make, rows):
    runner = make()
    make.trt.engine.fails = lambda shape: shape[0] == 7
    for _ in range(10):
        results = runner.run_many({"x": rows(count)} for count in (2, 2, 7, 2))
        with pytest.raises(RunnerError, match="TensorRT failed to run the engine"):
            list(results)
    x = rows(2)
    assert np.array_equal(runner.run({"x": x})["y"], x * 4)
    assert len(runner._slots.all) == len(runner._slots.idle) <= tensorrt.UNDER_WAY


def test_an_error_of_the_source_and_an_early_end_leave_no_slot_out(make, rows):
    runner = make()

    def source():
        yield {"x": rows(2)}
        yield {"x": rows(2)}
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        list(runner.run_many(source()))
    results = runner.run_many({"x": rows(2)} for _ in range(9))
    next(results)
    results.close()
    assert len(runner._slots.all) == len(runner._slots.idle) <= tensorrt.UNDER_WAY + 1


def test_closing_beside_an_unfinished_generator_frees_all(make, rows):
    runner = make()
    results = runner.run_many({"x": rows(2)} for _ in range(9))
    next(results)
    runner.close()
    with pytest.raises(RunnerError, match="The engine is closed"):
        next(results)


def test_threads_do_not_mix_their_rows(make, rng):
    runner, wrong = make(), []
    data = [rng.normal(size=(20 + seed, 3)).astype(np.float32) for seed in range(8)]

    def work(x):
        for i in range(25):
            feeds = [{"x": x + i}, {"x": x - i}]
            results = runner.run_many(feeds) if i % 2 else map(runner.run, feeds)
            if not all(np.array_equal(r["y"], f["x"] * 4) for r, f in zip(results, feeds, strict=True)):
                wrong.append(len(x))

    threads = [threading.Thread(target=work, args=(x,)) for x in data]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == []
    assert len(runner._slots.all) == len(runner._slots.idle) <= slots.MOST_IDLE, (
        "what many threads needed is given back"
    )


def test_contexts_share_the_memory_for_activations(make, rows):
    runner = make()
    list(runner.run_many({"x": rows(2)} for _ in range(9)))
    made = make.trt.engine.contexts
    assert len(made) > 3
    assert len({context.memory for context in made if context.memory}) == 1


def test_a_shape_that_comes_again_is_recorded_once(make, rows):
    runner = make()
    for _ in range(6):
        x = rows(4)
        assert np.array_equal(runner.run({"x": x})["y"], x * 4)
    runner.run({"x": rows(3)})
    assert make.trt.engine.enqueued == [(4, 3)] * 3 + [(3, 3)], "a launch, one to warm up, the recording"
    runner.run({"x": rows(4000)})  # moves the memory: what was recorded is void
    x = rows(4)
    assert np.array_equal(runner.run({"x": x})["y"], x * 4)
    assert len(make.trt.engine.enqueued) == 7, "recorded anew"


def test_only_the_shapes_used_last_keep_their_graphs(make, rows, cuda):
    runner = make()
    runner.run({"x": rows(50)})
    for count in range(1, 2 * contexts.SHAPES_REMEMBERED):
        for _ in range(3):
            x = rows(count)
            assert np.array_equal(runner.run({"x": x})["y"], x * 4)
        for _ in range(3):
            runner.run({"x": rows(40)})  # in use all the time
    assert len(cuda.graphs) == contexts.SHAPES_REMEMBERED
    enqueued = make.trt.engine.enqueued
    assert enqueued.count((40, 3)) == 3, "recorded once, and never dropped"


def test_a_context_that_was_recorded_sees_no_other_shape(make, rows):
    runner = make()
    for count in (9, 4, 9, 4, 9, 4, 7, 4, 9):
        x = rows(count)
        assert np.array_equal(runner.run({"x": x})["y"], x * 4)
    told = sorted(len(set(context.told)) for context in make.trt.engine.contexts)
    assert told == [1, 1, 3]


def test_an_engine_that_cannot_be_recorded_is_launched(make, rows, cuda):
    runner, cuda.refuse_capture = make(), True
    for _ in range(4):
        x = rows(4)
        assert np.array_equal(runner.run({"x": x})["y"], x * 4)
    assert not cuda.graphs
    assert len(make.trt.engine.enqueued) == 5, "one attempt"


def test_the_profile_is_chosen_by_shape(make, rows):
    runner = make(profiles=((1, 1, 1), (8, 16, 32), (8, 64, 64)))
    assert runner.batch_range == (1, 64)
    for count, profile in ((1, 0), (8, 1), (30, 1), (33, 2), (64, 2)):
        x = rows(count)
        assert np.array_equal(runner.run({"x": x})["y"], x * 4)
        used = [c for c in make.trt.engine.contexts if c.shape == x.shape]
        assert {c.active_optimization_profile for c in used} == {profile}
    with pytest.raises(
        RunnerError, match=r"does not take these shapes. Received: \{'x': \(3, 3\)\}.*\(1, 3\)"
    ):
        runner.run({"x": rows(3)})


def test_predict_pads_to_the_next_profile_and_splits_at_the_largest(make, rows):
    runner = make(profiles=((1, 1, 1), (8, 16, 32)))
    model = EngineModel(make.bundle, runner)
    for count in (1, 3, 8, 33, 70, 67):
        x = rows(count)
        assert np.array_equal(model.predict(x, batch_size=50, verbose=0), x * 4)
        assert np.array_equal(model(x), x * 4)


def test_predict_of_many_batches_with_and_without_callbacks(make, rows):
    runner = make()
    model = EngineModel(make.bundle, runner)
    x, seen = rows(100), []

    class Watch:
        def __getattr__(self, name):
            return lambda *a, **k: seen.append((name, *a[:1])) if "batch" in name else None

    assert np.array_equal(model.predict(x, batch_size=30, verbose=0), x * 4)
    assert np.array_equal(model.predict(x, batch_size=30, verbose=0, callbacks=[Watch()]), x * 4)
    hooks = [f"on_predict_batch_{end}" for end in ("begin", "end")]
    assert seen == [(hook, step) for step in range(4) for hook in hooks]


def test_an_output_whose_size_depends_on_the_data(make, rows):
    runner = make("yz")
    for count in (5, 40, 40, 40, 3):
        x = rows(count)
        found = runner.run({"x": x})
        assert np.array_equal(found["y"], x * 4)
        assert np.array_equal(found["z"], x[x[:, 0] > 0])
    nothing = -np.abs(rows(4))
    assert runner.run({"x": nothing})["z"].shape == (0, 3)


def test_refused_memory_leaves_a_working_runner(make, rows, cuda):
    runner = make()
    x = rows(10)
    runner.run({"x": x})
    cuda.limit = cuda.used + 1000
    for _ in range(3):
        with pytest.raises(RunnerError, match="cuMemAlloc failed: CUDA_ERROR_OUT_OF_MEMORY"):
            runner.run({"x": rows(10_000)})
        assert np.array_equal(runner.run({"x": x})["y"], x * 4)
    with pytest.raises(RunnerError, match="OUT_OF_MEMORY"):
        list(runner.run_many({"x": rows(60)} for _ in range(3)))
    assert np.array_equal(runner.run({"x": x})["y"], x * 4)


def test_where_memory_is_short_fewer_batches_are_under_way(make, rows, cuda):
    runner = make()
    batches = [rows(1000) for _ in range(12)]
    cuda.limit = cuda.used + 2 * 24_000 + 1000  # in and out, for two slots
    results = runner.run_many({"x": x} for x in batches)
    for x, result in zip(batches, results, strict=True):
        assert np.array_equal(result["y"], x * 4)
        assert len(runner._slots.all) <= 3
    x = rows(1500)
    assert np.array_equal(runner.run({"x": x})["y"], x * 4), "the idle slot's memory is freed for it"
    with pytest.raises(RunnerError, match="OUT_OF_MEMORY"):
        runner.run({"x": rows(3000)})


def test_memory_refused_to_an_output_of_open_size_is_named(make, rows, cuda):
    runner = make("yz")
    x = np.abs(rows(10))
    runner.run({"x": x})
    cuda.limit, big = cuda.used + 2500, np.abs(rows(100))
    with pytest.raises(RunnerError, match="OUT_OF_MEMORY"):
        runner.run({"x": big})
    cuda.limit = 1 << 26
    assert np.array_equal(runner.run({"x": big})["z"], big)


def test_a_refused_engine_leaves_nothing(make, cuda, monkeypatch):
    cuda.limit = 100
    with pytest.raises(RunnerError, match="OUT_OF_MEMORY"):
        make()
    assert (cuda.used, cuda.retained) == (0, 0)


def test_a_broken_plan_says_what_tensorrt_logged(make, cuda):
    manifest = make() and make.bundle.manifest
    with pytest.raises(EngineError, match=r"cannot load the plan here:\n  the plan is broken"):
        TensorRTRunner(b"brok", manifest)


def test_a_plan_of_another_model_is_named(make, tmp_path):
    make()
    other = bundle_of(tmp_path / "other", "yz").manifest
    with pytest.raises(RunnerError, match=r"not of this model.*\['x', 'y'\], expected: \['x', 'y', 'z'\]"):
        TensorRTRunner(b"plan", other)


def test_close_waits_and_use_after_it_is_an_error(make, rows):
    runner, inside, go = make(), threading.Event(), threading.Event()

    def feeds():
        yield {"x": rows(2)}

    engine = make.trt.engine
    engine.fails = lambda shape: inside.set() or not go.wait(10)
    x, found = rows(2), []
    user = threading.Thread(target=lambda: found.append(runner.run({"x": x})["y"]))
    user.start()
    assert inside.wait(10)
    closer = threading.Thread(target=runner.close)
    closer.start()
    closer.join(0.05)
    assert closer.is_alive()
    go.set()
    user.join()
    closer.join()
    assert np.array_equal(found[0], x * 4)
    with pytest.raises(RunnerError, match="The engine is closed"):
        runner.run({"x": x})
    with pytest.raises(RunnerError, match="The engine is closed"):
        next(runner.run_many(feeds()))


def test_another_gpu_is_taken_by_its_number(make, rows, cuda):
    runner = make(device=1)
    seen = set()
    alloc = cuda.cuMemAlloc
    cuda.cuMemAlloc = lambda size: seen.add(cuda.stack.all[-1]) or alloc(size)
    runner.run({"x": rows(2)})
    assert seen == {1}
    assert cuda.stack.all == [], "the caller's context is as it was"


def test_results_stay_on_the_gpu_where_asked(make, rows, cuda):
    runner = make("yz")
    x = rows(6)
    found = [runner.run_on_device({"x": x}) for _ in range(3)]
    runner.run({"x": rows(6)})
    for result in found:
        assert np.array_equal(result["y"].numpy(), x * 4)
        assert np.array_equal(result["z"].numpy(), x[x[:, 0] > 0])
    before = cuda.used
    size = found[0]["y"].nbytes
    del found[1:], result
    assert cuda.used <= before - size, "given back with the last reference"
    y = found[0].pop("y")
    runner.close()
    assert np.array_equal(y.numpy(), x * 4), "also after the engine"


def test_a_source_may_write_its_next_batch_over_the_last_one_on_the_gpu(make, rows):
    runner = make()
    there = runner.run_on_device({"x": rows(6)})["y"]
    batches = [rows(6) for _ in range(9)]

    def feeds():
        for x in batches:
            ctypes.memmove(there.pointer, x.ctypes.data, x.nbytes)
            yield {"x": there}

    for x, result in zip(batches, runner.run_many(feeds()), strict=True):
        assert np.array_equal(result["y"], x * 4)


def test_results_of_parts_of_batches_do_not_stay_on_the_gpu(make, rows):
    runner = make(profiles=((4, 8, 8),))
    model = EngineModel(make.bundle, runner)
    x = rows(8)
    assert np.array_equal(model.predict_on_batch(x, on_device=True).numpy(), x * 4)
    for count in (3, 9):
        with pytest.raises(InputError, match=f"Received: {count} rows; the engine takes 4 to 8"):
            model.predict_on_batch(rows(count), on_device=True)


def test_a_thousand_calls_keep_nothing(make, rows, cuda):
    runner = make()

    def held():
        return (
            cuda.used,
            cuda.pinned,
            len(cuda.memory),
            len(cuda.events),
            len(cuda.graphs),
            len(cuda.streams),
        )

    for count in (9, 9, 9, 5, 5, 5):
        runner.run({"x": rows(count)})
    before = held()
    for i in range(1000):
        runner.run({"x": rows(5 if i % 3 else 9)})
    assert held() == before


@pytest.fixture
def broken(monkeypatch):
    """A GPU on which a kernel has failed: CUDA answers nearly every call with that."""

    def begin():
        code = IntEnum("Result", {"CUDA_ERROR_ILLEGAL_ADDRESS": 700}).CUDA_ERROR_ILLEGAL_ADDRESS

        class Broken:
            def __init__(self, cuda):
                self.cuda = cuda

            def __getattr__(self, name):
                function = getattr(self.cuda, name)
                if not name.startswith("cu") or name.startswith("cuCtx"):
                    return function
                return lambda *_: (code, None)

        made = Broken(_cuda.bindings())
        monkeypatch.setattr(_cuda, "bindings", lambda: made)

    return begin


def test_a_gpu_that_fails_for_good_says_so_each_time_and_the_engine_can_be_closed(
    cuda, monkeypatch, tmp_path, rows, broken
):
    use(monkeypatch, stand_in())
    bundle = bundle_of(tmp_path / "b")
    model = EngineModel(bundle, TensorRTRunner(b"plan", bundle.manifest))
    model.predict(rows(3), verbose=0)
    broken()
    for _ in range(3):
        with pytest.raises(RunnerError, match=r"CUDA_ERROR_ILLEGAL_ADDRESS \(700\)"):
            model.predict(rows(3), verbose=0)
        with pytest.raises(RunnerError, match="CUDA_ERROR_ILLEGAL_ADDRESS"):
            model.predict(rows(64), batch_size=4, verbose=0)
    assert cuda.stack.all == []
    model.close()
    model.close()
    with pytest.raises(RunnerError, match="The engine is closed"):
        model.predict(rows(3), verbose=0)
