"""TensorFlow ops with handlers of our own: the ONNX file computes what Keras does, and TensorRT takes it."""

from __future__ import annotations

import numpy as np
import pytest

from keras_trt.convert.convert import convert
from keras_trt.errors import ExportError
from keras_trt.exporting.export import export
from keras_trt.trace.trace import trace
from tests.onnx_tools import build, ops, run


def exported(model, tmp_path, input_shapes=None, sizes=None):
    """The operators, after a comparison with Keras and a build for these sizes of open axes."""
    shapes = {**(input_shapes or {}), **(sizes or {})} or None
    report = export(model, tmp_path / "net", engine=None, verbose=0, input_shapes=shapes)
    assert report.differences[0]["relative"] < 1e-5
    build(tmp_path / "net" / "model.onnx", input_shapes=sizes)
    return set(report.operators)


def resizing(k, size=(12, 10, 3), **options):
    return k.Sequential([k.Input(size, name="x"), k.layers.Resizing(7, 15, **options)])


def test_a_grouped_3d_convolution_keeps_its_groups(k, tmp_path):
    layer = k.layers.Conv3D(4, 3, groups=2)
    assert "Conv" in exported(k.Sequential([k.Input((5, 6, 7, 4), name="x"), layer]), tmp_path)


@pytest.mark.parametrize("kernel", ["bicubic", "area", "lanczos3", "lanczos5"])
def test_resizing_by_any_kernel_is_two_matrix_products(k, kernel, tmp_path):
    assert exported(resizing(k, interpolation=kernel), tmp_path) == {"MatMul", "Reshape"}


@pytest.mark.parametrize("size", [(7, 15), (24, 4), (1, 11)])
@pytest.mark.parametrize("kernel", ["bilinear", "nearest"])
def test_sizes_are_exact_in_spite_of_rounded_scales(k, kernel, size, tmp_path):
    layer = k.layers.Resizing(*size, interpolation=kernel)
    found = exported(k.Sequential([k.Input((12, 10, 3), name="x"), layer]), tmp_path)
    assert ("Resize" in found) == (kernel == "bilinear")  # the nearest pixels are picked by TensorFlow


@pytest.mark.parametrize("kernel", ["gaussian", "mitchellcubic"])
def test_kernels_of_tf_keras(kernel, tmp_path):
    import tf_keras

    assert exported(resizing(tf_keras, interpolation=kernel), tmp_path) == {"MatMul", "Reshape"}


def test_antialiasing(tmp_path):
    import keras

    assert exported(resizing(keras, antialias=True), tmp_path) == {"MatMul", "Reshape"}


@pytest.mark.parametrize(("kernel", "op"), [("area", "ResizeArea"), ("lanczos3", "ScaleAndTranslate")])
def test_an_image_of_open_size_is_refused_by_name_where_its_size_is_needed(k, kernel, op, tmp_path):
    with pytest.raises(ExportError, match=f"Layer 'resizing.*' uses the TensorFlow operator `{op}`") as e:
        export(resizing(k, (None, 10, 3), interpolation=kernel), tmp_path / "net", engine=None, verbose=0)
    assert "input_shapes" in str(e.value)


@pytest.mark.parametrize("mode", ["multi_hot", "count"])
def test_categories_are_counted(k, mode, tmp_path):
    model = k.Sequential(
        [k.Input((6,), dtype="int32"), k.layers.CategoryEncoding(3, output_mode=mode), k.layers.Dense(2)]
    )
    assert not exported(model, tmp_path) & {"Unique", "Compress"}


def test_counts_may_have_weights(k, tmp_path):
    x, weights = k.Input((6,), dtype="int32", name="x"), k.Input((6,), name="weights")
    layer = k.layers.CategoryEncoding(3, output_mode="count")
    exported(k.Model([x, weights], layer(x, count_weights=weights)), tmp_path)


@pytest.mark.parametrize("length", [32, 64, 100])
def test_the_spectrum_of_a_signal(length, tmp_path):
    import keras

    layer = keras.layers.MelSpectrogram(
        fft_length=length, sequence_length=64 if length > 64 else length, sequence_stride=20, num_mel_bins=4
    )
    exported(keras.Sequential([keras.Input((400,)), layer]), tmp_path)


@pytest.mark.parametrize("samples", [10, 16, 20])
def test_a_transform_cuts_or_fills_up_its_signal(samples, tmp_path):
    import tensorflow as tf
    import tf_keras

    def parts(x):
        spectrum = tf.signal.rfft(x, [16])
        return tf.concat([tf.math.real(spectrum), tf.math.imag(spectrum), tf.abs(spectrum)], -1)

    exported(tf_keras.Sequential([tf_keras.Input((samples,)), tf_keras.layers.Lambda(parts)]), tmp_path)


@pytest.mark.parametrize("length", [6, None])
def test_a_transform_over_two_axes_has_a_matrix_for_each(length, tmp_path):
    import keras

    def real_part(x):  # as FNet mixes words
        return keras.ops.fft2((x, keras.ops.zeros_like(x)))[0]

    options = {"input_shapes": {"x": (None, "words", 5)}, "sizes": {"words": (1, 6, 8)}}
    model = keras.Sequential([keras.Input((length, 5), name="x"), keras.layers.Lambda(real_part)])
    found = exported(model, tmp_path, **(options if length is None else {}))
    assert ("Cos" in found) == (length is None)


@pytest.mark.parametrize("name", ["fft", "fft2", "ifft2"])
def test_transforms_of_complex_numbers(name, tmp_path):
    import keras

    def parts(x):
        return keras.ops.concatenate(getattr(keras.ops, name)((x, x * x)), -1)

    exported(keras.Sequential([keras.Input((5, 6)), keras.layers.Lambda(parts)]), tmp_path)


@pytest.mark.parametrize("kind", ["complex64", "complex128"])
def test_a_cast_of_complex_numbers_takes_their_real_part(kind, tmp_path):
    """As FNet's tutorial mixes patches: `cast(fft2d(cast(x, complex64)), float32)`."""
    import tensorflow as tf
    import tf_keras

    def mixed(x):
        return tf.cast(tf.signal.fft2d(tf.cast(x, kind)), "float32")

    exported(tf_keras.Sequential([tf_keras.Input((4, 6)), tf_keras.layers.Lambda(mixed)]), tmp_path)


def test_arithmetic_of_complex_numbers(tmp_path):
    """As in filters that multiply a spectrum: by a constant, by weights, by itself."""
    import tensorflow as tf
    import tf_keras

    class Filter(tf_keras.layers.Layer):
        def build(self, shape):
            self.filter = self.add_weight(shape=(2, 5, 2), initializer="random_normal", name="filter")

        def call(self, x):
            z = tf.expand_dims(tf.signal.rfft(x, [8]), 1)
            z = z * tf.signal.rfft(tf.linspace(0.0, 1.0, 8), [8])
            z = tf.transpose(z * tf.complex(self.filter[:1, :, 0], self.filter[1:, :, 1]), [0, 2, 1, 3])
            z = 1j * z + z * z - tf.math.conj(z)
            return tf.concat([tf.math.real(z), tf.math.imag(z), tf.abs(z), tf.signal.irfft(z, [8])], -1)

    x = tf_keras.Input((3, 8))
    exported(tf_keras.Model(x, Filter()(x)), tmp_path)


@pytest.mark.parametrize("kind", [1, 2, 3])
def test_cosine_transforms_of_a_fixed_length(kind, tmp_path):
    """They cut, pad and turn complex numbers; MFCCs are made of them."""
    import tensorflow as tf
    import tf_keras

    layer = tf_keras.layers.Lambda(lambda x: tf.signal.dct(x, type=kind))
    exported(tf_keras.Sequential([tf_keras.Input((8,)), layer]), tmp_path)


def test_exponentials_and_choices_of_complex_numbers(tmp_path):
    import tensorflow as tf
    import tf_keras

    def parts(x):
        z = tf.exp(tf.complex(x, 2 * x)) + tf.exp(tf.cast(x, "complex64"))
        z = tf.gather(tf.pad(z[:, 1:5], [[0, 0], [1, 2]]), [3, 0, 6], axis=1)
        return tf.concat([tf.math.real(z), tf.math.imag(z)], -1)

    exported(tf_keras.Sequential([tf_keras.Input((8,)), tf_keras.layers.Lambda(parts)]), tmp_path)


@pytest.mark.parametrize("length", [8, 9, 10])
def test_a_transform_back_to_a_real_signal(length, tmp_path):
    import keras

    def signal(x):
        return keras.ops.irfft((x, x * x), length)

    exported(keras.Sequential([keras.Input((3, 6)), keras.layers.Lambda(signal)]), tmp_path)


@pytest.mark.filterwarnings("ignore:.*is deprecated")
@pytest.mark.parametrize("implementation", [2, 3])
def test_sparse_kernels_of_local_layers(implementation, tmp_path):
    import tf_keras

    layer = tf_keras.layers.LocallyConnected1D(3, 3, implementation=implementation)
    assert "MatMul" in exported(tf_keras.Sequential([tf_keras.Input((8, 4)), layer]), tmp_path)


def tf():
    import tensorflow

    return tensorflow


def floats_of(x):
    return tf().cast(x, "float32")


NUMBERS = {
    "quotient by a constant": lambda x: x // 3,
    "quotient by a negative constant": lambda x: x // -3,
    "quotient of tensors": lambda x: x // (x[:, ::-1] * 2 + 1),
    "rest by a constant": lambda x: x % 3,
    "rest by a negative constant": lambda x: x % -3,
    "rest of tensors": lambda x: x % (x[:, ::-1] * 2 + 1),
    "wider integers": lambda x: tf().cast(x, "int64") // 4,
    "negative sizes": lambda x: x + -tf().shape(x)[1] // 4,
    "floats": lambda x: floats_of(x) // 2.5 + floats_of(x) % -2.5,
    "sums on one place": lambda x: tf().scatter_nd([[0], [2], [2]], floats_of(x[0, :3]), (5,)),
    "sums on one place of a matrix": lambda x: tf().scatter_nd(
        [[0, 1], [1, 2], [0, 1]], floats_of(x[0, :3]), (2, 4)
    ),
    "sums of rows": lambda x: tf().scatter_nd(abs(x[0, :2, None]), floats_of(x[:2]), (9, 6)),
    "sums of integers": lambda x: tf().scatter_nd([[0], [2], [2]], x[0, :3], (5,)),
    "places named once": lambda x: tf().scatter_nd([[3], [1]], floats_of(x[0, :2]), (5,)),
    "nowhere in a one-hot vector": lambda x: tf().one_hot(x, 5),
    "logarithm of one and more": lambda x: tf().math.log1p(abs(floats_of(x))),
    "exponential less one": lambda x: tf().math.expm1(floats_of(x)),
}


@pytest.mark.parametrize("case", NUMBERS)
def test_numbers_are_those_of_tensorflow_for_either_sign(k, case):
    class Layer(k.layers.Layer):
        def call(self, x):
            return NUMBERS[case](x)

    x = np.int32([[-7, -1, 5, 7, 0, -6], [3, -3, 2, -2, 9, -9]])
    given = k.Input((6,), dtype="int32", name="x")
    net = k.Model(given, Layer(name="y")(given))
    np.testing.assert_allclose(run(convert(trace(net)), x=x)["y"], net(x), rtol=1e-5, atol=1e-6)


def test_halves_of_sizes_need_no_signs(k):
    class Half(k.layers.Layer):
        def call(self, x):
            return x[:, : tf().shape(x)[1] // 2]

        def compute_output_shape(self, shape):
            return shape

    net = k.Sequential([k.Input((None, 3), name="x"), Half(name="y")])
    found = ops(convert(trace(net)))
    assert "Div" in found and "Xor" not in found


def test_repeated_places_reach_tensorrt(k, tmp_path):
    class Sums(k.layers.Layer):
        def call(self, x):
            return x[:, :1] + tf().scatter_nd([[0], [2], [2]], x[0, :3], (5,))

        def compute_output_shape(self, shape):
            return (shape[0], 5)

    assert "MatMul" in exported(k.Sequential([k.Input((4,), name="x"), Sums()]), tmp_path)
