import json

import pytest

from keras_trt.exporting.plan import plan as subject
from keras_trt.placement.shape_rules import DEFAULT, PLACEMENTS


def test_each_layer_with_its_reason(run, model_file):
    ended = run("plan", model_file, "--json", "--skip", "b")
    assert ended.code == 0, ended.err
    rows = {row["layer"]: row for row in json.loads(ended.out)["rows"]}
    assert rows["a"]["scheme"] == "int8"
    assert "left out" in rows["b"]["reason"]
    assert "TensorRT" in rows["a"]
    short = run("plan", model_file, "--no-import-check", "--only", "a")
    assert "TensorRT" not in short.out
    assert max(map(len, short.out.splitlines())) <= 80


def test_placement_is_chosen_or_that_of_the_library(run, model_file):
    titles = {}
    for placement in ((), *(("--placement", name) for name in PLACEMENTS)):
        ended = run("plan", model_file, "--json", "--no-import-check", *placement)
        titles[placement[-1:]] = json.loads(ended.out)["title"]
    assert "left in float for their shapes" in titles["tensorrt",]
    assert "shapes" not in titles["all",]
    assert titles[()] == titles[DEFAULT,]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["absent.keras"], 1, "There is no model"),
        (["."], 1, "is a folder without a Keras model"),
        (["net.keras", "--skip", "no_such_layer"], 2, "--skip: `skip` matches no layer"),
        (["net.keras", "--input-shape", "1,2,3"], 2, "--input-shape: `input_shapes` must have as many axes"),
        (["net.keras", "--scheme", "int3"], 2, "invalid choice"),
    ],
)
def test_wrong_input_is_one_line(model_file, failed, arguments, code, text):
    assert text in failed("plan", *arguments, code=code)


def test_ctrl_c_is_130(model_file, failed, monkeypatch):
    import sys

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules[subject.__module__], "convert", interrupted)
    failed("plan", model_file, code=130)
