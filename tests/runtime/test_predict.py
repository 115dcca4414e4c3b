import numpy as np
import pytest

from keras_trt._base.tensors import TensorSpec
from keras_trt.errors import InputError, RunnerError
from keras_trt.runtime import Runner
from keras_trt.runtime.predict import fill, join, run_batches, run_on_device, run_rows

X = (TensorSpec("x", ("batch", 2), "float32"),)
Y = (TensorSpec("y", ("batch", 2), "float32"), TensorSpec("count", (1,), "int64"))


class Doubler(Runner):
    """Doubles its rows, and counts how many it saw."""

    name = "doubler"

    def __init__(self, low, high):
        self.batch_range, self.seen = (low, high), []

    def run(self, feeds):
        low, high = self.batch_range
        assert low <= len(feeds["x"]) <= (high or 10**9)
        assert feeds["x"].dtype == np.float32
        self.seen.append(len(feeds["x"]))
        return {"y": feeds["x"] * 2, "count": np.array([len(feeds["x"])])}


@pytest.mark.parametrize(
    ("rows", "low", "high", "seen"),
    [
        (5, 1, None, [5]),
        (5, 1, 8, [5]),
        (5, 1, 2, [2, 2, 1]),
        (5, 4, 4, [4, 4]),
        (1, 4, 4, [4]),
        (5, 2, 3, [3, 2]),
        (4, 2, 3, [3, 2]),
    ],
)
def test_any_number_of_rows_is_split_and_padded(rows, low, high, seen):
    x = np.random.default_rng(0).normal(size=(rows, 2))
    runner = Doubler(low, high)
    found = run_rows(runner, {"x": x}, X, Y)
    assert runner.seen == seen
    assert np.array_equal(found["y"], x.astype(np.float32) * 2)
    assert found["count"].tolist() == seen, "an output without a batch axis is not cut"


def test_a_scalar_output_cannot_be_joined():
    spec = TensorSpec("mean", (), "float32")
    assert join([np.float32(1)], spec) == 1
    with pytest.raises(InputError, match="Output `mean` .* cannot be joined over several batches"):
        join([np.float32(1)] * 2, spec)


def test_an_output_with_the_batch_on_another_axis_is_named_where_it_cannot_be_joined():
    spec = TensorSpec("turned", (3, "batch"), "float32")
    with pytest.raises(InputError, match=r"Output `turned` \(3, 'batch'\).*shape \(3, 2\), \(3, 1\)"):
        join([np.ones((3, 2)), np.ones((3, 2)), np.ones((3, 1))], spec)


def test_structures_are_filled():
    arrays = {"a": 1, "b": 2}
    assert fill("a", arrays) == 1
    assert fill(["a"], arrays) == [1]
    assert fill({"x": "a", "y": ["b", {"z": "a"}]}, arrays) == {"x": 1, "y": [2, {"z": 1}]}


class Flattener(Doubler):
    """An output with three entries a row."""

    def run(self, feeds):
        return {"flat": np.repeat(super().run(feeds)["y"], 3, axis=0)}


FLAT = (TensorSpec("flat", ("flat_axis_0", 2), "float32"),)


def test_an_output_without_the_batch_is_whole_when_nothing_is_split_or_padded():
    x = np.ones((5, 2), np.float32)
    assert run_rows(Flattener(1, None), {"x": x}, X, FLAT)["flat"].shape == (15, 2)
    assert run_rows(Flattener(5, 5), {"x": x}, X, FLAT)["flat"].shape == (15, 2)


@pytest.mark.parametrize(
    ("rows", "low", "high", "said"),
    [(5, 1, 4, "1 to 4"), (5, 8, 8, "8"), (8, 4, 4, "4"), (1, 2, None, "2 or more")],
)
def test_an_output_without_the_batch_is_neither_split_nor_padded(rows, low, high, said):
    text = f"output `flat` .* is not the batch.*Received: {rows} rows; the engine takes {said}"
    with pytest.raises(InputError, match=text):
        run_rows(Flattener(low, high), {"x": np.ones((rows, 2), np.float32)}, X, FLAT)


class Ahead(Doubler):
    """Takes three batches ahead of its results."""

    def run_many(self, batches):
        held = []
        for feeds in batches:
            held.append(self.run(feeds))
            if len(held) > 3:
                yield held.pop(0)
        yield from held


@pytest.mark.parametrize("kind", [Doubler, Ahead])
def test_batches_come_back_whole_and_in_order_however_they_are_split(kind, rng):
    batches = [rng.normal(size=(count, 2)).astype(np.float32) for count in (5, 1, 2, 7, 3, 3, 20, 1)]
    runner = kind(2, 3)
    results = list(run_batches(runner, ({"x": x} for x in batches), X, Y))
    assert [len(result["y"]) for result in results] == [len(x) for x in batches]
    for x, result in zip(batches, results, strict=True):
        assert np.array_equal(result["y"], x * 2)
        assert sum(result["count"]) >= len(x)


def test_a_batch_without_rows_is_refused():
    with pytest.raises(InputError, match="holds no row to predict"):
        run_rows(Doubler(1, None), {"x": np.zeros((0, 2))}, X, Y)


def test_a_runner_on_the_cpu_has_no_results_on_a_gpu():
    with pytest.raises(RunnerError, match="doubler computes on the CPU"):
        run_on_device(Doubler(1, None), {"x": np.zeros((2, 2))}, X, Y)
    with pytest.raises(InputError, match="for whole batches only. Received: 2 rows; the engine takes 4"):
        run_on_device(Doubler(4, 4), {"x": np.zeros((2, 2))}, X, Y)
