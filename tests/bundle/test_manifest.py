import dataclasses
import json
from dataclasses import replace

import pytest

from keras_trt._base.tensors import TensorSpec
from keras_trt.bundle import Manifest, PlanStamp, plan_file
from keras_trt.bundle.manifest import names_in
from keras_trt.errors import BundleError
from tests.small_onnx import conv_model, manifest_of

DIGEST = "0123456789abcdef" * 4


@pytest.fixture
def manifest():
    stamp = PlanStamp("plans/a.plan", "tensorrt_rtx", "1.7.1", "linux", ("SM86", "SM89"), DIGEST, 10)
    return manifest_of(
        conv_model(),
        DIGEST,
        plans=(stamp,),
        quantization={"layers": ["conv1"]},
        axis_sizes={"time": (1, 2, 3)},
        external_data={"model.onnx.data": DIGEST},
    )


def test_a_manifest_comes_back_from_its_text(manifest):
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_tuples_come_back_as_tuples(manifest):
    (name,) = names_in(manifest.output_structure)
    for structure in ((name,), {"a": (name, [name])}, [[name], (name, (name,))], ({"a": (name,)},)):
        made = dataclasses.replace(manifest, output_structure=structure)
        assert Manifest.from_json(made.to_json()).output_structure == structure


@pytest.mark.parametrize("places", [[["a"]], [[0]], [1], "x", [[1.5]], [[], []]])
def test_places_of_tuples_are_those_of_lists(manifest, places):
    data = json.loads(manifest.to_json())
    if places == [[], []]:
        data["output_structure"] = [data["output_structure"]]
    with pytest.raises(BundleError, match="`output_tuples`"):
        Manifest.from_json(json.dumps({**data, "output_tuples": places}))


def test_equal_manifests_give_equal_text(manifest):
    again = dataclasses.replace(manifest)
    assert again.to_json() == manifest.to_json()


def test_the_text_names_no_time_and_no_path(manifest):
    assert set(json.loads(manifest.to_json())) == {f.name for f in dataclasses.fields(Manifest)}


def test_unknown_fields_are_left_alone(manifest):
    data = json.loads(manifest.to_json()) | {"written_by_a_later_minor_version": 1}
    assert Manifest.from_json(json.dumps(data)) == manifest


@pytest.mark.parametrize(
    ("change", "named", "rule"),
    [
        ({"name": ""}, "`name`", "non-empty text"),
        ({"opset": "19"}, "`opset`", "whole number >= 1"),
        ({"opset": True}, "`opset`", "whole number >= 1"),
        ({"batch": [1, 8]}, "`batch`", "1 <= min <= opt <= max"),
        ({"batch": [8, 1, 32]}, "`batch`", "1 <= min <= opt <= max"),
        ({"batch": 8}, "`batch`", "JSON array"),
        ({"axis_sizes": {"time": [3, 2, 1]}}, "`axis_sizes['time']`", "1 <= min <= opt <= max"),
        ({"onnx_sha256": "ABC"}, "`onnx_sha256`", "64 lower-case hex digits"),
        ({"onnx_file": "../model.onnx"}, "`onnx_file`", "inside the bundle"),
        ({"onnx_file": "/etc/passwd"}, "`onnx_file`", "inside the bundle"),
        ({"onnx_file": "C:\\model.onnx"}, "`onnx_file`", "inside the bundle"),
        ({"inputs": []}, "`inputs`", "at least one tensor"),
        ({"inputs": [1]}, "`inputs[0]`", "JSON object"),
        ({"inputs": [{"name": "x", "shape": [1]}]}, "`inputs[0]`", "lacks ['dtype']"),
        ({"inputs": [{"name": "x", "shape": [-1], "dtype": "f4"}]}, "`tensor `x` shape`", "sizes >= 0"),
        ({"input_structure": "z"}, "`input_structure`", "['x']"),
        ({"output_structure": ["y", 3]}, "`structure`", "nest of tensor names"),
        ({"quantization": []}, "`quantization`", "JSON object"),
        ({"predicted_dtypes": {"z": "float16"}}, "`predicted_dtypes`", "['y']"),
        ({"predicted_dtypes": {"y": "half"}}, "`predicted_dtypes['y']`", "bfloat16"),
        ({"format_version": None}, "`format_version`", "whole number"),
    ],
)
def test_a_wrong_field_is_named(manifest, change, named, rule):
    data = json.loads(manifest.to_json()) | change
    with pytest.raises(BundleError) as e:
        Manifest.from_json(json.dumps(data))
    assert named in str(e.value)
    assert rule in str(e.value)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"kind": "torch"}, "['tensorrt', 'tensorrt_rtx']"),
        ({"compute_capabilities": []}, "SM86"),
        ({"compute_capabilities": ["8.6"]}, "SM86"),
        ({"bytes": -1}, "whole number >= 0"),
        ({"file": "a/../../b"}, "inside the bundle"),
        ({"version_compatible": "yes"}, "[True, False]"),
        ({"config": ["tf32"]}, "a JSON object"),
        ({"config": None}, "a JSON object"),
    ],
)
def test_a_wrong_stamp_is_named(manifest, change, rule):
    data = json.loads(manifest.to_json())
    data["plans"][0] |= change
    with pytest.raises(BundleError, match="plan") as e:
        Manifest.from_json(json.dumps(data))
    assert rule in str(e.value)


def test_a_stamp_holds_options_and_passes_over_fields_of_later_versions(manifest):
    data = json.loads(manifest.to_json())
    assert data["plans"][0].pop("config") == {}
    assert Manifest.from_json(json.dumps(data)) == manifest, "as in bundles from before there were options"
    data["plans"][0] |= {"config": {"tf32": False, "of_later": [1]}, "of_later": 1}
    assert Manifest.from_json(json.dumps(data)).plans[0].config == {"tf32": False, "of_later": [1]}


def test_a_newer_format_says_upgrade(manifest):
    data = json.loads(manifest.to_json()) | {"format_version": 99, "keras_trt_version": "9.0"}
    with pytest.raises(BundleError, match=r"format_version 99, written by keras_trt 9.0.*pip install -U"):
        Manifest.from_json(json.dumps(data))


@pytest.mark.parametrize("text", ["", "{", "nonsense"])
def test_text_that_is_no_json_is_refused(text):
    with pytest.raises(BundleError, match="not valid JSON"):
        Manifest.from_json(text)


def test_a_json_list_is_no_manifest():
    with pytest.raises(BundleError, match="JSON object"):
        Manifest.from_json("[]")


def test_names_come_out_in_order():
    assert list(names_in({"a": "x", "b": ["y", {"c": "z"}]})) == ["x", "y", "z"]


@pytest.mark.parametrize(
    ("spec", "rule"),
    [
        (TensorSpec("", (1,), "float32"), "`name` must be a non-empty text"),
        (TensorSpec("x", (-1,), "float32"), "`tensor `x` shape` must be sizes >= 0"),
        (TensorSpec("x", (1,), "float31"), "`tensor `x` dtype` must be one of"),
    ],
)
def test_a_manifest_checks_its_tensors(manifest, spec, rule):
    with pytest.raises(BundleError, match=rule):
        replace(manifest, inputs=(spec,), input_structure=spec.name)


def test_plan_files_lie_in_their_folder():
    assert plan_file("tensorrt_rtx", "SM86", "SM89") == "plans/tensorrt_rtx-SM86-SM89.plan"
