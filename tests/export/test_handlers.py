"""TensorFlow ops with handlers of our own: the ONNX file computes what Keras does, and TensorRT takes it."""

from __future__ import annotations

import pytest

from keras_trt.errors import ExportError
from keras_trt.export import export
from tests.export.onnx_tools import build


def exported(model, tmp_path, **options):
    """The operators, after a comparison with Keras and a build."""
    report = export(model, tmp_path / "net", engine=None, verbose=0, **options)
    assert report.differences[0]["relative"] < 1e-5
    build(tmp_path / "net" / "model.onnx")
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


@pytest.mark.filterwarnings("ignore:.*is deprecated")
@pytest.mark.parametrize("implementation", [2, 3])
def test_sparse_kernels_of_local_layers(implementation, tmp_path):
    import tf_keras

    layer = tf_keras.layers.LocallyConnected1D(3, 3, implementation=implementation)
    assert "MatMul" in exported(tf_keras.Sequential([tf_keras.Input((8, 4)), layer]), tmp_path)
