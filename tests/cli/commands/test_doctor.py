import json
import sys

import keras_trt


def test_the_machine_is_described(run):
    ended = run("doctor")
    assert ended.code == 0
    assert "openvino" in ended.out
    assert "Chosen: " in ended.out
    assert max(map(len, ended.out.splitlines())) <= 80


def test_where_nothing_runs_the_code_is_1(run, monkeypatch):
    monkeypatch.setattr(sys.modules[keras_trt.doctor.__module__], "_chosen", lambda _: (None, "why"))
    ended = run("doctor", "--json")
    assert ended.code == 1
    assert json.loads(ended.out)["chosen"] is None


def test_wrong_input_is_one_line(failed, tmp_path):
    assert "No bundle at" in failed("doctor", "absent")
    (tmp_path / "file").touch()
    assert "is a file" in failed("doctor", "file")


def test_ctrl_c_is_130(failed, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules[keras_trt.doctor.__module__], "_tried", interrupted)
    failed("doctor", code=130)
