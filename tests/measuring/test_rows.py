import numpy as np
import pytest

from keras_trt.errors import InputError
from keras_trt.measuring.rows import rows_for
from keras_trt.runtime.loading import load
from tests.small_onnx import conv_model, save_bundle, two_in_two_out


@pytest.fixture
def engine(tmp_path):
    with load(save_bundle(tmp_path / "conv", conv_model(int8=False)), verbose=0) as engine:
        yield engine


@pytest.fixture
def pair(tmp_path):
    with load(save_bundle(tmp_path / "pair", two_in_two_out()), verbose=0) as engine:
        yield engine


def test_without_data_rows_are_made_up(engine):
    rows = rows_for(engine, None)
    assert rows.origin == "made-up rows"
    assert rows.batch(20).shape == (20, 4, 8, 8)
    assert rows.targets is None


def test_a_batch_begins_again_where_there_are_too_few_rows(engine, rng):
    x = rng.normal(size=(3, 4, 8, 8))
    batch = rows_for(engine, x).batch(7)
    assert batch.dtype == np.float32
    np.testing.assert_array_equal(batch, x[[0, 1, 2, 0, 1, 2, 0]].astype(np.float32))


def test_a_tuple_is_inputs_and_targets(engine, rng):
    x, y = rng.normal(size=(3, 4, 8, 8)), np.arange(3)
    rows = rows_for(engine, (x, y))
    np.testing.assert_array_equal(rows.targets, y)
    assert rows.count == 3


def test_the_batches_of_a_data_set_are_joined(engine, rng):
    x, y = rng.normal(size=(6, 4, 8, 8)).astype(np.float32), np.arange(6)
    data = ((x[i : i + 4], y[i : i + 4]) for i in (0, 4))
    rows = rows_for(engine, data)
    np.testing.assert_array_equal(rows.all(), x)
    np.testing.assert_array_equal(rows.targets, y)
    assert rows_for(engine, iter([x] * 9), steps=2).count == 12


def test_several_inputs_keep_their_structure(pair):
    a, b = np.ones((4, 3), np.float32), np.ones((4, 3), np.int32)
    batch = rows_for(pair, [a, b]).batch(2)
    assert [one.shape for one in batch] == [(2, 3), (2, 3)]
    assert batch[1].dtype == np.int32


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (np.ones((0, 4, 8, 8)), "`data` holds no row"),
        (iter([]), "`data` holds no batch"),
        (7, "`data` must be arrays, .* Received: 7"),
        ("x.npz", "`data` must be arrays"),
        (np.ones((2, 4, 8, 9)), "shape"),
    ],
)
def test_data_that_holds_no_rows_is_refused(engine, data, text):
    with pytest.raises(InputError, match=text):
        rows_for(engine, data)
