"""`ray.predict_dataset` on a local Ray of two CPUs. Run by `tox -e ray`."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import pytest

import keras_trt
from tests.small_onnx import conv_model, save_bundle, two_in_two_out

ray = pytest.importorskip("ray", reason="Ray is not installed; `tox -e ray` runs it")
pytest.importorskip("ray.data", reason="Ray Data is not installed; `tox -e ray` runs it")

from keras_trt.errors import BundleError, InputError  # noqa: E402

pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"
)
ROWS = 400


@pytest.fixture(scope="module", autouse=True)
def _cluster():
    """Two CPUs, one store of 80 MB."""
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=80 * 10**6, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield
    ray.shutdown()


@pytest.fixture
def bundle(tmp_path):
    return save_bundle(tmp_path / "b", conv_model(int8=False))


def images(rows=ROWS):
    return np.random.default_rng(0).normal(size=(rows, 4, 8, 8)).astype("float32")


def numbered(x):
    return ray.data.from_items([{"id": i, "x": row} for i, row in enumerate(x)])


def in_order(dataset, column):
    found = sorted(dataset.take_all(), key=lambda row: row["id"])
    assert [row["id"] for row in found] == list(range(len(found)))
    return np.stack([row[column] for row in found])


def test_two_actors_on_two_cpus_give_what_one_predict_gives(bundle):
    x = images()
    found = in_order(keras_trt.ray.predict_dataset(numbered(x), bundle, keep=["id"], actors=2), "y")
    np.testing.assert_array_equal(found, keras_trt.load(bundle, verbose=0).predict(x, verbose=0))


def test_columns_by_input_name_and_outputs_by_theirs(tmp_path):
    path = save_bundle(tmp_path / "two", two_in_two_out())
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(50, 3)).astype("float32"), rng.integers(0, 9, (50, 3)).astype("int32")
    rows = [{"id": i, "left": a[i], "b": b[i]} for i in range(50)]
    made = keras_trt.ray.predict_dataset(
        ray.data.from_items(rows), path, columns={"a": "left"}, keep=["id"], batch_size=7
    )
    np.testing.assert_allclose(in_order(made, "total"), a + b, rtol=1e-6)
    np.testing.assert_allclose(in_order(made, "product"), a * b, rtol=1e-6)


def test_the_only_column_is_the_only_input(bundle):
    dataset = ray.data.from_numpy(images(40))
    assert keras_trt.ray.predict_dataset(dataset, bundle).count() == 40


def test_an_actor_that_is_killed_is_replaced_and_no_row_is_lost(bundle, tmp_path):
    """The first batch that holds row 200 kills the process that computes it, once."""
    done, x = tmp_path / "killed", images()

    def kill_once(batch):
        if 200 in batch["id"] and not done.exists():
            done.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return batch

    import keras_trt.ray as module

    class Dying(module._Predictor):
        def __call__(self, batch):
            return super().__call__(kill_once(batch))

    dataset = numbered(x)
    original, module._Predictor = module._Predictor, Dying
    try:
        made = keras_trt.ray.predict_dataset(dataset, bundle, keep=["id"], actors=2)
    finally:
        module._Predictor = original
    found = in_order(made, "y")
    assert done.exists()
    np.testing.assert_array_equal(found, keras_trt.load(bundle, verbose=0).predict(x, verbose=0))


def test_two_actors_work_at_the_same_time(bundle):
    """Of batches that take 1 s, long beside what Ray does on a busy machine, at least 1.6 go on at once."""
    import keras_trt.ray as module

    class Sleeping(module._Predictor):
        def __call__(self, batch):
            start = time.time()
            time.sleep(1.0)
            made = super().__call__(batch)
            spent = {"start": start, "end": time.time(), "actor": os.getpid()}
            return {**made, **{name: np.full(len(made["y"]), value) for name, value in spent.items()}}

    original, module._Predictor = module._Predictor, Sleeping
    try:
        made = keras_trt.ray.predict_dataset(numbered(images()), bundle, keep=["id"], batch_size=20, actors=2)
    finally:
        module._Predictor = original
    batches = {(row["actor"], row["start"], row["end"]) for row in made.take_all()}
    actors = {actor for actor, _, _ in batches}
    assert len(actors) == 2
    begin = max(min(start for actor, start, _ in batches if actor == one) for one in actors)
    end = min(max(end for actor, _, end in batches if actor == one) for one in actors)
    busy = sum(max(0.0, min(e, end) - max(s, begin)) for _, s, e in batches)
    assert busy / (end - begin) >= 1.6


def test_a_dataset_ten_times_the_object_store_goes_through_it(bundle):
    """800 MB through 80 MB; what comes out is one number a row."""

    def made(batch):
        return {"x": np.ones((len(batch["id"]), 4, 8, 8), "float32") * batch["id"][:, None, None, None]}

    rows = 800 * 10**6 // (4 * 8 * 8 * 4)
    dataset = ray.data.range(rows, override_num_blocks=200).map_batches(made, batch_size=1024)
    scores = keras_trt.ray.predict_dataset(dataset, bundle, batch_size=1024)
    sums = scores.map_batches(lambda batch: {"n": np.ones(len(batch["y"]))}, batch_size=1024)
    assert sums.sum("n") == rows


def test_actors_that_would_leave_no_cpu_to_read_with_are_refused(bundle):
    text = (
        r"2 actors of 1 CPUs leave none of the cluster's 2 for the tasks .* at most 0.5. Received: num_cpus=1"
    )
    with pytest.raises(InputError, match=text):
        keras_trt.ray.predict_dataset(numbered(images(2)), bundle, actors=2, num_cpus=1)


def test_wrong_arguments(bundle, tmp_path):
    dataset = numbered(images(2))
    wrong = [
        ({"dataset": [1]}, "`dataset` must be a ray.data.Dataset"),
        ({"columns": {"z": "x"}}, r"`columns` names unknown inputs \['z'\]; the bundle's are \['x'\]"),
        ({"columns": {"x": "image"}}, r"has no columns \['image'\]; it has \['id', 'x'\]"),
        ({"keep": ["name"]}, r"has no columns \['name'\]"),
        ({"keep": "id"}, "`keep` must be a list of columns"),
        ({"actors": 0}, "`actors` must be None or a whole number >= 1"),
        ({"num_gpus": -1}, "`num_gpus` must be a number >= 0"),
        ({"runner": "cpu"}, "`runner` must be one of"),
    ]
    for given, text in wrong:
        with pytest.raises(InputError, match=text):
            keras_trt.ray.predict_dataset(**{"dataset": dataset, "bundle": bundle, **given})
    with pytest.raises(BundleError, match="No bundle at"):
        keras_trt.ray.predict_dataset(dataset, tmp_path / "absent")
