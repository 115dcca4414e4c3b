"""TensorFlow operators that tf2onnx lacks or gets wrong: the file is right, and TensorRT takes it."""

from __future__ import annotations

import numpy as np
import pytest

from keras_trt import load
from keras_trt.errors import ExportError
from keras_trt.exporting.export import export
from tests.onnx_tools import build, floats


def after_dense(k, function, *shape):
    """A model of a Dense layer, behind which tf2onnx knows no sizes but the last, and a function."""

    class Layer(k.layers.Layer):
        def call(self, x):
            return function(x)

    x = k.Input(shape, name="x")
    return k.Model(x, Layer(name="op")(k.layers.Dense(shape[-1])(x)))


def compare(model, x, tmp_path):
    """The exported model answers like Keras on both runners."""
    expected = model.predict(x, verbose=0)
    for runner in ("openvino", "onnxruntime"):
        found = load(tmp_path / "net", runner=runner, verbose=0).predict(x, verbose=0)
        np.testing.assert_allclose(found, expected, atol=1e-5, err_msg=runner)


def check(model, x, tmp_path, builds=True):
    """The bundle answers like Keras on both runners, and TensorRT-RTX builds it."""
    export(model, tmp_path / "net", engine=None, verbose=0)
    compare(model, x, tmp_path)
    if builds:
        build(tmp_path / "net" / "model.onnx")


EINSUMS = [
    ("...ij,...jk->...ik", (4, 4)),
    ("bij,...->b...ij", (4, 4)),
    ("aB,ab->ab", (4,)),  # the letters differ by their case alone
    ("bii->bi", (4, 4)),
    ("bii->b", (4, 4)),
    ("biii->bi", (3, 3, 3)),
]


@pytest.mark.parametrize(("equation", "shape"), EINSUMS)
def test_einsum_with_an_ellipsis_or_a_letter_twice(k, equation, shape, tmp_path):
    import tensorflow as tf

    def product(x):
        operands = [x] * (1 + equation.count(","))
        if equation.startswith("bij,..."):
            operands[1] = tf.constant([1.0, 2.0])
        return tf.einsum(equation, *operands)

    check(after_dense(k, product, *shape), floats(2, *shape), tmp_path)


@pytest.mark.parametrize(
    ("offset", "shape"), [(0, (5, 5)), (0, (5, 3)), (0, (3, 5)), (2, (5, 5)), (-1, (4, 3))]
)
def test_a_diagonal_of_matrices(k, offset, shape, tmp_path):
    import tensorflow as tf

    check(after_dense(k, lambda x: tf.linalg.diag_part(x, k=offset), *shape), floats(2, *shape), tmp_path)


def test_numbers_that_are_not_finite_stay_beside_the_diagonal(k, tmp_path):
    import tensorflow as tf

    def diagonal(x):
        return tf.linalg.diag_part(tf.linalg.set_diag(x / 0.0, x[:, 0]))

    check(after_dense(k, diagonal, 4, 4), floats(2, 4, 4), tmp_path)


def test_a_matrix_of_its_diagonal(k, tmp_path):
    import tensorflow as tf

    check(after_dense(k, tf.linalg.diag, 3, 5), floats(2, 3, 5), tmp_path)


def test_several_diagonals_are_refused_by_name(k, tmp_path):
    import tensorflow as tf

    model = after_dense(k, lambda x: tf.linalg.diag_part(x, k=(0, 1)), 4, 4)
    with pytest.raises(ExportError, match="Layer 'op' uses the TensorFlow operator `MatrixDiagPartV3`"):
        export(model, tmp_path / "net", engine=None, verbose=0)


@pytest.mark.parametrize("size", [(9, 10), (None, None)])
@pytest.mark.parametrize(
    ("kernel", "stride", "rate", "padding"),
    [(3, 3, 1, "VALID"), (3, 2, 1, "VALID"), (2, 1, 2, "SAME"), (3, 2, 2, "SAME"), (2, 3, 1, "VALID")],
)
def test_patches_of_images(k, kernel, stride, rate, padding, size, tmp_path):
    import tensorflow as tf

    def patches(x):
        window, step, spread = ([1, n, n, 1] for n in (kernel, stride, rate))
        return tf.image.extract_patches(x, window, step, spread, padding)

    model = after_dense(k, patches, *size, 3)
    if size[0] is None and padding == "SAME" and stride > 1:
        with pytest.raises(
            ExportError, match="Layer 'op' uses the TensorFlow operator `ExtractImagePatches`"
        ):
            export(model, tmp_path / "net", engine=None, verbose=0)
    else:
        check(model, floats(2, 9, 10, 3), tmp_path, builds=size[0] is not None)


@pytest.mark.parametrize(("batch_dims", "axis"), [(-1, None), (-1, -1), (1, 2), (0, -1)])
def test_gather_counted_from_the_last_axis(k, batch_dims, axis, tmp_path):
    import tensorflow as tf

    def picked(x):
        places = tf.argsort(x[..., 0], axis=-1)[:, :2] if batch_dims else tf.constant([2, 0])
        return tf.gather(x, places, axis=axis, batch_dims=batch_dims)

    check(after_dense(k, picked, 5, 6), floats(2, 5, 6), tmp_path)


@pytest.mark.parametrize("start", [0, 2, 7])
def test_a_slice_written_anew_stays_within_the_tensor(start, tmp_path):
    import keras

    def updated(x):
        return keras.ops.slice_update(x, (0, start, 0), x[:, :2] * 2)

    model = after_dense(keras, updated, 5, 4)
    check(model, floats(2, 5, 4), tmp_path)


def test_a_slice_written_where_the_data_says(tmp_path):
    import keras

    class Cache(keras.layers.Layer):
        def call(self, cache, row, place):
            return keras.ops.slice_update(cache, (0, place[0, 0], 0), row)

    inputs = (
        keras.Input((6, 4)),
        keras.Input((1, 4)),
        keras.Input((1,), dtype="int32"),
    )
    x = [floats(2, 6, 4), floats(2, 1, 4), np.array([[3], [3]], np.int32)]
    check(keras.Model(inputs, Cache()(*inputs)), x, tmp_path)


def with_place(keras, function, *shape):
    """A model of a function of (x, place), the place an integer that all rows share."""

    class Layer(keras.layers.Layer):
        def call(self, inputs):
            return function(inputs[0], inputs[1][0])

    inputs = keras.Input(shape, name="x"), keras.Input((), batch_size=1, dtype="int32", name="place")
    return keras.Model(inputs, Layer(name="op")(inputs))


def check_places(model, x, places, tmp_path):
    """The bundle answers like Keras for every place, and TensorRT builds it without knowing the place."""
    import tensorflow as tf

    export(model, tmp_path / "net", engine=None, verbose=0)
    for runner in ("openvino", "onnxruntime"):
        engine = load(tmp_path / "net", runner=runner, verbose=0)
        for place in places:
            feeds = [x, np.array([place], np.int32)]
            expected = model([tf.constant(feed) for feed in feeds])
            np.testing.assert_array_equal(engine.predict_on_batch(feeds), expected, err_msg=runner)
    build(tmp_path / "net" / "model.onnx")


def test_a_slice_begins_where_an_input_says(k, tmp_path):
    import tensorflow as tf

    def sliced(x, place):
        return tf.slice(x, [0, place, 1], [tf.shape(x)[0], 2, 3])

    check_places(with_place(k, sliced, 6, 4), floats(3, 6, 4), [0, 2, 4], tmp_path)


def test_a_row_of_a_table_is_sliced_where_an_input_says(k, tmp_path):
    import tensorflow as tf

    table = floats(6, 4)

    def shifted(x, place):
        return x + tf.slice(table, [place, 0], [1, 4])

    check_places(with_place(k, shifted, 5, 4), floats(3, 5, 4), [0, 5], tmp_path)


@pytest.mark.parametrize("steps", [1, 2])
def test_a_slice_is_written_where_an_input_says(steps, tmp_path):
    import keras

    def written(x, place):
        return keras.ops.slice_update(x, (0, place, 0), x[:, :steps] * 2)

    # Beyond both ends it is moved inside, as XLA does.
    check_places(with_place(keras, written, 6, 4), floats(3, 6, 4), [-1, 0, 3, 5, 9], tmp_path)


@pytest.mark.parametrize("side", ["left", "right"])
def test_places_in_a_sorted_row(k, side, tmp_path):
    import tensorflow as tf

    def places(x):
        return tf.searchsorted(tf.sort(tf.round(x)), tf.round(x), side=side)

    check(after_dense(k, places, 6), floats(4, 6) * 3, tmp_path)


def test_the_cross_product(k, tmp_path):
    import tensorflow as tf

    check(after_dense(k, lambda x: tf.linalg.cross(x, x[:, ::-1]), 4, 3), floats(2, 4, 3), tmp_path)


def test_the_shape_of_a_broadcast(k, tmp_path):
    import tensorflow as tf

    def spread(x):
        shape = tf.broadcast_dynamic_shape(tf.shape(x), tf.shape(x[0, :, :1]))
        return tf.broadcast_to(x[:, :1], shape)

    check(after_dense(k, spread, 3, 4), floats(2, 3, 4), tmp_path)


def test_a_branch_may_return_what_was_computed_outside(k, tmp_path):
    import tensorflow as tf

    def either(x):
        return tf.cond(tf.reduce_sum(x) > 0, lambda: x, lambda: x * 2)

    check(after_dense(k, either, 4), floats(2, 4), tmp_path)


def test_an_angle_is_in_the_quadrant_of_the_signs_also_of_zeros(k, tmp_path):
    import tensorflow as tf

    class Angle(k.layers.Layer):
        def call(self, points):
            return tf.atan2(points[:, 0], points[:, 1])

    points = k.Input((2,), name="points")
    numbers = np.float32([0.0, -0.0, 1.0, -1.0, 2.0, -3.0, 1e-30, np.inf, -np.inf])
    x = np.stack(np.meshgrid(numbers, numbers), -1).reshape(-1, 2)
    export(k.Model(points, Angle(name="op")(points)), tmp_path / "net", engine=None, verbose=0)
    for runner in ("openvino", "onnxruntime"):
        found = load(tmp_path / "net", runner=runner, verbose=0).predict(x, verbose=0)
        np.testing.assert_allclose(found, np.arctan2(*x.T), atol=1e-6, err_msg=runner)
    build(tmp_path / "net" / "model.onnx")


def test_the_sign_of_a_zero_leaves_as_it_is(k, tmp_path):
    import tensorflow as tf

    class Sign(k.layers.Layer):
        def call(self, x):
            bits = tf.bitwise.bitwise_and(tf.bitcast(x, tf.int32), tf.int32.min)
            return tf.where(bits < 0, -1.0, 1.0)

    i = k.Input((4,), name="x")
    check(k.Model(i, Sign(name="op")(i)), np.float32([[0.0, -0.0, 2.0, -2.0]]), tmp_path)


def test_what_a_where_does_not_choose_may_be_no_number(k, tmp_path):
    import tensorflow as tf

    class Safe(k.layers.Layer):
        def call(self, x):
            inverse = tf.where(tf.equal(x, 0), tf.zeros_like(x), 1 / x)
            return tf.where(x > 0, tf.math.log(x), inverse)

    i = k.Input((4,), name="x")
    check(k.Model(i, Safe(name="op")(i)), np.float32([[0.0, -4.0, 2.0, 1.0]]), tmp_path)


@pytest.mark.parametrize("options", [{}, {"exclusive": True}, {"reverse": True}])
@pytest.mark.parametrize("axis", [1, -1])
def test_products_of_all_entries_before(k, axis, options, tmp_path):
    import tensorflow as tf

    check(after_dense(k, lambda x: tf.math.cumprod(x, axis, **options), 3, 4), floats(2, 3, 4), tmp_path)


def test_the_inverse_of_the_error_function(k, tmp_path):
    import tensorflow as tf

    x = k.Input((6,), name="x")
    model = k.Model(x, after_dense(k, tf.math.erfinv, 6).layers[-1](x))
    values = np.tanh(floats(64, 6))
    values[0] = [0, -1e-7, 0.9999, -0.99999, 0.5, 1e-30]  # nearer to one TensorFlow has too few digits
    check(model, values, tmp_path)


@pytest.mark.parametrize("function", ["xlogy", "xlog1py", "xdivy"])
def test_products_that_are_zero_where_the_first_factor_is(k, function, tmp_path):
    import tensorflow as tf

    def product(x):
        y = tf.nn.relu(x)
        return getattr(tf.math, function)(y, y)

    check(after_dense(k, product, 6), floats(4, 6), tmp_path)


def test_products_that_are_zero_where_the_second_factor_is(k, tmp_path):
    import tensorflow as tf

    def product(x):
        y = tf.nn.relu(x)
        return tf.math.multiply_no_nan(tf.math.log(y), y)  # minus infinity times zero

    check(after_dense(k, product, 6), floats(4, 6), tmp_path)


@pytest.mark.parametrize(("axis", "keepdims"), [(-1, False), ([1, 2], True), ([2, 1], False)])
def test_lengths_of_vectors(k, axis, keepdims, tmp_path):
    import tensorflow as tf

    def lengths(x):
        return tf.math.reduce_euclidean_norm(x, axis, keepdims)

    check(after_dense(k, lengths, 4, 3), floats(2, 4, 3), tmp_path)


MIRRORED = {
    "reverse": lambda tf, x: tf.reverse(x, [1, -1]),
    "reverse of nothing": lambda tf, x: tf.reverse(x, []) + 1.0,
    "symmetric": lambda tf, x: tf.pad(x, [[0, 0], [1, 0], [3, 4], [0, 2]], "SYMMETRIC"),
    "reflected": lambda tf, x: tf.pad(x, [[0, 0], [1, 0], [3, 2], [0, 0]], "REFLECT"),
    "roll": lambda tf, x: tf.roll(x, [2, -7, 9], [1, -1, 1]),
    "roll of nothing": lambda tf, x: tf.roll(x, 10, 1) + 1.0,
}


@pytest.mark.parametrize("name", MIRRORED)
def test_axes_are_mirrored_and_shifted_by_slices(k, name, tmp_path):
    import tensorflow as tf

    model = after_dense(k, lambda x: MIRRORED[name](tf, x), 5, 4, 3)
    check(model, floats(2, 5, 4, 3), tmp_path)


@pytest.mark.parametrize("mode", ["REFLECT", "SYMMETRIC"])
def test_amounts_to_mirror_may_be_computed(k, mode, tmp_path):
    import tensorflow as tf

    def pad(x):
        return tf.pad(x, [[0, 0], [0, tf.shape(x)[1] % 4], [1, 2], [0, 0]], mode)

    model = after_dense(k, pad, None, 4, 3)
    export(model, tmp_path / "net", engine=None, verbose=0)
    for length in (6, 7):
        compare(model, floats(2, length, 4, 3), tmp_path)


@pytest.mark.parametrize("name", ["reverse", "symmetric", "reflected"])
def test_mirrored_axes_may_be_open(k, name, tmp_path):
    import tensorflow as tf

    model = after_dense(k, lambda x: MIRRORED[name](tf, x), None, 4, 3)
    export(model, tmp_path / "net", engine=None, verbose=0)
    for length in (4, 7):
        compare(model, floats(2, length, 4, 3), tmp_path)


def test_an_open_axis_rolls_too(k, tmp_path):
    import tensorflow as tf

    model = after_dense(k, lambda x: tf.roll(x, 9, 1), None, 4)
    export(model, tmp_path / "net", engine=None, verbose=0)
    for length in (4, 7):
        x = floats(2, length, 4)
        found = load(tmp_path / "net", runner="onnxruntime", verbose=0).predict(x, verbose=0)
        np.testing.assert_allclose(found, model.predict(x, verbose=0), atol=1e-5)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16"])
def test_floats_that_do_not_fit_a_small_integer_become_the_nearest(k, dtype, tmp_path):
    """As TensorFlow's vector code has it, and runners had it in two ways."""
    import tensorflow as tf

    far = 3e5 if "16" in dtype else 500
    model = after_dense(k, lambda x: tf.cast(tf.cast(far * x, dtype), "float32"), 64)
    x = floats(8, 64)
    reach = model.predict(x, verbose=0)
    assert {reach.min(), reach.max()} == {np.iinfo(dtype).min, np.iinfo(dtype).max}
    export(model, tmp_path / "net", engine=None, verbose=0)
    for runner in ("openvino", "onnxruntime"):
        found = load(tmp_path / "net", runner=runner, verbose=0).predict(x, verbose=0)
        np.testing.assert_allclose(found, reach, atol=1)  # the Dense layer's last digits


@pytest.mark.parametrize("kind", ["sum", "prod", "max", "min"])
def test_rows_of_segments(k, kind, tmp_path):
    import tensorflow as tf

    reduce = getattr(tf.math, f"unsorted_segment_{kind}")

    def messages(x):
        rows = tf.transpose(x, [1, 0, 2])
        uneven, even = reduce(rows, [2, 0, 2, -1, 0, 2], 4), reduce(rows, [1, 0, 0, 1, 1, 0], 2)
        return tf.transpose(tf.concat([uneven, even], 0), [1, 0, 2])

    check(after_dense(k, messages, 6, 4), floats(2, 6, 4), tmp_path)


def test_segments_that_the_data_names_are_left_to_onnx_runtime(k, tmp_path):
    import tensorflow as tf

    model = after_dense(k, lambda x: tf.math.unsorted_segment_sum(x, tf.cast(x[:, 0] > 0, "int32"), 2), 4)
    x = floats(6, 4)
    export(model, tmp_path / "net", engine=None, strict=False, verbose=0)
    found = load(tmp_path / "net", runner="onnxruntime", verbose=0).predict(x, batch_size=6, verbose=0)
    np.testing.assert_allclose(found, model.predict(x, verbose=0), atol=1e-5)
