"""What an export is compared on."""

from __future__ import annotations

import numpy as np
import pytest

from keras_trt._base.tensors import TensorSpec
from keras_trt.compare.probes.ids import smallest_table, tables_reached
from keras_trt.compare.probes.probe import ProbeError, allowed_differences, ask_keras, made_up, rows_of
from keras_trt.quantize import quantize_model
from keras_trt.trace.run import run
from keras_trt.trace.trace import trace
from tests.nets import images, residual_net


def asked(model, **options):
    return ask_keras(model, trace(model), "float32", 4, **options)


@pytest.mark.parametrize(
    ("shape", "batch", "rows"),
    [
        ((12, 6), (1, 8, 32), 32),
        ((12, 6), (1, 8, 64), 32),
        ((12, 6), (1, 1, 1), 1),
        ((12, 6), (64, 64, 64), 64),
        ((96, 96, 3), (1, 8, 32), 4),
        ((None, None, 3), (1, 8, 32), 10),
        ((224, 224, 3), (1, 8, 32), 2),
    ],
)
def test_small_inputs_are_compared_on_many_rows(shape, batch, rows):
    axes = tuple(size or f"axis_{i}" for i, size in enumerate(shape))
    assert rows_of([TensorSpec("x", ("batch", *axes), "float32")], batch) == rows


def test_the_users_rows_come_first(k):
    x = np.arange(3 * 4, dtype=np.float32).reshape(3, 4)
    model = k.Sequential([k.Input((4,), name="x"), k.layers.Dense(2)])
    answers = asked(model, data=x)
    (feeds,) = answers.feeds.values()
    np.testing.assert_array_equal(feeds, x[[0, 1, 2, 0]])


def test_images_of_bytes_are_bytes(k):
    i = k.Input((8, 8, 3), dtype="uint8")
    (x,) = asked(k.Model(i, k.layers.Rescaling(1 / 255)(i))).feeds.values()
    assert x.dtype == np.uint8
    assert x.max() > 250
    i = k.Input((8, 8, 3))
    (x,) = asked(k.Model(i, k.layers.Rescaling(1 / 255)(i))).feeds.values()
    assert x.max() > 250


def test_ids_are_in_the_smallest_table_and_sequences_no_longer_than_it(k):
    i = k.Input((None,), dtype="int32")
    model = k.Model(i, k.layers.Dense(2)(k.layers.Embedding(7, 4)(i)) + k.layers.Embedding(50, 2)(i))
    assert smallest_table(trace(model)) == 7
    (x,) = asked(model).feeds.values()
    assert x.shape == (4, 7)
    assert set(np.unique(x)) == set(range(7))


def test_a_float_input_of_an_embedding_gets_ids(k):
    i = k.Input((5,))
    answers = asked(k.Model(i, k.layers.Embedding(3, 2)(i)))
    assert np.isfinite(next(iter(answers.expected.values()))).all()


def test_where_keras_fails_on_zeros_gentler_numbers_are_tried(k):
    a, b = k.Input((4,), dtype="int32", name="a"), k.Input((4,), dtype="int32", name="b")
    rest = k.layers.Lambda(lambda x: x[0] % x[1], output_shape=(4,))
    answers = asked(k.Model([a, b], rest([a, b])))
    assert {name: feeds.all() for name, feeds in answers.feeds.items()} == {"a": True, "b": True}


def test_numbers_without_a_logarithm_are_left_for_others(k):
    i = k.Input((4,))
    log = k.layers.Lambda(lambda x: -abs(x) + x + 1e-3 + abs(x) ** 0.5 + (x - 0.4) ** 0.5, output_shape=(4,))
    (y,) = asked(k.Model(i, log(i))).expected.values()
    assert np.isfinite(y).all()


def test_what_keras_never_takes_is_the_probes_fault(k):
    def fail(x):
        raise ValueError("only for pairs")

    i = k.Input((4,))
    model = k.Model(i, k.layers.Lambda(lambda x: x, output_shape=(4,))(i))
    traced = trace(model)
    model.layers[-1].function = fail
    with pytest.raises(ProbeError, match="Keras itself fails on made-up inputs.*only for pairs"):
        ask_keras(model, traced, "float32", 4)


def test_quantised_tensors_are_driven_to_their_ranges(k):
    x = 255 * np.random.default_rng(0).random((64, 8, 8, 3)).astype(np.float32)
    model = k.Sequential([k.Input((8, 8, 3)), k.layers.Conv2D(4, 3), k.layers.Flatten(), k.layers.Dense(2)])
    quantized = quantize_model(model, calibration_data=x, verbose=0)
    (feeds,) = ask_keras(quantized, trace(quantized), "int8", 4).feeds.values()
    assert 200 < np.abs(feeds).max() < 256


def test_what_is_allowed_follows_the_networks_own_rounding(k):
    model = quantize_model(residual_net(k), calibration_data=images()[0], verbose=0)
    traced = trace(model)
    answers = ask_keras(model, traced, "int8", 4, images()[0])
    (allowed,) = answers.allowed.values()
    assert 1e-3 <= allowed < 0.05
    again = allowed_differences(model, traced, answers.feeds, answers.expected, "int8")
    assert again == answers.allowed
    (half,) = allowed_differences(model, traced, answers.feeds, answers.expected, "fp16").values()
    assert half == pytest.approx(3e-2, rel=1e-3)


def test_float16_layers_are_allowed_what_float16_rounds_whatever_the_export_asks_for(k):
    x, allowed = k.Input((4,), name="x"), []
    for dtype in ("float32", "mixed_bfloat16", "float16"):  # the second is traced in float32
        model = k.Model(x, k.layers.Dense(3, name="y", dtype=k.mixed_precision.Policy(dtype))(x))
        feeds = {"x": np.ones((2, 4), np.float32)}
        traced = trace(model)
        expected = run(model, traced, feeds)
        allowed.append(allowed_differences(model, traced, feeds, expected, "float32")["y"])
    assert allowed[1] < 1.1 * allowed[0]
    assert allowed[2] > 5 * allowed[0]


def test_what_is_left_where_numbers_cancel_is_noise_but_tiny_numbers_are_not(k):
    i = k.Input((4,))
    tiny = k.Model(i, k.layers.Lambda(lambda x: 1e-9 * x)(i))
    (allowed,) = asked(tiny).allowed.values()
    assert allowed == pytest.approx(1e-3, rel=1e-2)
    noise = k.Model(i, k.layers.Lambda(lambda x: x / 3 * 3 - x)(i))
    (allowed,) = asked(noise).allowed.values()
    assert allowed > 1


def test_integers_are_below_the_smallest_table_that_they_reach_themselves(k):
    words, kinds = k.Input((6,), dtype="int32", name="words"), k.Input((6,), dtype="int32", name="kinds")
    summed = k.layers.Embedding(50, 4)(words + 1) + k.layers.Embedding(2, 4)(kinds)
    model = k.Model([words, kinds], k.layers.Dense(2)(summed))
    assert tables_reached(trace(model)) == {"words": 50, "kinds": 2}
    feeds = asked(k.Model([words, kinds], k.layers.Embedding(60, 4)(words) + summed)).feeds
    assert feeds["words"].max() > 20
    assert set(np.unique(feeds["kinds"])) == {0, 1}


def test_integers_of_which_nothing_is_known_are_large_small_and_negative(k):
    i = k.Input((6,), dtype="int32")
    (x,) = asked(k.Model(i, k.layers.Lambda(lambda x: x // 3)(i))).feeds.values()
    assert x.min() < -3
    assert x.max() > 10
    assert np.any(x == 0)


def test_where_keras_fails_on_large_integers_small_ones_are_tried(k):
    import tensorflow as tf

    i = k.Input((6,), dtype="int32")
    table = k.layers.Lambda(
        lambda x: tf.gather(tf.stack([1.0, 2.0]) + 0 * tf.cast(x[0, :2], "float32"), x), output_shape=(6,)
    )
    (x,) = asked(k.Model(i, table(i))).feeds.values()
    assert set(np.unique(x)) == {0, 1}


def test_made_up_inputs_need_no_keras_run(k):
    model = residual_net(k)
    (x,) = made_up(model, trace(model), 3).values()
    assert x.shape[0] == 3
    assert 0.9 < x.std() < 1.1
