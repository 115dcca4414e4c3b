"""What every runner promises, of every precision that a bundle may have."""

from __future__ import annotations

import numpy as np
import pytest

from keras_trt._machine import deps
from keras_trt.errors import RunnerError
from keras_trt.exporting.export import export
from keras_trt.quantize import quantize_model
from keras_trt.runtime import load
from keras_trt.runtime.feeds import cast
from keras_trt.runtime.runners.cpu import CPU_RUNNERS, ONNX_RUNNERS
from keras_trt.runtime.runners.onnxruntime.runner import PROVIDERS

PRECISIONS = {  # and how far it may be from the quantised model in float32
    "float32": 1e-4,
    "fp16": 1e-2,
    "bf16": 5e-2,
    "int8": 2e-2,
    "int8+fp16": 3e-2,
    "int8+bf16": 6e-2,
    "fp8": 2e-2,
}


def _here(runner: str) -> bool:
    if not deps.available(runner.partition("-")[0]):
        return False
    if runner in CPU_RUNNERS:
        return True
    import onnxruntime

    return PROVIDERS[runner] in onnxruntime.get_available_providers()


RUNNERS = [
    pytest.param(name, marks=pytest.mark.skipif(not _here(name), reason=f"{name} is not available here"))
    for name in ONNX_RUNNERS
]


def _network(k):
    L = k.layers
    i = k.Input((12, 12, 4), name="image")
    y = L.Conv2D(8, 3, padding="same", activation="relu", bias_initializer="normal")(i)
    z = L.Conv2D(8, 3, padding="same", activation="swish")(L.MaxPooling2D()(y))
    y = L.Add()([z, L.Conv2D(8, 1)(z)])
    y = L.GlobalAveragePooling2D()(L.DepthwiseConv2D(3, activation="relu6")(y))
    return k.Model(i, [L.Dense(5, name="scores")(y), L.Dense(3, activation="sigmoid", name="tags")(y)])


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_runner_computes_every_precision(k, tmp_path, rng, precision, runner):
    model, x = _network(k), rng.normal(size=(16, 12, 12, 4)).astype(np.float32)
    kind = precision.partition("+")[0]
    if kind in ("int8", "fp8"):
        model = quantize_model(model, kind, calibration_data=x, min_sqnr=None, verbose=0)
    asked = None if kind == "fp8" else precision
    export(model, tmp_path / "net", precision=asked, engine=None, calibration_data=x, verify=False, verbose=0)
    with load(tmp_path / "net", runner, verbose=0) as engine:
        assert engine.runner.name == runner
        for found, expected in zip(engine.predict(x, verbose=0), model.predict(x, verbose=0), strict=True):
            assert found.shape == expected.shape
            assert np.linalg.norm(found - expected) <= PRECISIONS[precision] * np.linalg.norm(expected)
        for rows in (1, 5):
            for part, whole in zip(engine(x[:rows]), engine(x), strict=True):
                np.testing.assert_allclose(part, whole[:rows], rtol=0, atol=0.02 * np.abs(whole).max())
        made = engine.runner
        feeds = cast({made.inputs[0].name: x}, made.inputs)
        first = made.run(feeds)
        assert set(first) == {spec.name for spec in made.outputs}
        kept = {name: y.copy() for name, y in first.items()}
        made.run({name: np.zeros_like(value) for name, value in feeds.items()})
        for name, y in first.items():  # owned by the caller, also after the next call
            np.testing.assert_array_equal(y, kept[name])
            y[...] = 0
        with pytest.raises(RunnerError, match=f"{made.inputs[0].name}|inputs"):
            made.run({made.inputs[0].name: np.zeros((1, 2), feeds[made.inputs[0].name].dtype)})
    with pytest.raises(RunnerError, match="The engine is closed"):
        engine(x)
