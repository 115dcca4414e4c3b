import json

import pytest


def test_a_repository_is_written_and_told_as_json(run, bundle, tmp_path):
    ended = run("triton", bundle, "-o", "models", "--backend", "onnx", "--json")
    assert ended.code == 0, ended.err
    (row,) = json.loads(ended.out)["rows"]
    folder = tmp_path / "models" / row["model"]
    assert (folder / "1" / "model.onnx").is_file() and (folder / "config.pbtxt").is_file()
    assert run("triton", bundle, "-o", "models", "--backend", "onnx", "-q").out == ""
    assert (folder / "2" / "model.onnx").is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["absent", "-o", "models"], 1, "No bundle at"),
        (["small.bundle", "-o", "models", "--instances", "0"], 2, "--instances"),
        (["small.bundle", "-o", "models", "--backend", "tensorrt"], 1, "plan"),
        (["small.bundle"], 2, "-o/--output"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(bundle, failed, arguments, code, text):
    assert text in failed("triton", *arguments, code=code)
