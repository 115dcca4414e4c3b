"""Calibration over shards, by several workers, is calibration in one pass."""

from __future__ import annotations

import numpy as np
import pytest

from keras_trt import calibrate, quantize_model
from keras_trt.errors import InputError, ModelError
from keras_trt.quantize import Statistics, observe
from keras_trt.quantize.inventory import inventory
from tests.nets import dense_net

# Small whole numbers: sums of their products are exact, in whatever order a batch's size makes them.
X = np.random.default_rng(0).integers(-8, 9, (320, 8)).astype("float32")
X[::9] *= 16
X[-1] = 512


def net(k):
    model = dense_net(k, 8, 12, 4)
    rng = np.random.default_rng(1)
    whole = [rng.integers(-4, 5, w.shape) if w.ndim == 2 else w for w in model.get_weights()]
    model.set_weights(whole)
    return quantize_model(model, recover=None, verbose=0)


def other_net(k):
    return k.Sequential([k.Input((8,)), k.layers.Dense(3, name="c")])


def ranges(model):
    return {(t.layer, t.name): t.amax for t in inventory(model) if t.kind == "activation"}


@pytest.mark.parametrize("method", ["max", "percentile", "entropy", "mse"])
def test_shards_in_any_order_and_batches_of_any_size_are_one_pass(k, method):
    tf = pytest.importorskip("tensorflow")
    model = net(k)
    want = ranges(calibrate(model, X, method, verbose=0))
    dataset = tf.data.Dataset.from_tensor_slices(X)
    for order, batch in (((0, 1, 2), 32), ((2, 0, 1), 5)):
        shards = [dataset.shard(3, index).batch(batch) for index in order]
        others = [observe(model, shard, verbose=0) for shard in shards[1:]]
        calibrate(model, shards[0], method, statistics=others, verbose=0)
        assert ranges(model) == want


def test_what_measures_on_rows_takes_those_of_its_own_data(k):
    """So that the whole is one pass over that data and then over what the others have seen."""
    model = net(k)
    want = ranges(calibrate(model, X, "auto", verbose=0))
    calibrate(model, X[:256], "auto", statistics=observe(model, X[256:], verbose=0), verbose=0)
    assert ranges(model) == want
    calibrate(model, X[:256], "auto", verbose=0)
    assert ranges(model) != want


def test_observing_changes_nothing(k):
    model = net(k)
    calibrate(model, X[:8], "max", verbose=0)
    before = [np.array(w) for w in model.get_weights()]
    observe(model, X, verbose=0)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_file_takes_statistics_from_one_process_to_another(k, tmp_path):
    model = net(k)
    want = ranges(calibrate(model, X, "mse", verbose=0))
    observe(model, X[50:], verbose=0).save(tmp_path / "b.npz")
    calibrate(model, X[:50], "mse", statistics=tmp_path / "b.npz", verbose=0)
    assert ranges(model) == want
    assert [path.name for path in tmp_path.iterdir()] == ["b.npz"]


def test_tensors_that_are_dead_in_one_shard_live_in_another(k):
    model = net(k)
    want = ranges(calibrate(model, X, "max", verbose=0))
    calibrate(model, np.zeros_like(X[:4]), "max", statistics=observe(model, X, verbose=0), verbose=0)
    assert ranges(model) == want


def test_statistics_of_another_model_are_refused_and_leave_the_ranges(k):
    model = net(k)
    before = ranges(calibrate(model, X, "max", verbose=0))
    other = observe(quantize_model(other_net(k), verbose=0), X, verbose=0)
    with pytest.raises(InputError, match="`statistics` are of another model.* Not in both: "):
        calibrate(model, X * 2, "max", statistics=other, verbose=0)
    fp8 = observe(quantize_model(dense_net(k, 8, 12, 4), "fp8", verbose=0), X, verbose=0)
    with pytest.raises(InputError, match="`statistics` are of another model"):
        calibrate(model, X * 2, "max", statistics=fp8, verbose=0)
    assert ranges(model) == before


def test_bad_input_is_named(k, tmp_path):
    model = net(k)
    with pytest.raises(
        InputError, match="`statistics` must be what `quantize.observe` gives.* Received: int"
    ):
        calibrate(model, X, statistics=3, verbose=0)
    (tmp_path / "junk.npz").write_bytes(b"junk")
    for name in ("junk.npz", "absent.npz"):
        with pytest.raises(InputError, match=f"No statistics of `observe` at '.*{name}'"):
            calibrate(model, X, statistics=tmp_path / name, verbose=0)
    np.savez(tmp_path / "other.npz", counts=np.zeros((1, 2048)))
    with pytest.raises(InputError, match="No statistics of `observe` at"):
        Statistics.load(tmp_path / "other.npz")
    with pytest.raises(InputError, match=r"kept in `\.npz` files"):
        observe(model, X, verbose=0).save(tmp_path / "a.json")
    with pytest.raises(InputError, match="NaN or infinite"):
        observe(model, X * np.float32(np.nan), verbose=0)
    with pytest.raises(ModelError, match="has no quantised activation"):
        observe(dense_net(k, 8, 4, 4), X, verbose=0)


def test_what_was_seen_is_shown_in_a_few_bins(k, tmp_path):
    pytest.importorskip("matplotlib")
    seen = observe(net(k), X, verbose=0)
    first = seen.to_dict()["activations"][0]
    values = np.abs(X)
    assert (first["tensor"], first["format"], first["limit"]) == (seen.names[0], "int8", 1024)
    assert (first["largest"], first["zeros"]) == (512, (X == 0).mean())
    assert first["counts"] == np.histogram(values, 32, (0, 1024))[0].tolist()
    assert len(seen.to_json()) < 1000 * len(seen.names)
    rms = np.sqrt(np.square(X, dtype=float).mean())
    (table,) = seen.tables()
    assert table.rows[0] == [seen.names[0], "int8", 512, pytest.approx(rms), first["zeros"]]
    seen.plot(tmp_path / "seen.svg")
    assert "<svg" in (tmp_path / "seen.svg").read_text()
