"""What `quantize_model` promises, for models of either Keras."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from keras_trt._keras.flavor_of import flavor_of
from keras_trt.errors import InputError, ModelError
from keras_trt.models.load_model import load_model
from keras_trt.models.report import report
from keras_trt.models.save_model import save_model
from keras_trt.models.strip import strip
from keras_trt.placement.schemes import Int4Weights
from keras_trt.quantize import calibrate, plan_quantization, quantize_model
from keras_trt.quantize.inventory import inventory, quantizers_of
from keras_trt.twins.twins import is_twin
from tests.nets import compiled, images, residual_net


@pytest.fixture
def float_model(k):
    k.utils.set_random_seed(0)
    return residual_net(k)


def ranges(model):
    return [t.amax for t in inventory(model) if t.kind == "activation"]


def quantized_paths(model):
    return {t.layer for t in inventory(model)}


def test_the_layers_tensorrt_runs_in_int8_are_quantised(float_model):
    model = quantize_model(float_model)
    assert quantized_paths(model) == {
        "stem", "separable", "depthwise", "add", "strided", "average", "probabilities",
    }  # fmt: skip


def test_the_argument_is_never_changed(float_model):
    before = [w.copy() for w in float_model.get_weights()]
    x, y = images()
    model = compiled(None, quantize_model(float_model, calibration_data=x, verbose=0))
    model.fit(x, y, verbose=0)
    assert not any(is_twin(layer) for layer in float_model.layers)
    assert all(np.array_equal(a, b) for a, b in zip(before, float_model.get_weights(), strict=True))


def test_layer_names_and_float_weights_stay(float_model):
    model = quantize_model(float_model)
    assert [layer.name for layer in model.layers] == [layer.name for layer in float_model.layers]
    for layer in float_model.layers:
        twin = model.get_layer(layer.name)
        parts = [twin.quantization_switch, *quantizers_of(twin)] if is_twin(twin) else []
        added = [weight for part in parts for weight in part.weights]
        ours = [w.numpy() for w in twin.weights if all(w is not other for other in added)]
        assert all(np.array_equal(a, b) for a, b in zip(layer.get_weights(), ours, strict=True))


def test_without_calibration_it_is_float_until_the_first_training_step(float_model):
    x, y = images()
    model = quantize_model(float_model, only="strided")
    weights_only = np.abs(model.predict(x, verbose=0) - float_model.predict(x, verbose=0)).max()
    assert ranges(model) == [0.0]
    assert weights_only < 0.02
    compiled(None, model).fit(x, y, verbose=0)
    assert min(ranges(model)) > 0


def test_weights_in_the_forward_pass_lie_on_the_int8_grid_of_their_channel(k):
    inputs = k.Input((6,))
    model = quantize_model(k.Model(inputs, k.layers.Dense(5, use_bias=False, name="d")(inputs)))
    eye = np.eye(6, dtype=np.float32)
    used = model.predict(eye, verbose=0)  # ranges are unknown, so only the kernel is quantised
    kernel = model.get_layer("d").get_weights()[0]
    scale = np.abs(kernel).max(axis=0) / 127
    np.testing.assert_allclose(used, np.round(kernel / scale) * scale, rtol=1e-6)
    assert not np.array_equal(used, kernel)


def test_activations_lie_on_a_grid_of_255_steps_and_are_clipped_at_the_range(k):
    inputs = k.Input((4,))
    model = k.Model(
        inputs, k.layers.Dense(4, use_bias=False, kernel_initializer="identity", name="d")(inputs)
    )
    model = quantize_model(model, ranges={"d": 2.0})
    x = np.array([[0.0, 1.0, 5.0, -5.0]], np.float32)
    expected = np.array([[0.0, np.round(63.5) * 2 / 127, 2.0, -128 * 2 / 127]], np.float32)
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-6)


@pytest.mark.parametrize("jit", [True, False])
def test_it_fits_with_and_without_xla(float_model, jit):
    x, y = images()
    model = quantize_model(float_model, calibration_data=x, verbose=0)
    model.compile("adam", "sparse_categorical_crossentropy", jit_compile=jit)
    losses = model.fit(x, y, epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_it_fits_in_mixed_precision(k, policy):
    k.mixed_precision.set_global_policy(policy)
    try:
        float_model = residual_net(k)
    finally:
        k.mixed_precision.set_global_policy("float32")
    x, y = images()
    model = compiled(k, quantize_model(float_model, calibration_data=x, verbose=0))
    assert np.isfinite(model.fit(x, y, verbose=0).history["loss"]).all()
    assert 0 < min(ranges(model)) <= max(ranges(model)) < np.inf


def test_saving_and_loading_changes_no_prediction_and_training_resumes(float_model, tmp_path):
    x, y = images()
    model = compiled(None, quantize_model(float_model, calibration_data=x, verbose=0))
    model.fit(x, y, verbose=0)
    save_model(model, tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    assert np.array_equal(model.predict(x, verbose=0), loaded.predict(x, verbose=0))
    assert int(loaded.optimizer.iterations.numpy()) == 2
    model.fit(x, y, shuffle=False, verbose=0)
    loaded.fit(x, y, shuffle=False, verbose=0)
    assert ranges(model) == pytest.approx(ranges(loaded), rel=0.05)


def test_a_fresh_process_loads_the_file_and_predicts_the_same(float_model, tmp_path):
    x, _ = images(8)
    model = quantize_model(float_model, calibration_data=x, verbose=0)
    save_model(model, tmp_path / "model.keras")
    np.save(tmp_path / "x.npy", x)
    code = (
        "import sys, numpy as np; from keras_trt.models.load_model import load_model;"
        "d = sys.argv[1]; m = load_model(d + '/model.keras');"
        "np.save(d + '/y.npy', m.predict(np.load(d + '/x.npy'), verbose=0))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True)
    assert np.array_equal(model.predict(x, verbose=0), np.load(tmp_path / "y.npy"))


def test_float_checkpoints_load_into_a_quantised_model_and_back(float_model, tmp_path):
    x, _ = images()
    float_model.save_weights(tmp_path / "float.weights.h5")
    other = quantize_model(residual_net(_namespace(float_model)), calibration_data=x, verbose=0)
    before = ranges(other)
    other.load_weights(tmp_path / "float.weights.h5")
    assert np.array_equal(other.get_layer("stem").get_weights()[0], float_model.get_weights()[0])
    assert ranges(other) == before
    stripped = strip(other)
    assert np.array_equal(stripped.predict(x, verbose=0), float_model.predict(x, verbose=0))
    assert len(stripped.weights) == len(float_model.weights)
    assert type(stripped.get_layer("stem")) is type(float_model.get_layer("stem"))


def test_quantising_twice_changes_nothing_more(float_model):
    x, _ = images()
    once = quantize_model(float_model, calibration_data=x, verbose=0)
    twice = quantize_model(once)
    assert inventory(once) == inventory(twice)
    assert np.array_equal(once.predict(x, verbose=0), twice.predict(x, verbose=0))


def test_only_and_skip_choose_layers_and_the_report_says_so(k, float_model):
    model = quantize_model(float_model, only=[k.layers.Conv2D, "probabilities"], skip="str.*")
    # tf_keras's DepthwiseConv2D is no Conv2D, Keras 3's neither
    assert quantized_paths(model) == {"stem", "probabilities"}
    rows = {row["layer"]: row for row in report(model).rows}
    assert rows["strided"]["reason"] == "left out by `only` or `skip`"
    assert rows["both"]["reason"].startswith("its readers quantise")
    with pytest.raises(InputError, match="matches no layer.*'stam'.*stem"):
        quantize_model(float_model, skip="stam")


def test_ranges_set_by_hand_hold_through_calibration_and_training(float_model):
    x, y = images()
    model = quantize_model(float_model, calibration_data=x, ranges={"strided": 0.5}, verbose=0)
    compiled(None, model).fit(x, y, verbose=0)
    assert {t.amax for t in inventory(model) if t.layer == "strided" and t.amax} == {0.5}
    with pytest.raises(InputError, match="'nothing'.*Quantised layers: stem"):
        quantize_model(float_model, ranges={"nothing": 1.0})
    for amax in (0.0, np.inf, np.nan, None, "wide"):
        with pytest.raises(InputError, match="> 0.*'strided'"):
            quantize_model(float_model, ranges={"strided": amax})
    with pytest.raises(InputError, match=r"`ranges` must be a dict with names as keys\. Received: 3\.0"):
        quantize_model(float_model, ranges=3.0)
    with pytest.raises(InputError, match="without quantised activations.*'strided'.*none"):
        quantize_model(float_model, "int8-weights", ranges={"strided": 1.0})


def test_a_range_by_name_counts_for_every_layer_of_that_name(k):
    def part(name):
        inputs = k.Input((4,))
        return k.Model(inputs, k.layers.Dense(4, name="same")(inputs), name=name)

    inputs = k.Input((4,))
    model = k.Model(inputs, part("b")(part("a")(inputs)))
    by_name, by_path = (quantize_model(model, ranges={key: 2.0}) for key in ("same", "b/same"))
    assert ranges(by_name) == [2.0, 2.0]
    assert ranges(by_path) == [0.0, 2.0]


def test_the_plan_is_what_quantize_model_does(float_model):
    rows = {row["layer"]: row for row in plan_quantization(float_model).rows}
    assert {p for p, row in rows.items() if row["inputs"]} == quantized_paths(quantize_model(float_model))
    assert rows["add"] == {
        "layer": "add", "kind": "Add", "inputs": "0", "kernels": "", "scheme": "int8",
        "reason": "residual addition: every branch but the one from depthwise",
    }  # fmt: skip
    assert "residual addition" in str(plan_quantization(float_model))


@pytest.mark.parametrize("method", ["max", "percentile", "entropy", "mse", "std"])
def test_calibration_keeps_predictions_close(float_model, method):
    x, _ = images(128)
    model = quantize_model(float_model, calibration_data=x, method=method, verbose=0)
    assert np.abs(model.predict(x, verbose=0) - float_model.predict(x, verbose=0)).mean() < 0.03


def test_calibration_takes_every_kind_of_data(k, float_model):
    tf = flavor_of(float_model).tf
    x, y = images()
    reference = ranges(quantize_model(float_model, calibration_data=x, verbose=0))
    sequence_class = getattr(k.utils, "PyDataset", None) or k.utils.Sequence

    class Batches(sequence_class):
        def __len__(self):
            return 2

        def __getitem__(self, i):
            return x[32 * i : 32 * i + 32], y[32 * i : 32 * i + 32]

    for data in (
        tf.data.Dataset.from_tensor_slices((x, y)).batch(32),
        (x[i : i + 32] for i in (0, 32)),
        Batches(),
        [x],
        {"image": x},
    ):
        model = calibrate(quantize_model(float_model), data, verbose=0)
        assert ranges(model) == pytest.approx(reference, rel=1e-5)


def test_bad_calibration_data_is_refused(float_model):
    x, _ = images()
    model = quantize_model(float_model)
    with pytest.raises(InputError, match="no batch"):
        calibrate(model, x[:0], verbose=0)
    with pytest.raises(InputError, match=r"'image' takes batches of shape \(None, 8, 8, 3\).*\(32, 8, 8\)"):
        calibrate(model, x[..., 0], verbose=0)
    with pytest.raises(InputError, match=r"Received: shape \(8, 8, 3\). Batch the data first"):
        calibrate(model, (image for image in x), verbose=0)
    with pytest.raises(InputError, match=r"'image' takes batches of shape.*\(32, 6, 8, 3\)"):
        calibrate(model, iter([x[:32], x[:32, 2:]]), verbose=0)  # not the first batch
    endless = flavor_of(float_model).tf.data.Dataset.from_tensors(x).repeat()
    with pytest.raises(InputError, match=r"must end.*data.take\(16\)"):
        quantize_model(float_model, calibration_data=endless, verbose=0)
    assert calibrate(quantize_model(float_model), endless, steps=2, verbose=0)
    for data in (None, 3, "images"):
        with pytest.raises(InputError, match="an array, a list or dict of arrays.*Received"):
            calibrate(model, data, verbose=0)
    for option in ("batch_size", "steps"):
        with pytest.raises(InputError, match=f"`{option}` must be None or a whole number >= 1. Received: 0"):
            calibrate(model, x, verbose=0, **{option: 0})
    poisoned = x.copy()
    poisoned[3, 1, 1, 1] = np.nan
    with pytest.raises(InputError, match="layer 'stem' NaN"):
        calibrate(model, poisoned, verbose=0)
    with pytest.raises(ModelError, match="no quantised activation"):
        calibrate(float_model, x, verbose=0)


def test_models_that_cannot_be_quantised_are_refused(k):
    with pytest.raises(ModelError, match="no weights yet"):
        quantize_model(k.Sequential([k.layers.Dense(3)]))
    inputs = k.Input((4,))
    with pytest.raises(ModelError, match="No layer of model.*Softmax"):
        quantize_model(k.Model(inputs, k.layers.Softmax()(inputs)))
    with pytest.raises(ModelError, match="not a single layer"):
        quantize_model(k.layers.Dense(3))
    with pytest.raises(ModelError, match="A Keras 3 or tf_keras model is needed"):
        quantize_model("model.keras")
    with pytest.raises(InputError, match="one of"):
        quantize_model(residual_net(k), scheme="int3")
    with pytest.raises(InputError, match="`scheme` matches no layer.*'stam'.*stem"):
        quantize_model(residual_net(k), {"stam": "int8"})
    with pytest.raises(InputError, match="`method` must be one of.*'maxx'"):
        quantize_model(residual_net(k), method="maxx")
    odd = k.Input((9,))
    with pytest.raises(
        ModelError, match=r"odd \(Dense\): its 9 inputs divide into no even blocks of 8 to 128"
    ):
        quantize_model(k.Model(odd, k.layers.Dense(4, name="odd")(odd)), Int4Weights(block=128))


@pytest.mark.parametrize("case", ["zero_channel", "one_channel", "constant", "one_sample", "outlier"])
def test_awkward_values_give_finite_ranges_and_outputs(k, case):
    inputs = k.Input((8, 8, 3))
    x = k.layers.Conv2D(1 if case == "one_channel" else 4, 3, name="c")(inputs)
    model = k.Model(inputs, k.layers.Dense(2, name="d")(k.layers.Flatten()(x)))
    data, _ = images(1 if case == "one_sample" else 16)
    if case == "zero_channel":
        kernel, bias = model.get_layer("c").get_weights()
        kernel[..., 2] = 0
        model.get_layer("c").set_weights([kernel, bias])
    if case == "constant":
        data[:] = 0.5
    if case == "outlier":
        data[0, 0, 0, 0] = 1e30
    for method in ("max", "entropy"):
        quantized = quantize_model(model, calibration_data=data, method=method, verbose=0)
        assert 0 < min(ranges(quantized)) <= max(ranges(quantized)) < np.inf
        assert np.isfinite(quantized.predict(data, verbose=0)).all()


def test_frozen_layers_keep_their_weights_and_their_flag(float_model):
    x, y = images()
    float_model.get_layer("stem").trainable = False
    model = compiled(None, quantize_model(float_model))
    before = model.get_layer("stem").get_weights()[0].copy()
    model.fit(x, y, verbose=0)
    assert not model.get_layer("stem").trainable
    assert np.array_equal(before, model.get_layer("stem").get_weights()[0])


def test_a_layer_called_twice_has_one_kernel_and_one_range(k):
    inputs = k.Input((6,))
    shared = k.layers.Dense(6, name="shared")
    model = k.Model(inputs, shared(k.layers.ReLU()(shared(inputs))))
    x = np.random.default_rng(0).normal(size=(32, 6)).astype("float32")
    quantized = quantize_model(model, calibration_data=x, verbose=0)
    assert [t.kind for t in inventory(quantized)] == ["activation", "weight"]
    assert inventory(quantized)[0].amax >= np.abs(x).max()


def test_saving_refuses_other_suffixes_and_missing_files(float_model, tmp_path):
    with pytest.raises(InputError, match="`.keras` files"):
        save_model(float_model, tmp_path / "model.h5")
    with pytest.raises(InputError, match="No readable"):
        load_model(tmp_path / "none.keras")
    assert not list(tmp_path.iterdir())


def _namespace(model):
    return flavor_of(model).keras


def test_a_model_without_a_layer_to_quantise_says_how_to_name_one_of_the_users_own(k):
    class Projection(k.layers.Layer):
        def build(self, shape):
            self.w = self.add_weight(shape=(shape[-1], 4), name="w")

        def call(self, x):
            return x @ self.w

    i = k.Input((8,))
    line = r"Tell the library about custom layers: keras_trt\.register_layer\(Projection, kernels=\['w'\]\)\."
    with pytest.raises(ModelError, match=line):
        quantize_model(k.Model(i, Projection()(i)), verbose=0)
    with pytest.raises(ModelError, match=r"can be quantised\. Received: .*(?<!\))\.$"):
        quantize_model(k.Model(i, k.layers.ReLU()(i)), verbose=0)
