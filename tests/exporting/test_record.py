import hashlib
import json

import numpy as np
import pytest

import keras_trt
from keras_trt.bundle.read import read_bundle
from keras_trt.exporting.record import data_digest
from tests.nets import images, residual_net


def recorded(model, path, **options):
    keras_trt.export(model, path, engine=None, verbose=0, **options)
    return read_bundle(path).manifest.record


def test_an_export_records_layers_products_checks_versions_and_data(k, tmp_path):
    x, _ = images()
    model = keras_trt.quantize_model(residual_net(k), calibration_data=x, skip="strided", verbose=0)
    record = recorded(model, tmp_path / "net", calibration_data=x)
    layers = {row["layer"]: row for row in record["layers"]}
    assert layers["stem"] == {
        "layer": "stem",
        "kind": "Conv2D",
        "quantised": "input, kernel",
        "scheme": "int8",
        "reason": "weighted layer: input and kernel",
        "in_graph": True,
    }
    assert layers["stem_bn"]["in_graph"] is False
    assert layers["strided"]["quantised"] == ""
    computes = {p["layer"]: p["computes"] for p in record["products"]}
    assert (computes["stem"], computes["strided"]) == ("int8", "float")
    assert all(p["weights"] and p["macs"] > 0 for p in record["products"])
    assert record["verification"]["outputs"][0]["output"] == "probabilities"
    assert {"python", "tensorflow", "numpy"} <= set(record["versions"])
    assert record["calibration_data"] == data_digest(x)
    assert json.loads(json.dumps(record)) == record


def test_the_reasons_are_those_of_the_report(k, tmp_path):
    model = residual_net(k)
    rows = recorded(model, tmp_path / "net", verify=False)["layers"]
    told = {row["layer"]: row["reason"] for row in keras_trt.report(model).rows}
    assert {row["layer"]: row["reason"] for row in rows} == told


def test_of_data_that_must_not_leave_there_is_no_trace(k, tmp_path):
    x, _ = images()
    record = recorded(residual_net(k), tmp_path / "net", calibration_data=x, probe=False, precision="int8")
    assert "calibration_data" not in record


def test_the_digest_is_of_types_shapes_and_bytes(rng):
    x = rng.normal(size=(3, 4)).astype(np.float32)
    expected = hashlib.sha256(b"<f4(3, 4)" + x.tobytes()).hexdigest()
    assert data_digest(x) == {"sha256": expected, "arrays": ["float32 [3, 4]"]}
    assert data_digest(x[:, ::2]) == data_digest(np.ascontiguousarray(x[:, ::2]))
    assert data_digest(x) != data_digest(x.reshape(4, 3))
    assert len(data_digest([x, {"a": x}])["arrays"]) == 2


@pytest.mark.parametrize("data", [None, iter([1]), np.array([object()])])
def test_of_other_data_there_is_none(data):
    assert data_digest(data) is None
