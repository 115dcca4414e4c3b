"""Models in a row, asked as one: by Triton's own schema, and by its real server (`tox -e triton`)."""

import numpy as np
import pytest
from onnx import TensorProto, helper

import keras_trt
from keras_trt.errors import InputError
from tests.serving.test_repository import Server, parsed
from tests.serving.test_serve import ask, pytriton
from tests.small_onnx import conv_model, model_of, save_bundle, two_in_two_out

CLASSES = ("cat", "dog")


def scaled(batch="batch"):
    """image / 255: bytes to floats."""
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["float", "top"], ["scaled"]),
    ]
    shape = [batch, 4, 8, 8]
    types = {"image": TensorProto.UINT8}
    return model_of(nodes, {"image": shape}, {"scaled": shape}, {"top": np.float32(255)}, types)


def head(width=8, size=8):
    """A score for each of two classes, and one a row; the second has no axis but the batch."""
    weight = np.random.default_rng(1).normal(size=(width * 8 * size, 2)).astype(np.float32)
    nodes = [
        helper.make_node("Flatten", ["y"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["image"]),
        helper.make_node("ReduceMax", ["image", "axes"], ["best"], keepdims=0),
    ]
    outputs = {"image": ["batch", 2], "best": ["batch"]}
    tensors = {"w": weight, "axes": np.array([1], np.int64)}
    return model_of(nodes, {"y": ["batch", width, 8, size]}, outputs, tensors)


def total():
    """The sum over the batch, which no other request may be in."""
    node = helper.make_node("ReduceSum", ["x", "axes"], ["sum"], keepdims=0)
    shape = ["batch", 4, 8, 8]
    return model_of([node], {"x": shape}, {"sum": shape[1:]}, {"axes": np.array([0], np.int64)})


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    models = {
        "pre": (scaled(), {"batch": (1, 8, 16)}),
        "net": (conv_model(), {}),
        "post": (head(), {"labels": {"image": CLASSES}}),
        "wide": (head(size=9), {}),
        "two": (two_in_two_out(), {}),
        "total": (total(), {}),
        "static": (conv_model(int8=False, batch=4), {"batch": (4, 4, 4)}),
    }
    return {name: save_bundle(folder / name, model, **more) for name, (model, more) in models.items()}


def written(bundles, folder, *names, **options):
    chosen = {name: bundles[name] for name in dict.fromkeys(names)}
    return keras_trt.triton(chosen, folder, ensembles={"row": list(names)}, verbose=0, **options)


def test_a_row_is_the_first_ones_inputs_and_the_last_ones_outputs(bundles, tmp_path):
    folders = written(bundles, tmp_path, "pre", "net", "post")
    assert folders["row"] == tmp_path / "row" / "1"
    assert (folders["row"] / "steps.txt").read_text() == "pre > net > post\n"
    assert (tmp_path / "row" / "labels_0.txt").read_text().split() == list(CLASSES)
    config, pb = parsed(tmp_path / "row")
    assert (config.platform, config.backend) == ("ensemble", "")
    assert config.max_batch_size == 16  # of the three the smallest
    (image,) = config.input
    assert (image.name, image.data_type, list(image.dims)) == ("image", pb.TYPE_UINT8, [4, 8, 8])
    outputs = [(port.name, port.data_type, list(port.dims), port.label_filename) for port in config.output]
    # An input of the row is called "image", so the output of that name takes another.
    assert outputs == [("image_1", pb.TYPE_FP32, [2], "labels_0.txt"), ("best", pb.TYPE_FP32, [1], "")]
    steps = [
        (step.model_name, dict(step.input_map), dict(step.output_map))
        for step in config.ensemble_scheduling.step
    ]
    assert steps == [
        ("pre", {"image": "image"}, {"scaled": "pre/scaled"}),
        ("net", {"x": "pre/scaled"}, {"y": "net/y"}),
        ("post", {"y": "net/y"}, {"image": "image_1", "best": "best"}),
    ]
    assert all(step.model_version == -1 for step in config.ensemble_scheduling.step)
    assert not config.HasField("dynamic_batching")


def test_a_row_with_a_fixed_batch_has_all_axes(bundles, tmp_path):
    written(bundles, tmp_path, "pre", "static", "post")
    config, _ = parsed(tmp_path / "row")
    assert config.max_batch_size == 0
    assert [list(port.dims) for port in (*config.input, *config.output)] == [[-1, 4, 8, 8], [-1, 2], [-1, 1]]


def test_outputs_that_nobody_reads_are_left_out(bundles, tmp_path):
    gives = model_of(
        [helper.make_node(op, ["a"], [name]) for op, name in (("Neg", "unread"), ("Abs", "x"))],
        {"a": ["batch", 4, 8, 8]},
        {"unread": ["batch", 4, 8, 8], "x": ["batch", 4, 8, 8]},
        {},
    )
    more = {**bundles, "gives": save_bundle(tmp_path / "gives", gives)}
    written(more, tmp_path / "repo", "gives", "net")
    config, _ = parsed(tmp_path / "repo" / "row")
    assert dict(config.ensemble_scheduling.step[0].output_map) == {"x": "gives/x"}


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["net", "pre"], r"output 'y' of 'net' does not fit input 'image' of 'pre'. Received: float32 "
                         r"\[-1, 8, 8, 8\] for uint8 \[-1, 4, 8, 8\] \(-1: an open size\)"),
        (["net", "wide"], r"float32 \[-1, 8, 8, 8\] for float32 \[-1, 8, 8, 9\]"),
        (["static", "static"], r"float32 \[4, 8, 8, 8\] for float32 \[4, 4, 8, 8\]"),
        (["post", "net"], r"'net' takes \['x'\] from 'post', which gives \['image', 'best'\]. All inputs"),
        (["two", "two"], r"output 'product' of 'two' does not fit input 'b' .* float32 .* int32"),
    ],
)  # fmt: skip
def test_neighbours_that_do_not_fit_are_told(bundles, tmp_path, names, text):
    with pytest.raises(InputError, match=text):
        written(bundles, tmp_path / "repo", *names)
    assert not (tmp_path / "repo").exists()


@pytest.mark.parametrize(
    ("ensembles", "text"),
    [
        ({"row": ["net", "absent"]}, r"by name: \['net', 'post'\]. Received: 'absent'"),
        ({"row": ["net", 3]}, "Received: 3"),
        ({"row": ["net"]}, r"`ensembles\['row'\]` must be a list of two or more names of models. Received:"),
        ({"row": "net"}, "a list of two or more"),
        ({"net": ["net", "post"]}, "A model is named 'net', too"),
        ({"a/b": ["net", "post"]}, "have names of letters"),
        ([["net", "post"]], "`ensembles` must be a dict with names as keys"),
    ],
)
def test_wrong_ensembles_leave_nothing(bundles, tmp_path, ensembles, text):
    chosen = {name: bundles[name] for name in ("net", "post")}
    with pytest.raises(InputError, match=text):
        keras_trt.triton(chosen, tmp_path / "repo", ensembles=ensembles)
    assert not (tmp_path / "repo").exists()


def test_versions_of_a_row_have_the_same_steps(bundles, tmp_path):
    written(bundles, tmp_path, "pre", "net")
    assert written(bundles, tmp_path, "pre", "net")["row"].name == "2"
    with pytest.raises(InputError, match="is of another model: versions of one model have the same"):
        written(bundles, tmp_path, "pre", "static")


@pytriton
def test_the_real_server_answers_as_the_models_one_after_the_other(bundles, tmp_path):
    repo = tmp_path / "repo"
    rows = {"classes": ["pre", "net", "post"], "sums": ["pre", "total"]}
    keras_trt.triton(bundles, repo, backend="python", ensembles=rows, verbose=0)
    engines = {name: keras_trt.load(path, verbose=0) for name, path in bundles.items()}
    server = Server(repo, tmp_path)
    try:
        module, triton = server.wait_until_ready()
        image = np.random.default_rng(0).integers(0, 256, (4, 4, 8, 8), np.uint8)
        want = image
        for model in rows["classes"]:
            want = engines[model].predict(want, verbose=0)
        answer = ask(module, triton, "classes", image=image)
        np.testing.assert_array_equal(answer.as_numpy("image_1"), want[0])
        np.testing.assert_array_equal(answer.as_numpy("best"), want[1][:, None])
        taken = module.InferInput("image", image.shape, "UINT8")
        taken.set_data_from_numpy(image)
        best = module.InferRequestedOutput("image_1", class_count=1)
        told = triton.infer("classes", [taken], outputs=[best]).as_numpy("image_1")
        labels = [text.decode().split(":")[-1] for text in told.ravel()]
        assert labels == [CLASSES[i] for i in want[0].argmax(1)]
        sums = ask(module, triton, "sums", image=image).as_numpy("sum")
        np.testing.assert_allclose(sums, image.sum(0) / 255, rtol=1e-5)
        with pytest.raises(Exception, match="unexpected shape for input 'image'"):
            ask(module, triton, "classes", image=image[:, :3])
    finally:
        server.stop()
