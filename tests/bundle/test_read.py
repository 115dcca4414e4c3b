import json
import re
import sys
import tempfile
from pathlib import Path

import pytest

from keras_trt.bundle import PlanStamp, read_bundle, sha256_of
from keras_trt.errors import BundleError
from keras_trt.runtime import load
from tests.permissions import as_a_user_without_rights
from tests.small_onnx import conv_model, save_bundle


@pytest.fixture
def path(tmp_path):
    return save_bundle(tmp_path / "b", conv_model())


def add_plan(path, data=b"plan", size=None):
    stamp = PlanStamp("plans/a.plan", "tensorrt", "11.0", "linux", ("SM89",), "0" * 64, size or len(data))
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["plans"] = [vars(stamp)]
    (path / "manifest.json").write_text(json.dumps(manifest))
    (path / "plans").mkdir()
    (path / stamp.file).write_bytes(data)


def test_a_bundle_knows_its_files(path):
    add_plan(path)
    bundle = read_bundle(str(path))
    assert sha256_of(bundle.onnx_path) == bundle.manifest.onnx_sha256
    assert [p.read_bytes() for p in bundle.plan_paths] == [b"plan"]


def test_a_path_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(BundleError, match=r"No bundle at `.*nowhere`: the path does not exist"):
        read_bundle(tmp_path / "nowhere")


def test_a_file_is_no_bundle(tmp_path):
    (tmp_path / "f").write_text("")
    with pytest.raises(BundleError, match="is a file, not a bundle folder"):
        read_bundle(tmp_path / "f")


def test_a_folder_without_manifest_is_no_bundle(tmp_path):
    (tmp_path / "saved_model.pb").write_text("")
    with pytest.raises(BundleError, match=r"no `manifest.json`. It holds: \['saved_model.pb'\]"):
        read_bundle(tmp_path)


def test_missing_files_are_listed(path):
    add_plan(path)
    (path / "model.onnx").unlink()
    (path / "plans" / "a.plan").unlink()
    with pytest.raises(BundleError, match=r"Missing: \['model.onnx', 'plans/a.plan'\]"):
        read_bundle(path)


def test_a_truncated_plan_is_found(path):
    add_plan(path, size=5)
    with pytest.raises(BundleError, match=r"`plans/a.plan` has 4 bytes, its stamp says 5"):
        read_bundle(path)


def test_a_changed_onnx_is_found(path):
    with (path / "model.onnx").open("ab") as f:
        f.write(b"x")
    with pytest.raises(BundleError, match=r"`model\.onnx` is not the file that was exported"):
        read_bundle(path)
    assert read_bundle(path, verify=False).manifest.name == "small"


def test_a_manifest_in_another_encoding_is_an_error_of_the_bundle(path):
    (path / "manifest.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(BundleError, match="not UTF-8"):
        read_bundle(path)


def test_paths_where_nothing_can_be_read_are_named(path, tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for wrong in (
        tmp_path / "no" / "b",
        path / "model.onnx" / "b",
        tmp_path / ("x" * 300),
        tmp_path / "loop",
    ):
        with pytest.raises(BundleError, match=re.escape(str(wrong))):
            read_bundle(wrong)


def test_a_file_that_cannot_be_read_is_an_error_of_the_bundle(path, monkeypatch):
    def refuse(self, **options):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr("pathlib.Path.read_text", refuse)
    with pytest.raises(BundleError, match=r"cannot be read: .*Permission denied: .*manifest\.json"):
        read_bundle(path)


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
@pytest.mark.parametrize("name", ["manifest.json", "model.onnx", "probe.npz", "plans/a.plan", "."])
def test_a_file_without_permission_is_named(name):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = save_bundle(Path(folder) / "b", conv_model())
        add_plan(path)
        manifest = json.loads((path / "manifest.json").read_text())
        (path / "probe.npz").write_bytes(b"probe")
        manifest["probe_sha256"] = sha256_of(path / "probe.npz")
        manifest["plans"][0]["sha256"] = sha256_of(path / "plans" / "a.plan")
        (path / "manifest.json").write_text(json.dumps(manifest))
        named = re.escape(str(path))
        with as_a_user_without_rights(path / name), pytest.raises(BundleError, match=named) as e:
            load(path, verbose=0)
        assert name == "." or Path(name).name in str(e.value)
        assert "ermission denied" in str(e.value)
