import pytest

from keras_trt.runtime.runners.tensorrt.profiles import batch_ranges, padded, profile_for


def profile(low, usual, high):
    return {"x": ((low, 3), (usual, 3), (high, 3)), "length": ((1,), (1,), (9,))}


ONE, FEW, MANY = profile(1, 1, 1), profile(1, 8, 32), profile(2, 64, 128)


@pytest.mark.parametrize(
    ("rows", "number"),
    [(1, 0), (2, 1), (8, 1), (32, 2), (22, 1), (23, 2), (33, 2), (128, 2), (129, None), (0, None)],
)
def test_of_the_profiles_that_hold_a_shape_the_nearest_is_taken(rows, number):
    assert profile_for([ONE, FEW, MANY], (("x", (rows, 3)), ("length", (4,)))) == number


def test_every_axis_of_every_input_must_fit():
    for x, length in (((8, 4), (4,)), ((8, 3), (10,)), ((8, 3, 1), (4,)), ((8,), (4,))):
        assert profile_for([FEW], (("x", x), ("length", length))) is None
    assert profile_for([], (("x", (1, 3)),)) is None


def test_rows_are_padded_to_the_next_batch_that_a_profile_takes():
    ranges = batch_ranges([profile(1, 1, 1), profile(16, 16, 32), profile(4, 4, 6)], "x")
    assert ranges == [(1, 1), (16, 32), (4, 6)]
    assert [padded(rows, ranges) for rows in (1, 2, 4, 6, 7, 20, 32, 33)] == [1, 4, 4, 6, 16, 20, 32, 33]
