import onnx
import pytest
import rich.progress

from keras_trt.engine import build_plan
from tests.small_onnx import conv_model

pytest.importorskip("tensorrt_rtx")


@pytest.fixture
def path(tmp_path):
    onnx.save(conv_model(), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def test_the_bar_only_moves_forward_and_ends_full(path, monkeypatch):
    seen = []
    update = rich.progress.Progress.update

    def record(self, task, **changes):
        seen.append(round(changes["completed"], 9))
        update(self, task, **changes)

    monkeypatch.setattr(rich.progress.Progress, "update", record)
    build_plan(path, verbose=1)
    assert len(seen) > 20
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(1)
    assert max(seen) <= 1


def test_ctrl_c_calls_the_build_off(path, monkeypatch):
    update = rich.progress.Progress.update
    seen = []

    def press(self, task, **changes):
        seen.append(changes)
        if len(seen) == 10:
            raise KeyboardInterrupt
        update(self, task, **changes)

    monkeypatch.setattr(rich.progress.Progress, "update", press)
    with pytest.raises(KeyboardInterrupt):
        build_plan(path, verbose=1)
    assert build_plan(path, verbose=0).data, "the next build works"
