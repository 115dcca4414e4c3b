import ml_dtypes
import numpy as np
import pytest

from keras_trt._base.tensors import TensorSpec
from keras_trt.errors import InputError
from keras_trt.runtime.feeds import batch_of, cast, name_arrays
from keras_trt.runtime.runners.tensorrt.device_array import DeviceArray

IMAGE = TensorSpec("image", ("batch", 4, 4, 3), "float32")
LENGTH = TensorSpec("length", ("batch", 1), "int32")
image, length = np.zeros((5, 4, 4, 3)), np.arange(5)[:, None]


@pytest.mark.parametrize(
    ("x", "structure"),
    [
        ([image, length], ["image", "length"]),
        ((image, length), ["image", "length"]),
        ({"image": image, "length": length}, ["image", "length"]),
        ({"a": image, "b": length}, {"a": "image", "b": "length"}),
        ({"image": image, "length": length}, {"a": "image", "b": "length"}),
        ([image, {"n": [length]}], ["image", {"n": ["length"]}]),
        ({"length": length, "image": image}, ["image", "length"]),
    ],
)
def test_arrays_find_their_inputs(x, structure):
    feeds = name_arrays(x, structure, [IMAGE, LENGTH])
    assert list(feeds) == ["image", "length"]
    assert feeds["image"] is image
    assert feeds["length"] is length


@pytest.mark.parametrize(
    "x",
    [image, [image], (image,), {"image": image}, image.tolist()],
    ids=["plain", "list", "tuple", "dict", "nested"],
)
def test_a_single_input_is_taken_in_every_form(x):
    assert name_arrays(x, "image", [IMAGE])["image"].shape == (5, 4, 4, 3)


@pytest.mark.parametrize(
    ("x", "structure", "text"),
    [
        ([image], ["image", "length"], r"`x` must be a list of 2 arrays.*Received: a list of 1"),
        (image, ["image", "length"], r"`x` must be a list of 2 arrays.*ndarray of shape \(5, 4, 4, 3\)"),
        ({"image": image}, ["image", "length"], r"`x` lacks input\(s\) \['length'\]. Received: \['image'\]"),
        (
            {"image": image, "length": length, "size": 1},
            ["image", "length"],
            r"unknown input\(s\) \['size'\].*expected: \['image', 'length'\]",
        ),
        ({"a": image}, {"a": "image", "b": "length"}, r"lacks input\(s\) \['b'\]"),
        (image, {"a": "image", "b": "length"}, r"must be a dict with the keys \['a', 'b'\]"),
        ([image, {}], ["image", {"n": "length"}], r"`x\[1\]` lacks input\(s\) \['n'\]"),
    ],
)
def test_missing_and_unknown_inputs_are_named(x, structure, text):
    with pytest.raises(InputError, match=text):
        name_arrays(x, structure, [IMAGE, LENGTH])


@pytest.mark.parametrize("x", [[image, image], {"picture": image}, {"image": image, "more": image}])
def test_a_single_input_takes_no_second_array(x):
    with pytest.raises(InputError, match=r"`image`|'image'"):
        name_arrays(x, "image", [IMAGE])


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (
            np.zeros((5, 4, 5, 3)),
            r"`image` takes the shape \(batch, 4, 4, 3\).*\(5, 4, 5, 3\) and dtype float64",
        ),
        (np.zeros((4, 4, 3)), r"shape \(4, 4, 3\)"),
        (np.zeros((5, 4, 4, 3), complex), "`image` takes float32, and complex128"),
        (np.full((5, 4, 4, 3), "a"), "`image` takes float32, and <U1"),
        (None, "`image` takes float32, and object"),
        ([[1], [2, 3]], "`image` is no array"),
    ],
)
def test_a_wrong_array_is_named_with_its_input(array, text):
    with pytest.raises(InputError, match=text):
        name_arrays(array, "image", [IMAGE])


@pytest.mark.parametrize(
    "dtype", ["float64", "float32", "float16", "uint8", "int64", "bool", ml_dtypes.bfloat16]
)
def test_numbers_are_cast_to_float_as_keras_does(dtype):
    feeds = cast(name_arrays(np.ones((2, 4, 4, 3), dtype), "image", [IMAGE]), [IMAGE])
    assert feeds["image"].dtype == np.float32
    assert feeds["image"].flags.c_contiguous
    assert (feeds["image"] == 1).all()


def test_what_fits_is_not_copied():
    array = np.zeros((2, 4, 4, 3), np.float32)
    assert cast(name_arrays(array, "image", [IMAGE]), [IMAGE])["image"] is array


def test_floats_for_an_integer_input_are_refused():
    with pytest.raises(InputError, match="`length` takes int32, and float64 cannot be cast"):
        name_arrays(length.astype(float), "length", [LENGTH])


def test_integers_that_do_not_fit_are_refused():
    assert cast({"length": length.astype(np.int64)}, [LENGTH])["length"].dtype == np.int32
    with pytest.raises(
        InputError, match=r"`length` holds integers out of the range of int32. Received: 0 to 4"
    ):
        cast({"length": length * 10**9}, [LENGTH])


def test_a_boolean_input_takes_booleans_only():
    mask = TensorSpec("mask", ("batch",), "bool")
    assert name_arrays(np.array([True]), "mask", [mask])["mask"].dtype == bool
    with pytest.raises(InputError, match="`mask` takes bool, and int64"):
        name_arrays(np.array([2]), "mask", [mask])


def test_a_last_axis_of_one_comes_and_goes_as_in_keras():
    assert name_arrays(np.arange(5), "length", [LENGTH])["length"].shape == (5, 1)
    assert name_arrays(image[..., None], "image", [IMAGE])["image"].shape == (5, 4, 4, 3)


def test_inputs_must_agree_on_the_batch():
    with pytest.raises(
        InputError,
        match=r"disagree on the size of axis 'batch'. Received: 3 in input `length`, 5 in input `image`",
    ):
        name_arrays([image, length[:3]], ["image", "length"], [IMAGE, LENGTH])


def test_rows_are_counted_where_a_batch_axis_is():
    table = TensorSpec("table", (7, 2), "float32")
    assert batch_of({"table": np.zeros((7, 2)), "length": length}, [table, LENGTH]) == 5
    assert batch_of({"table": np.zeros((7, 2))}, [table]) == 1


def on_gpu(shape, dtype="float32"):
    return DeviceArray(4096, shape, np.dtype(dtype), 0, None)


def take(value):
    return value if isinstance(value, DeviceArray) else None


def test_arrays_that_the_runner_takes_from_the_gpu_stay_there():
    feeds = name_arrays([on_gpu((5, 4, 4, 3)), length], ["image", "length"], [IMAGE, LENGTH], take)
    feeds = cast(feeds, [IMAGE, LENGTH])
    assert feeds["image"].pointer == 4096
    assert isinstance(feeds["length"], np.ndarray)
    assert name_arrays(on_gpu((5,), "int32"), "length", [LENGTH], take)["length"].shape == (5, 1)


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (on_gpu((5, 4, 4, 3), "float64"), "is taken from the GPU as it is, in float32. Received: float64"),
        (on_gpu((5, 4, 4, 3), "int32"), "is taken from the GPU as it is, in float32. Received: int32"),
        (on_gpu((5, 4, 3, 3)), r"takes the shape .* of shape \(5, 4, 3, 3\)"),
    ],
)
def test_arrays_on_the_gpu_that_do_not_fit_are_named(array, text):
    with pytest.raises(InputError, match=f"Input `image` {text}"):
        name_arrays(array, "image", [IMAGE], take)


def test_why_an_array_cannot_be_taken_from_the_gpu_is_said_with_its_input():
    def refuse(value):
        raise InputError("The array is on GPU 1, and the engine on GPU 0.")

    with pytest.raises(InputError, match="Input `image`: The array is on GPU 1, and the engine on GPU 0"):
        name_arrays(on_gpu((5, 4, 4, 3)), "image", [IMAGE], refuse)
