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


def test_what_the_user_has_in_the_folder_stays(run, failed, bundle, tmp_path):
    (tmp_path / "README.md").write_text("# My project")
    assert run("triton", f"net={bundle}", "-o", ".").code == 0
    assert (tmp_path / "README.md").read_text() == "# My project"
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "app.py").touch()
    assert "is no model of Triton's" in failed("triton", f"src={bundle}", "-o", ".")
    (tmp_path / "models" / "net").mkdir(parents=True)  # an empty folder is no model, and may become one
    for version in ("1", "2"):
        assert run("triton", f"net={bundle}", "-o", "models").code == 0
        assert (tmp_path / "models" / "net" / version / "model.onnx").is_file()
    assert (tmp_path / "models" / "net" / "config.pbtxt").is_file()
    assert (tmp_path / "models" / "README.md").read_text().startswith("# A model repository")


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["absent", "-o", "models"], 1, "No bundle at"),
        (["small.bundle", "-o", "models", "--instances", "0"], 2, "--instances"),
        (["small.bundle", "-o", "models", "--backend", "tensorrt"], 1, "plan"),
        (["small.bundle"], 2, "-o/--output"),
        (["small.bundle", "small.bundle", "-o", "models"], 2, "on the command line NAME=BUNDLE"),
        (["a=small.bundle", "small.bundle", "-o", "models"], 2, "NAME=BUNDLE, or none has one. See: "),
        (["a=small.bundle", "a=small.bundle", "-o", "models"], 2, "two bundles have the same name"),
        (["a=", "-o", "models"], 2, "NAME=]BUNDLE"),
        (["a=small.bundle", "-o", "models", "--ensemble", "row"], 2, "NAME=MODEL,MODEL,... is needed"),
        (["a=small.bundle", "-o", "models", "--ensemble", "row=a"], 2, "NAME=MODEL,MODEL,... is needed"),
        (["a=small.bundle", "-o", "m", *["--ensemble", "r=a,a"] * 2], 2, "two are named 'r'"),
        (["a=small.bundle", "-o", "models", "--ensemble", "row=a,b"], 2, "by name: ['a']. Received: 'b'"),
        (["a=small.bundle", "-o", "models", "--ensemble", "a=a,a"], 2, "--ensemble: `ensembles` must have"),
        (["a=small.bundle", "-o", "models", "--ensemble", "a b=a,a"], 2, "--ensemble: `ensembles` must have"),
        (["a/b=small.bundle", "-o", "models"], 2, "[NAME=]BUNDLE: `bundles` must have names of letters"),
        (["small.bundle", "-o", "small.bundle"], 1, "`out` must be outside of bundles"),
        (["small.bundle", "-o", "small.bundle/models"], 1, "`out` must be outside of bundles"),
        (["small.bundle", "-o", "config.ini"], 1, "The repository `"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(bundle, failed, tmp_path, arguments, code, text):
    (tmp_path / "config.ini").touch()
    assert text in failed("triton", *arguments, code=code)
