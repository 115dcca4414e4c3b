"""The manifest beside the graph it describes, and both when they are damaged or made up."""

import json
import random
import shutil

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from keras_trt.building.build import build
from keras_trt.bundle import PlanStamp, read_bundle, sha256_of, write_bundle, write_manifest
from keras_trt.bundle.graph import check_graph, read_graph
from keras_trt.errors import BundleError
from keras_trt.runtime import load
from tests.small_onnx import conv_model, manifest_of, save_bundle, sequence_model, two_in_two_out


@pytest.fixture
def path(tmp_path):
    return save_bundle(tmp_path / "b", two_in_two_out())


def change(path, **values):
    file = path / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def spec(name, shape=("batch", 3), dtype="float32"):
    return {"name": name, "shape": list(shape), "dtype": dtype}


@pytest.mark.parametrize("model", [conv_model(), conv_model(batch=4), two_in_two_out(), sequence_model()])
def test_facts_of_a_graph_are_those_that_onnx_reads(model):
    graph = read_graph(model.SerializeToString())
    for found, infos in ((graph.inputs, model.graph.input), (graph.outputs, model.graph.output)):
        assert found == {
            v.name: (
                v.type.tensor_type.elem_type,
                [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim],
            )
            for v in infos
        }
    assert graph.initializers == {tensor.name for tensor in model.graph.initializer}
    assert graph.external == set()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": [spec("a"), spec("c")], "input_structure": ["a", "c"]}, r"inputs are not .*\['a', 'b'\]"),
        ({"outputs": [spec("total")], "output_structure": "total"}, r"outputs are not .*'product'"),
        ({"inputs": [spec("a"), spec("b")]}, "dtype of `b` is not .*Received: float32, the graph has int32"),
        ({"inputs": [spec("a", ("batch", 4)), spec("b", dtype="int32")]}, r"shape of `a`.*\['batch', 3\]"),
        ({"inputs": [spec("a", ("bitch", 3)), spec("b", dtype="int32")]}, "shape of `a`"),
        ({"outputs": [spec("total", ("batch",)), spec("product")]}, "shape of `total`"),
    ],
)
def test_a_manifest_of_another_graph_is_refused_when_it_is_loaded(path, changes, message):
    change(path, **changes)
    with pytest.raises(BundleError, match=message):
        load(path, verbose=0)


def test_a_file_that_is_no_onnx_is_named(path):
    for data in (b"", b"\xff" * 50, b"text that says nothing", bytes(range(256))):
        (path / "model.onnx").write_bytes(data)
        change(path, onnx_sha256=sha256_of(path / "model.onnx"))
        with pytest.raises(BundleError, match=r"b/model\.onnx"):
            load(path, verbose=0)


def external_bundle(path, location="model.onnx.data", listed=("model.onnx.data",)):
    """A bundle whose weights lie beside the graph, at `location` as the graph says."""
    model = conv_model(int8=False)
    with write_bundle(path) as folder:
        onnx.save(model, folder / "model.onnx", save_as_external_data=True, location="d", size_threshold=0)
        (folder / "d").rename(folder / "model.onnx.data")
        graph = onnx.load(folder / "model.onnx", load_external_data=False)
        for tensor in graph.graph.initializer:
            tensor.external_data[0].value = location
        (folder / "model.onnx").write_bytes(graph.SerializeToString())
        digests = {name: sha256_of(folder / name) for name in listed}
        write_manifest(folder, manifest_of(model, sha256_of(folder / "model.onnx"), external_data=digests))
    return path


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "unlisted.data", "a/../../b", ""])
def test_weights_from_files_that_are_not_listed_are_refused(tmp_path, location):
    with pytest.raises(BundleError, match="takes weights from files that the manifest does not list"):
        load(external_bundle(tmp_path / "b", location), verbose=0)


def cut(data):
    return data[: len(data) // 2]


def flipped(data):
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize("damage", [cut, flipped, lambda data: b"", lambda data: data + b"\0"])
def test_damaged_weights_beside_the_graph_are_found_when_they_are_loaded(tmp_path, damage):
    path = external_bundle(tmp_path / "b")
    load(path, verbose=0)
    file = path / "model.onnx.data"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(BundleError, match=r"damaged: `model\.onnx\.data` is not the file that was exported"):
        load(path, verbose=0)
    with pytest.raises(BundleError, match=r"model\.onnx\.data"):
        build(path, verbose=0)


def test_missing_weights_beside_the_graph_are_named(tmp_path):
    path = external_bundle(tmp_path / "b")
    (path / "model.onnx.data").unlink()
    with pytest.raises(BundleError, match=r"Missing: \['model\.onnx\.data'\]. Export the model again"):
        load(path, verbose=0)
    (path / "model.onnx.data").symlink_to("nowhere")
    with pytest.raises(BundleError, match=r"Missing: \['model\.onnx\.data'\]"):
        load(path, verbose=0)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../secret", "C:\\secret", ""])
def test_a_manifest_lists_no_weights_outside_of_the_bundle(tmp_path, name):
    path = external_bundle(tmp_path / "b", name or "model.onnx.data")
    (tmp_path / "secret").write_bytes((path / "model.onnx.data").read_bytes())
    change(path, external_data={name: sha256_of(tmp_path / "secret")})
    with pytest.raises(BundleError, match="`external_data` must be a "):
        load(path, verbose=0)


def test_external_data_is_found_in_nodes_and_in_graphs_inside_them(tmp_path):
    def tensor(name):
        made = TensorProto(name=name, data_type=1, dims=[1], data_location=TensorProto.EXTERNAL)
        made.external_data.add(key="location", value=name)
        return made

    inner = helper.make_graph([], "inner", [], [], [tensor("in a branch")])
    sparse = onnx.SparseTensorProto(values=tensor("sparse"), dims=[1])
    nodes = [
        helper.make_node("Constant", [], ["c"], value=tensor("constant")),
        helper.make_node("If", ["c"], ["d"], then_branch=inner),
        helper.make_node("Constant", [], ["e"], sparse_value=sparse),
    ]
    model = helper.make_model(helper.make_graph(nodes, "g", [], []))
    model.functions.append(helper.make_function("d", "f", [], [], nodes[:1], []))
    expected = {"in a branch", "sparse", "constant"}
    assert read_graph(model.SerializeToString()).external == expected


def linked_as_hugging_face_does(path, target):
    blobs = target.parent / "blobs"
    blobs.mkdir()
    target.mkdir()
    for file in path.iterdir():
        blob = blobs / sha256_of(file)
        shutil.copy(file, blob)
        (target / file.name).symlink_to(f"../blobs/{blob.name}")


def mounted_as_kubernetes_does(path, target):
    shutil.copytree(path, target / "..2026_01_01")
    (target / "..data").symlink_to("..2026_01_01")
    for file in path.iterdir():
        (target / file.name).symlink_to(f"..data/{file.name}")


@pytest.mark.parametrize("way", [linked_as_hugging_face_does, mounted_as_kubernetes_does])
@pytest.mark.parametrize("external", [False, True])
def test_a_bundle_of_links_predicts(tmp_path, way, external):
    make = external_bundle if external else lambda path: save_bundle(path, conv_model(int8=False))
    path = make(tmp_path / "b")
    way(path, tmp_path / "linked")
    x = np.ones((2, 4, 8, 8), np.float32)
    expected = load(path, verbose=0).predict(x, verbose=0)
    assert np.allclose(load(tmp_path / "linked", verbose=0).predict(x, verbose=0), expected, atol=1e-5)


def add_plan(path, data, **changes):
    digest = "0" * 64
    stamp = PlanStamp("plans/a.plan", "tensorrt", "11.0", "linux", ("SM89",), digest, len(data), **changes)
    change(path, plans=[vars(stamp)])
    (path / "plans").mkdir()
    (path / stamp.file).write_bytes(data)
    return stamp


def test_a_plan_with_a_flipped_bit_is_found_before_tensorrt_sees_it(path):
    stamp = add_plan(path, b"plan", sha256=sha256_of_bytes(path, b"plan"))
    assert read_bundle(path).read_plan(stamp) == b"plan"
    (path / "plans" / "a.plan").write_bytes(b"qlan")
    with pytest.raises(BundleError, match=r"damaged: `plans/a\.plan` is not the file"):
        load(path, verbose=0)
    with pytest.raises(BundleError, match=r"a\.plan` is damaged: it is not the file that was built"):
        read_bundle(path, verify=False).read_plan(stamp)


def sha256_of_bytes(path, data):
    (path / "scratch").write_bytes(data)
    return sha256_of(path / "scratch")


def test_a_plan_of_a_bundle_without_its_checksum_is_still_taken(path):
    stamp = add_plan(path, b"plan")
    data = json.loads((path / "manifest.json").read_text())
    del data["plans"][0]["sha256"]
    change(path, plans=data["plans"])
    assert read_bundle(path).read_plan(stamp) == b"plan"


def test_whatever_bytes_of_a_manifest_change_the_error_is_the_bundles_and_names_it(path):
    file, draw = path / "manifest.json", random.Random(0)
    text = file.read_bytes()
    for i in range(1500):
        data, at = bytearray(text), draw.randrange(len(text))
        if i % 3 == 0:
            del data[at : at + draw.choice([1, 5, 20, len(data)])]
        else:
            data[at] ^= 1 << draw.randrange(8)
        file.write_bytes(data)
        accept_or_name(path)


def test_whatever_value_stands_in_a_manifest_the_error_is_the_bundles_and_names_it(path):
    add_plan(path, b"plan")
    text, draw = (path / "manifest.json").read_text(), random.Random(0)
    values = [None, True, -1, 10**400, 1.5, "", "\0", "../up", [], {}, [[]], {"a": {"b": "c"}}, "x" * 10_000]
    for _ in range(400):
        data = json.loads(text)
        holder = data
        while True:
            key = draw.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
            if not isinstance(holder[key], dict | list) or not holder[key] or draw.random() < 0.3:
                break
            holder = holder[key]
        holder[key] = draw.choice(values)
        (path / "manifest.json").write_text(json.dumps(data))
        accept_or_name(path)


def accept_or_name(path):
    try:
        check_graph(read_bundle(path))
    except BundleError as e:
        assert str(path) in str(e)


@pytest.mark.parametrize("depth", [100, 900, 100_000])
def test_a_nest_without_end_is_an_error_of_the_bundle(path, depth):
    text = (path / "manifest.json").read_text()
    assert '"input_structure": [' in text
    deep = text.replace('"input_structure": [', f'"input_structure": {"[" * depth}"a"{"]" * depth}, "old": [')
    (path / "manifest.json").write_text(deep)
    with pytest.raises(BundleError, match="manifest.json"):
        read_bundle(path)


@pytest.mark.parametrize("field", ["opset", "format_version", "batch"])
def test_a_number_of_thousands_of_digits_is_an_error_of_the_bundle(path, field):
    data = json.loads((path / "manifest.json").read_text())
    text = json.dumps(data | {field: "HUGE"}).replace('"HUGE"', "9" * 5000)
    (path / "manifest.json").write_text(text)
    with pytest.raises(BundleError, match=r"manifest\.json"):
        load(path, verbose=0)


def test_a_flipped_bit_in_the_graph_is_found(path):
    data = bytearray((path / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (path / "model.onnx").write_bytes(data)
    with pytest.raises(BundleError, match=r"`model\.onnx` is not the file that was exported"):
        load(path, verbose=0)


def test_a_graph_that_lists_its_weights_as_inputs_too_fits(tmp_path):
    model = conv_model(int8=False)
    weights = [helper.make_tensor_value_info("bias", TensorProto.FLOAT, [8])]
    manifest = manifest_of(model, "0" * 64)
    model.graph.input.extend(weights)
    assert manifest.inputs[0].name == "x"
    with write_bundle(tmp_path / "b") as folder:
        onnx.save(model, folder / "model.onnx")
        write_manifest(folder, manifest_of(conv_model(int8=False), sha256_of(folder / "model.onnx")))
    check_graph(read_bundle(tmp_path / "b"))
