import pytest

from keras_trt.engine.profile import axis_sizes, sizes_of
from keras_trt.errors import InputError

INPUTS = {"image": ("batch", "height", "width", 3), "length": ("batch",)}


def test_sizes_come_by_axis():
    assert axis_sizes(INPUTS, (1, 8, 32), {"height": 224, "width": (32, 64, 128)}) == {
        "batch": (1, 8, 32),
        "height": (224, 224, 224),
        "width": (32, 64, 128),
    }


def test_sizes_come_by_input():
    assert axis_sizes(INPUTS, 4, {"image": (None, 224, (32, 64, 128), 3)}) == {
        "batch": (4, 4, 4),
        "height": (224, 224, 224),
        "width": (32, 64, 128),
    }


def test_what_is_still_missing_is_named():
    with pytest.raises(InputError, match=r"The dynamic axes \['width'\] of the inputs"):
        axis_sizes(INPUTS, 1, {"height": 3})


@pytest.mark.parametrize("value", [True, 1.5, "8", (1, 2, 3, 4), (1, 2.0, 3), None])
def test_sizes_are_whole_numbers(value):
    with pytest.raises(InputError, match="`batch` must be a whole number"):
        sizes_of(value, "batch")
