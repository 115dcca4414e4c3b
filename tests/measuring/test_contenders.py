from contextlib import ExitStack

import pytest

from keras_trt.errors import BundleError, InputError
from keras_trt.measuring.contenders import labelled, running
from keras_trt.runtime.loading import load
from tests.small_onnx import conv_model, save_bundle


def test_bundles_are_called_after_their_folders(tmp_path):
    assert list(labelled(tmp_path / "net.bundle")) == ["net"]
    assert list(labelled([tmp_path / "a.bundle", str(tmp_path / "b")])) == ["a", "b"]
    assert labelled({1: "x"}) == {"1": "x"}


def test_folders_of_one_name_are_called_after_their_paths(tmp_path):
    paths = [str(tmp_path / "1" / "net"), str(tmp_path / "2" / "net")]
    assert list(labelled(paths)) == paths
    with pytest.raises(InputError, match="pass a dict {name: bundle}"):
        labelled([paths[0], paths[0]])


@pytest.mark.parametrize("subject", [3, None, {"a": object()}, [b"x"]])
def test_what_cannot_be_measured_is_refused_with_its_name(subject):
    with pytest.raises(InputError, match="`bundle` must be the path of a bundle"):
        labelled(subject)
    with pytest.raises(InputError, match="nothing to measure"):
        labelled([])


def test_a_bundle_runs_on_each_runner_once(tmp_path):
    path = save_bundle(tmp_path / "net", conv_model())
    with ExitStack() as stack:
        names = [one.name for one in running("net", path, ("openvino", "onnxruntime", "openvino"), {}, stack)]
    assert names == ["net on openvino", "net on onnxruntime"]


def test_a_runner_that_cannot_run_it_is_noted_and_the_first_must(tmp_path):
    path = save_bundle(tmp_path / "net", conv_model())
    with ExitStack() as stack:
        (one,) = running("net", path, ("openvino", "tensorrt_rtx"), {}, stack)
        assert one.notes[0].startswith("net did not run on tensorrt_rtx: ")
        assert one.bytes == (path / "model.onnx").stat().st_size
        with pytest.raises(BundleError):
            list(running("net", tmp_path / "absent", ("openvino",), {}, stack))


def test_a_loaded_engine_is_not_loaded_again_nor_closed(tmp_path):
    with load(save_bundle(tmp_path / "net", conv_model()), verbose=0) as engine:
        with ExitStack() as stack:
            (one,) = running("net", engine, ("auto",), {}, stack)
            assert one.model is engine
            assert one.grown is None
        engine.runner.lifetime.use().__enter__()  # raises after `close`
