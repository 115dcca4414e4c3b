import itertools

import numpy as np
import pytest

from keras_trt.data.source import batches_made, is_arrays, is_dataset, slices, slices_of, unpacked
from keras_trt.errors import InputError

rows = np.arange(6).reshape(3, 2)


class Sequence:
    def __len__(self):
        return len(rows)

    def __getitem__(self, index):
        return rows[index], index


class Endless(Sequence):
    num_batches = None
    __len__ = None


class Loader:
    """As PyTorch's: iterable with a length, not indexable."""

    def __len__(self):
        return len(rows)

    def __iter__(self):
        return iter(rows)


@pytest.mark.parametrize("x", [rows, [rows], (rows,), {"a": rows}, "text", [[1, 2]], np.float32(1)])
def test_arrays_are_no_dataset(x):
    assert not is_dataset(x)


@pytest.mark.parametrize("x", [Sequence(), Loader(), iter(rows), (r for r in rows)])
def test_what_makes_batches_is_a_dataset(x):
    assert is_dataset(x)


@pytest.mark.parametrize(("source", "count"), [(Sequence(), 3), (Loader(), 3), ((r for r in rows), None)])
def test_batches_come_in_order_without_labels(source, count):
    batches = batches_made(source)
    assert batches.count == count
    assert np.array_equal([unpacked(item)[0] for item in batches.items], rows)


@pytest.mark.parametrize(("source", "count"), [(Sequence(), 2), (Loader(), 2), (itertools.cycle(rows), 2)])
def test_steps_end_it_early(source, count):
    batches = batches_made(source, 2)
    assert batches.count == count
    assert len(list(batches.items)) == 2


def test_an_endless_sequence_needs_steps():
    assert len(list(batches_made(Endless(), 2).items)) == 2


@pytest.mark.parametrize("item", [rows, (rows,), [rows, 1], (rows, 1, 2)])
def test_an_item_may_carry_labels_and_weights(item):
    assert unpacked(item)[0] is rows


@pytest.mark.parametrize("item", [(), (1, 2, 3, 4)])
def test_an_item_of_another_form_is_refused(item):
    with pytest.raises(InputError, match=r"must be x, \(x,\), \(x, y\) or \(x, y, sample_weight\)"):
        unpacked(item)


def test_a_list_of_as_many_as_the_model_has_inputs_is_x():
    assert unpacked([rows, 1], inputs=2) == ([rows, 1], None)
    assert unpacked([rows, 1], inputs=1) == (rows, 1)
    assert unpacked((rows, 1), inputs=2) == (rows, 1)


def test_steps_take_no_more_of_a_generator_than_they_need():
    generator = iter(rows)
    assert len(list(batches_made(generator, 2).items)) == 2
    assert np.array_equal(next(generator), rows[2])


def test_arrays_are_cut_in_their_structure():
    assert is_arrays({"a": rows, "b": [rows]})
    assert not is_arrays([])
    assert not is_arrays(iter(rows))
    cut = slices_of({"a": rows, "b": (rows,)}, 2)
    assert cut.count == 2
    first, last = cut.items
    assert np.array_equal(first["a"], rows[:2])
    assert np.array_equal(last["b"][0], rows[2:])
    assert slices_of(rows, 2, steps=1).count == 1


def test_rows_are_sliced_with_a_short_tail():
    assert slices(5, 2, None) == [slice(0, 2), slice(2, 4), slice(4, 5)]
    assert slices(5, 2, 1) == [slice(0, 2)]
    assert slices(0, 2, None) == []
