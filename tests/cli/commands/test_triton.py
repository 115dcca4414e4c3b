import json

import pytest
from onnx import helper

from tests.small_onnx import model_of, save_bundle, sequence_model

NEGATED = helper.make_node("Neg", ["a"], ["b"])
ROWS = ["batch", "time", 4]


def test_a_repository_is_written_and_told_as_json(run, bundle, tmp_path):
    ended = run("triton", bundle, "-o", "models", "--backend", "onnx", "--json")
    assert ended.code == 0, ended.err
    (row,) = json.loads(ended.out)["rows"]
    folder = tmp_path / "models" / row["model"]
    assert (folder / "1" / "model.onnx").is_file() and (folder / "config.pbtxt").is_file()
    assert run("triton", bundle, "-o", "models", "--backend", "onnx", "-q").out == ""
    assert (folder / "2" / "model.onnx").is_file()


def test_two_bundles_of_one_model_have_names(run, bundle, tmp_path):
    ended = run("triton", f"first={bundle}", f"second={bundle}", "-o", "models", "--json")
    assert ended.code == 0, ended.err
    assert [row["model"] for row in json.loads(ended.out)["rows"]] == ["first", "second"]
    assert (tmp_path / "models" / "second" / "1" / "model.onnx").is_file()


def test_models_in_a_row_are_asked_as_one(run, bundle, tmp_path):
    save_bundle(tmp_path / "second.bundle", sequence_model())
    save_bundle(tmp_path / "first.bundle", model_of([NEGATED], {"a": ROWS}, {"b": ROWS}, {}))
    named = ("first=first.bundle", "second=second.bundle")
    ended = run("triton", *named, "-o", "models", "--ensemble", "row=first,second", "--json")
    assert ended.code == 0, ended.err
    assert [row["model"] for row in json.loads(ended.out)["rows"]] == ["first", "second", "row"]
    assert 'platform: "ensemble"' in (tmp_path / "models" / "row" / "config.pbtxt").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["absent", "-o", "models"], 1, "No bundle at"),
        (["small.bundle", "-o", "models", "--instances", "0"], 2, "--instances"),
        (["small.bundle", "-o", "models", "--backend", "tensorrt"], 1, "plan"),
        (["small.bundle"], 2, "-o/--output"),
        (["small.bundle", "small.bundle", "-o", "models"], 1, "on the command line NAME=BUNDLE"),
        (["a=small.bundle", "small.bundle", "-o", "models"], 2, "NAME=BUNDLE, or none has one. See: "),
        (["a=small.bundle", "a=small.bundle", "-o", "models"], 2, "two bundles have the same name"),
        (["a=", "-o", "models"], 2, "NAME=]BUNDLE"),
        (["a=small.bundle", "-o", "models", "--ensemble", "row"], 2, "NAME=MODEL,MODEL,... is needed"),
        (["a=small.bundle", "-o", "models", "--ensemble", "row=a"], 2, "NAME=MODEL,MODEL,... is needed"),
        (["a=small.bundle", "-o", "m", *["--ensemble", "r=a,a"] * 2], 2, "two are named 'r'"),
        (["a=small.bundle", "-o", "models", "--ensemble", "row=a,b"], 1, "by name: ['a']. Received: 'b'"),
        (["small.bundle", "-o", "small.bundle/model.onnx"], 1, "The repository `"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(bundle, failed, arguments, code, text):
    assert text in failed("triton", *arguments, code=code)
