"""`save_model` loses nothing: not what was there before, not to a kill, not to a full disk."""

import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import keras_trt
from keras_trt._machine import disk, swap
from keras_trt.errors import InputError, ModelError


@pytest.fixture
def model(k):
    return k.Sequential([k.Input((4,)), k.layers.Dense(3)])


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_a_failed_save_keeps_the_old_file_and_leaves_nothing(model, tmp_path, monkeypatch):
    path = tmp_path / "m.keras"
    keras_trt.save_model(model, path)
    before = path.read_bytes()

    def interrupted(self, file):
        file.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(type(model), "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        keras_trt.save_model(model, path)
    assert path.read_bytes() == before
    assert names(tmp_path) == ["m.keras"]


KILLED = """
    import os, signal, sys, keras_trt, keras
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.save = lambda file: (file.write_bytes(b"half"), os.kill(os.getpid(), signal.SIGKILL))
    keras_trt.save_model(model, sys.argv[1])
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_the_next_save_removes_what_a_killed_one_left(model, tmp_path):
    path = tmp_path / "m.keras"
    keras_trt.save_model(model, path)
    before = path.read_bytes()
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(KILLED), str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == before
    assert len(names(tmp_path)) == 2
    keras_trt.save_model(model, path)
    assert names(tmp_path) == ["m.keras"]


def test_the_file_is_on_the_disk_before_it_takes_its_name(model, tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(swap, "_sync", lambda path: synced.append((path.name, path.exists())))
    keras_trt.save_model(model, tmp_path / "m.keras")
    assert synced == [("m.keras", True), (tmp_path.name, True)]


def test_a_link_is_followed_and_a_folder_is_refused(model, tmp_path):
    (tmp_path / "now.keras").symlink_to(tmp_path / "v1.keras")
    keras_trt.save_model(model, tmp_path / "now.keras")
    assert (tmp_path / "now.keras").is_symlink()
    x = np.ones((1, 4))
    loaded = keras_trt.load_model(tmp_path / "v1.keras")
    assert np.array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))
    (tmp_path / "folder.keras").mkdir()
    with pytest.raises(InputError, match="a folder"):
        keras_trt.save_model(model, tmp_path / "folder.keras")


@pytest.fixture
def small_disk(tmp_path):
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder]
    mounted = subprocess.run(command, capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"cannot mount here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_named_and_nothing_is_left(k, small_disk):
    with pytest.raises(ModelError, match=rf"The disk is full: `{small_disk}/m\.keras` was not written"):
        keras_trt.save_model(k.Sequential([k.Input((256,)), k.layers.Dense(256)]), small_disk / "m.keras")
    assert names(small_disk) == []


def test_a_full_temporary_folder_is_named_and_not_the_disk_of_the_target(small_disk, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(small_disk))
    full = OSError(28, os.strerror(28))
    assert f"temporary folder `{small_disk}` is full" in disk.full_disk(full, tmp_path / "b", "not written")
    full.filename = str(tmp_path / "b" / "model.onnx")
    assert f"Free some space in `{tmp_path}`" in disk.full_disk(full, tmp_path / "b", "not written")
    assert disk.full_disk(OSError(13, os.strerror(13)), tmp_path / "b", "not written") is None
