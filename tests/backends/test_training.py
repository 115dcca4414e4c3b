"""Quantised and pruned training on JAX and PyTorch: in `fit`, by callbacks, saved and loaded."""

from __future__ import annotations

import sys

import keras
import numpy as np
import pytest

import keras_trt
from keras_trt.errors import InputError, ModelError
from tests.backends.conftest import BACKEND, values


def kernels(model):
    return {w.path.split("/", 1)[0]: values(w) for w in model.trainable_weights if "kernel" in w.path}


def accuracy(model, rows):
    return model.evaluate(*rows, verbose=0)[1]


def test_post_training_quantisation_and_training_after_it(net, rows):
    model = net()
    model.fit(*rows, epochs=4, verbose=0)
    before = [values(w) for w in model.weights]
    quantized = keras_trt.quantize_model(model, calibration_data=rows[0][:64], verbose=0)
    quantized.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    ranges = {t.name: t.amax for t in keras_trt.quantize.inventory.inventory(quantized) if t.amax is not None}
    assert accuracy(model, rows) > 0.9
    assert accuracy(quantized, rows) >= accuracy(model, rows) - 0.02
    assert np.abs(quantized.predict(rows[0], verbose=0) - model.predict(rows[0], verbose=0)).max() > 0
    quantized.fit(*rows, epochs=2, verbose=0)
    after = {t.name: t.amax for t in keras_trt.quantize.inventory.inventory(quantized) if t.amax is not None}
    assert any(after[name] != ranges[name] for name in ranges)  # ranges follow training
    assert accuracy(quantized, rows) > 0.9
    for old, weight in zip(before, model.weights, strict=True):  # nothing is shared with the copy
        np.testing.assert_array_equal(values(weight), old)


def test_files_keep_all(net, rows, tmp_path):
    model = keras_trt.quantize_model(
        keras_trt.prune_model(net(), 0.5), calibration_data=rows[0][:64], verbose=0
    )
    keras_trt.save_model(model, tmp_path / "net.keras")
    loaded = keras_trt.load_model(tmp_path / "net.keras")
    np.testing.assert_array_equal(loaded.predict(rows[0], verbose=0), model.predict(rows[0], verbose=0))
    assert keras_trt.report(loaded).rows == keras_trt.report(model).rows
    loaded.compile("adam", "sparse_categorical_crossentropy")
    loaded.fit(*rows, epochs=1, verbose=0)
    assert all((kernel == 0).mean() == 0.5 for kernel in kernels(loaded).values())


def test_masks_hold_whatever_the_optimiser_does(net, rows):
    for options in ({}, {"use_ema": True}, {"weight_decay": 0.01}, {"gradient_accumulation_steps": 2}):
        model = keras_trt.prune_model(net(**options), 0.5, copy=False)
        was = {name: kernel == 0 for name, kernel in kernels(model).items()}
        model.fit(*rows, epochs=2, verbose=0)
        keras_trt.prune.reapply(model)
        for name, kernel in kernels(model).items():
            np.testing.assert_array_equal(kernel == 0, was[name], err_msg=f"{options} {name}")


def test_callbacks_in_one_fit(net, rows):
    model = net()
    prune = keras_trt.callbacks.Prune(0.5, begin_step=4, end_step=20, frequency=4)
    quantize = keras_trt.callbacks.Quantize(start_epoch=2, freeze_ranges_epoch=3)
    log = keras_trt.callbacks.SparsityLog()
    history = model.fit(*rows, epochs=4, verbose=0, callbacks=[quantize, prune, log])
    assert history.history["sparsity"][0] < history.history["sparsity"][-1] == 0.5
    assert prune.sparsity == 0.5
    assert {row["layer"] for row in keras_trt.report(model).rows if row["quantised"]} >= {"stem", "head"}
    assert accuracy(model, rows) > 0.9


def test_the_switch_costs_jax_no_more_than_one_compilation(net, rows):
    if BACKEND != "jax":
        pytest.skip("PyTorch compiles nothing")
    model, traces = net(), []

    class Counting(keras.layers.Layer):
        def call(self, x):
            traces.append(1)
            return x

    inner = keras.Model(model.inputs, Counting()(model.outputs[0]))
    inner.compile("adam", "sparse_categorical_crossentropy")
    with pytest.warns(UserWarning, match="stays float"):
        inner.fit(*rows, epochs=1, verbose=0, callbacks=[keras_trt.callbacks.Quantize(start_epoch=9)])
    float_only = len(traces)
    traces.clear()
    inner.fit(*rows, epochs=4, verbose=0, callbacks=[keras_trt.callbacks.Quantize(start_epoch=2)])
    assert len(traces) <= 2 * float_only


def test_learned_ranges_get_a_gradient(net, rows):
    model = keras_trt.quantize_model(
        net(), keras_trt.schemes.Int8(learned_ranges=True), calibration_data=rows[0][:64], verbose=0
    )
    before = [values(w) for w in model.trainable_weights if "amax" in w.path]
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    model.fit(*rows, epochs=1, verbose=0)
    after = [values(w) for w in model.trainable_weights if "amax" in w.path]
    assert before
    assert all(np.isfinite(x) and x != y for x, y in zip(before, after, strict=True))


@pytest.mark.parametrize("scheme", ["fp8", "int4-weights", "int8-weights"])
def test_every_scheme_computes(net, rows, scheme):
    model = net()
    quantized = keras_trt.quantize_model(model, scheme, calibration_data=rows[0][:64], verbose=0)
    off = np.abs(quantized.predict(rows[0], verbose=0) - model.predict(rows[0], verbose=0)).max()
    assert 0 < off < 0.2


def test_other_public_functions(net, rows):
    model = net()
    model.fit(*rows, epochs=1, verbose=0)
    quantized = keras_trt.quantize_model(model, calibration_data=rows[0][:64], verbose=0)
    stripped = keras_trt.strip(quantized)
    np.testing.assert_allclose(
        stripped.predict(rows[0], verbose=0), model.predict(rows[0], verbose=0), atol=1e-6
    )
    fused = keras_trt.fuse_model(model)
    assert len(fused.layers) == len(model.layers) - 1
    np.testing.assert_allclose(
        fused.predict(rows[0], verbose=0), model.predict(rows[0], verbose=0), atol=1e-5
    )
    narrow = keras_trt.prune_model(model, 0.4, pattern="channel")
    assert narrow.count_params() < model.count_params()
    merged = keras_trt.merge_models([model, fused])
    assert len(merged.predict(rows[0][:2], verbose=0)) == 2
    twice = keras_trt.merge_models([model, model], combine="vote")
    assert twice.count_params() == model.count_params()
    votes = twice.predict(rows[0], verbose=0)
    np.testing.assert_array_equal(votes.argmax(-1), model.predict(rows[0], verbose=0).argmax(-1))
    assert list(keras_trt.sensitivity(model, rows[0][:64], verbose=0).losses)
    assert "stem" in str(keras_trt.plan(model, check_import=False))
    keras_trt.calibrate(quantized, rows[0][:64], method="max", verbose=0)
    budget = keras_trt.quantize_model(model, data=rows, max_drop=0.05, verbose=0)
    assert keras_trt.Recipe.of(budget).model == "net"


def test_ranges_are_learned_from_the_callback(net, rows):
    class Ranges(keras.callbacks.Callback):
        seen = ()

        def on_epoch_end(self, epoch, logs=None):
            now = [values(w).item() for w in self.model.trainable_variables if "amax" in w.path]
            self.seen = (*self.seen, now)

    learned, x, ranges = keras_trt.schemes.Int8(learned_ranges=True), rows[0][:64], Ranges()
    model = net()
    callback = keras_trt.callbacks.Quantize(scheme=learned, calibration_data=x, start_epoch=1, verbose=0)
    model.fit(*rows, epochs=3, verbose=0, callbacks=[callback, ranges])
    floats, second, third = (np.array(each) for each in ranges.seen)
    assert floats.size > 0
    assert not floats.any()
    assert (second > 0).all()
    assert (second != third).all()
    for options in ({}, {"calibration_data": x, "freeze_ranges_epoch": 1}):
        callback = keras_trt.callbacks.Quantize(scheme=learned, verbose=0, **options)
        with pytest.raises(InputError, match="begin with `calibration_data`.*leave the second out"):
            net().fit(*rows, epochs=1, verbose=0, callbacks=[callback])


def test_what_needs_the_graph_says_so(net, rows):
    with pytest.raises(InputError, match=rf"'{BACKEND}' backend, recover=\['equalization'\]. Available: "):
        keras_trt.quantize_model(net(), calibration_data=rows[0], recover=["equalization"], verbose=0)
    with pytest.raises(ModelError, match=f"'{BACKEND}' backend.*KERAS_BACKEND=tensorflow"):
        net().fit(*rows, epochs=1, verbose=0, callbacks=[keras_trt.callbacks.Quantize(distill=True)])


def test_data_of_the_backend_itself_calibrates(net, rows):
    x = keras.ops.convert_to_tensor(rows[0][:64])
    a = keras_trt.quantize_model(net(), calibration_data=x, verbose=0)
    b = keras_trt.quantize_model(net(), calibration_data=rows[0][:64], verbose=0)
    assert keras_trt.report(a).rows == keras_trt.report(b).rows


def test_data_that_needs_a_gradient_calibrates(net, rows):
    if BACKEND != "torch":
        pytest.skip("JAX's arrays have no such state")
    import torch

    x, y = torch.tensor(rows[0][:64], requires_grad=True), torch.tensor(rows[1][:64])
    a = keras_trt.quantize_model(net(), calibration_data=x, verbose=0)
    b = keras_trt.quantize_model(net(), calibration_data=rows[0][:64], verbose=0)
    assert keras_trt.report(a).rows == keras_trt.report(b).rows
    keras_trt.quantize_model(net(), data=(x, y.float().requires_grad_()), max_drop=1.0, verbose=0)


def test_pytorchs_own_lists_have_every_weight(net, rows, tmp_path):
    if BACKEND != "torch":
        pytest.skip("of PyTorch's modules")
    import torch

    learned = keras_trt.schemes.Int8(learned_ranges=True)
    inner = net()
    outer = keras.Sequential([keras.Input((8, 8, 3)), inner, keras.layers.Dense(4)])
    by_callback = net()
    by_callback.fit(*rows, verbose=0, callbacks=[keras_trt.callbacks.Quantize()])
    quantized = keras_trt.quantize_model(outer, learned, calibration_data=rows[0][:64], verbose=0)
    keras_trt.save_model(quantized, tmp_path / "net.keras")
    loaded = keras_trt.load_model(tmp_path / "net.keras")
    for model in (inner, outer, by_callback, quantized, loaded, keras_trt.strip(quantized)):
        assert {id(p) for p in model.parameters()} == {id(w.value) for w in model.weights}
        assert len({x.data_ptr() for x in model.state_dict().values()}) == len(model.weights)
    before = [values(w) for w in quantized.trainable_weights if "amax" in w.path]
    optimizer = torch.optim.SGD(quantized.parameters(), 1.0)
    quantized(torch.tensor(rows[0][:8])).square().sum().backward()
    optimizer.step()
    after = [values(w) for w in quantized.trainable_weights if "amax" in w.path]
    assert any(x != y for x, y in zip(before, after, strict=True))


def test_quantising_and_training_import_no_tensorflow():
    code = (
        "import sys, numpy as np, keras, keras_trt\n"
        "model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(16), keras.layers.Dense(3)])\n"
        "x = np.random.rand(32, 4).astype('float32')\n"
        "model = keras_trt.prune_model(keras_trt.quantize_model(model, calibration_data=x, verbose=0), 0.5)\n"
        "model.compile('sgd', 'mse'); model.fit(x, np.zeros((32, 3)), verbose=0)\n"
        "print(sorted({'tensorflow', 'tf_keras', 'tf2onnx', 'onnx'} & set(sys.modules)))\n"
    )
    import subprocess

    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip().endswith("[]"), run.stdout


def test_sparse_data_is_refused_with_the_way_out(net):
    if BACKEND == "torch":
        import torch

        sparse, way = torch.zeros(2, 8, 8, 3).to_sparse(), r"x\.to_dense\(\)"
    else:
        from jax.experimental import sparse as jax_sparse

        sparse, way = jax_sparse.BCOO.fromdense(np.zeros((2, 8, 8, 3), "float32")), r"x\.todense\(\)"
    with pytest.raises(InputError, match=f"`calibration_data` must be dense.*{way}"):
        keras_trt.quantize_model(net(), calibration_data=sparse, verbose=0)
