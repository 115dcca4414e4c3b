"""Layers whose values leave float16's range on data stay in float32, and the report says which and why.

No CPU runner shows the overflow itself: they compute a float16 graph in float32.
"""

from __future__ import annotations

import numpy as np
import pytest

from keras_trt.errors import InputError
from keras_trt.exporting.export import export
from keras_trt.quantize import quantize_model
from keras_trt.runtime.distance import distance
from tests.onnx_tools import run

X = np.random.default_rng(0).uniform(10, 20, (24, 8, 8, 3)).astype(np.float32)
END = "float16 ends at 65504"


def loud_net(k):
    """`loud` makes values near 1e6 out of small ones, and `quiet` makes them small again."""
    image = k.Input((8, 8, 3), name="image")
    x = k.layers.Conv2D(8, 3, activation="relu", name="first")(image)
    x = k.layers.Conv2D(8, 3, use_bias=False, name="loud")(x)
    x = k.layers.Conv2D(8, 3, use_bias=False, name="quiet")(x)
    x = k.layers.GlobalAveragePooling2D(name="pool")(x)
    model = k.Model(image, k.layers.Dense(4, name="head")(x), name="loud_net")
    for name, factor in (("loud", 3e4), ("quiet", 1e-3)):
        model.get_layer(name).set_weights([w * factor for w in model.get_layer(name).get_weights()])
    return model


def batches():
    for start in range(0, len(X), 8):
        yield X[start : start + 8]


def largest(model, layer):
    part = type(model)(model.inputs, model.get_layer(layer).output)
    return float(np.abs(part.predict(X, verbose=0)).max())


def layers_kept(report):
    return {node.split("/")[0] for node in report.kept_float32}


def test_layers_that_make_or_read_the_values_stay_in_float32(k, tmp_path):
    model = loud_net(k)
    reached = largest(model, "loud")
    assert reached > 65504
    options = {"precision": "fp16", "compute_capabilities": ["SM89"], "verify": False, "verbose": 0}
    report = export(model, tmp_path / "net", calibration_data=X, **options)
    assert layers_kept(report) == {"loud", "quiet"}
    loud = f"layer 'loud' stays in float32: on the data it makes values of {reached:.3g}; {END}"
    quiet = f"layer 'quiet' stays in float32: on the data it reads {reached:.3g} from layer 'loud'; {END}"
    assert set(report.kept_float32.values()) == {loud, quiet}
    assert {f"L{loud[1:]}.", f"L{quiet[1:]}."} <= set(report.notes)
    assert report.plans[0]["computes"] == {"float16": 2, "float32": 2}
    found = run(tmp_path / "net" / "model.onnx", image=X)["head"]
    assert distance(model.predict(X, verbose=0), found)[0] < 1e-2


def test_without_data_the_report_says_that_overflow_was_not_looked_for(k, tmp_path):
    report = export(loud_net(k), tmp_path / "net", precision="fp16", engine=None, verify=False, verbose=0)
    assert not report.kept_float32
    assert any("overflow float16 was not checked on data: pass `calibration_data`" in n for n in report.notes)


@pytest.mark.parametrize("precision", [None, "bf16"])
def test_float32_and_bfloat16_need_no_look(k, precision, tmp_path, monkeypatch):
    from keras_trt.exporting import export_onnx

    def unwanted(*_):
        raise AssertionError("the graph was run")

    monkeypatch.setattr(export_onnx, "find_overflow", unwanted)
    options = {"precision": precision, "engine": None, "calibration_data": X, "verbose": 0}
    report = export(loud_net(k), tmp_path / "net", **options)
    assert not report.kept_float32
    assert not [note for note in report.notes if "overflow" in note]
    assert report.differences[0]["relative"] < 0.05


@pytest.mark.parametrize("data", ["array", "generator"])
def test_int8_layers_stay_int8_with_float32_around_them(k, data, tmp_path):
    model = loud_net(k)
    given = X if data == "array" else batches()  # read for the ranges first, then for overflow
    options = {"precision": "int8+fp16", "compute_capabilities": ["SM89"], "verify": False, "verbose": 0}
    report = export(model, tmp_path / "net", calibration_data=given, **options)
    assert report.plans[0]["computes"] == {"int8": 4}
    assert layers_kept(report) == {"loud", "quiet"}
    found = run(tmp_path / "net" / "model.onnx", image=X)["head"]
    expected = quantize_model(model, calibration_data=X, verbose=0).predict(X, verbose=0)
    assert distance(expected, found)[0] < 0.05


def test_one_look_at_a_tensor_holds_for_all_who_read_it_through_one_quantiser(k, tmp_path):
    image = k.Input((8, 8, 3), name="image")
    x = k.layers.Conv2D(8, 3, name="loud")(image)
    a, b = (k.layers.Conv2D(4, 1, use_bias=False, name=n)(x) for n in ("left", "right"))
    model = k.Model(image, k.layers.Concatenate(name="both")([a, b]))
    model.get_layer("loud").set_weights([w * 1e5 for w in model.get_layer("loud").get_weights()])
    for name in ("left", "right"):
        model.get_layer(name).set_weights([w * 1e-6 for w in model.get_layer(name).get_weights()])
    options = {"precision": "int8+fp16", "engine": None, "verify": False, "verbose": 0}
    report = export(model, tmp_path / "net", calibration_data=X, **options)
    assert layers_kept(report) == {"loud", "left", "right"}
    found = run(tmp_path / "net" / "model.onnx", image=X)
    assert np.isfinite(next(iter(found.values()))).all()


def test_large_inputs_of_the_model_count_and_so_does_a_fixed_batch(k, tmp_path, rng):
    x = k.Input((5,), name="seconds", batch_size=4)
    y = k.layers.Rescaling(1e-6, name="rescaled")(x)
    model = k.Model(x, k.layers.Dense(2, name="head")(y))
    data = rng.uniform(0, 1e6, (10, 5)).astype(np.float32)
    data[9, 4] = 3e6
    options = {"precision": "fp16", "compute_capabilities": ["SM89"], "verify": False, "verbose": 0}
    report = export(model, tmp_path / "net", batch=4, calibration_data=data, **options)
    assert set(report.kept_float32.values()) == {
        f"layer 'rescaled' stays in float32: on the data it reads 3e+06 from input 'seconds'; {END}"
    }


def test_a_loop_and_several_inputs_pass(k, tmp_path):
    words, size = k.Input((6,), name="words", dtype="int32"), k.Input((1,), name="size")
    x = k.layers.GRU(4, name="gru")(k.layers.Embedding(10, 3, name="embedding")(words))
    loud = k.layers.Rescaling(1e5, name="loud")(size)
    model = k.Model({"words": words, "size": size}, k.layers.Concatenate(name="both")([x, loud]))
    data = {"size": np.ones((4, 1), np.float32), "words": np.ones((4, 6), np.int32)}
    options = {"precision": "fp16", "compute_capabilities": ["SM89"], "verify": False, "verbose": 0}
    report = export(model, tmp_path / "net", calibration_data=data, **options)
    assert {"loud", "both"} <= layers_kept(report)
    assert "embedding" not in layers_kept(report)


def test_the_mask_of_attention_keeps_its_softmax_in_float32(k, tmp_path, rng):
    """Its -1e9 would be -inf in float16, and NaN where a whole row is masked."""
    steps, mask = k.Input((4, 8), name="steps"), k.Input((4, 4), name="mask", dtype="bool")
    y = k.layers.MultiHeadAttention(2, 4, name="mha")(steps, steps, attention_mask=mask)
    model = k.Model([steps, mask], k.layers.Dense(3, name="head")(y))
    data = [rng.normal(size=(3, 4, 8)).astype(np.float32), np.tril(np.ones((3, 4, 4), bool))]
    data[1][0, 0] = False
    options = {"precision": "fp16", "compute_capabilities": ["SM89"], "verbose": 0}
    report = export(model, tmp_path / "net", calibration_data=data, **options)
    kept = {node for node in report.kept_float32 if node.endswith("Softmax")}
    assert len(kept) == 1
    assert all(node.startswith("mha/") for node in report.kept_float32)
    assert report.plans[0]["computes"]["float16"] >= 4
    found = run(tmp_path / "net" / "model.onnx", steps=data[0], mask=data[1])["head"]
    assert distance(np.asarray(model(data)), found)[0] < 1e-2


def test_data_of_another_shape_is_refused_and_nothing_written(k, tmp_path):
    with pytest.raises(InputError, match="Input 'image' takes batches of shape"):
        export(loud_net(k), tmp_path / "net", precision="fp16", calibration_data=X[:, :5], verbose=0)
    assert not any(tmp_path.iterdir())
