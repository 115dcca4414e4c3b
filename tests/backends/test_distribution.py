"""`keras.distribution`: two logical devices of JAX compute what one does, quantised and pruned."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import keras_trt
from tests.backends.conftest import BACKEND, values

pytestmark = [
    pytest.mark.skipif(BACKEND != "jax", reason="keras.distribution works on JAX only"),
    pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning"),  # as in test_export.py
]


@pytest.fixture(autouse=True)
def no_distribution_afterwards():
    yield
    keras.distribution.set_distribution(None)


def data_parallel():
    return keras.distribution.DataParallel()


def model_parallel():
    """The kernel of the head, and so its mask and the moments of it, is divided between the devices."""
    mesh = keras.distribution.DeviceMesh((1, 2), ("batch", "model"), keras.distribution.list_devices())
    layout = keras.distribution.LayoutMap(mesh)
    layout[".*head/kernel"] = (None, "model")
    return keras.distribution.ModelParallel(layout_map=layout, batch_dim_name="batch")


def trained(net, rows, distribution):
    """The weights, masks and ranges after a training, and what is predicted."""
    keras.distribution.set_distribution(distribution)
    model = keras_trt.quantize_model(net(), calibration_data=rows[0][:64], verbose=0)
    model.compile(keras.optimizers.SGD(0.01), "sparse_categorical_crossentropy")
    prune = keras_trt.callbacks.Prune(0.5, begin_step=2, end_step=12, frequency=2)
    model.fit(*rows, epochs=2, shuffle=False, verbose=0, callbacks=[prune])
    return model, [values(w) for w in model.weights], model.predict(rows[0], verbose=0)


@pytest.mark.parametrize("distribution", [data_parallel, model_parallel])
def test_ranges_masks_and_numbers_agree(net, rows, distribution):
    assert len(keras.distribution.list_devices()) == 2
    _, weights, predicted = trained(net, rows, None)
    model, divided, again = trained(net, rows, distribution())
    names = [w.path for w in model.weights]
    assert any("amax" in name for name in names)
    for name, one, two in zip(names, weights, divided, strict=True):
        np.testing.assert_allclose(two, one, rtol=1e-4, atol=1e-5, err_msg=name)
        if "kernel" in name:
            np.testing.assert_array_equal(two == 0, one == 0, err_msg=name)
    assert (values(model.get_layer("head").kernel) == 0).mean() == 0.5
    assert (np.abs(again - predicted) > 1e-3).mean() < 0.01


def test_layouts_go_along_into_copies_and_files(net, rows, tmp_path):
    model, _, predicted = trained(net, rows, model_parallel())
    keras_trt.save_model(model, tmp_path / "net.keras")
    loaded = keras_trt.load_model(tmp_path / "net.keras")
    np.testing.assert_array_equal(loaded.predict(rows[0], verbose=0), predicted)
    for each in (model, loaded, keras_trt.strip(model), keras_trt.prune_model(net(), 0.5)):
        assert tuple(each.get_layer("head").kernel.value.sharding.spec) == (None, "model")
    keras_trt.export(model, tmp_path / "net.bundle", engine=None, verbose=0)
    exported = keras_trt.load(tmp_path / "net.bundle", verbose=0).predict(rows[0])
    assert (np.abs(exported - predicted) > 1e-3).mean() < 0.01
