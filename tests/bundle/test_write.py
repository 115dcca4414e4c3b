import contextlib
import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from keras_trt._machine import swap
from keras_trt.bundle import check_target, contents, read_bundle, sha256_of, write_bundle, write_manifest
from keras_trt.errors import BundleError, BundleExistsError
from tests.small_onnx import conv_model, manifest_of, save_bundle


def fill(folder, name="small", size=1000):
    """Stands in for an export: a few files and a manifest that fits them."""
    (folder / "model.onnx").write_bytes(name.encode() * size)
    write_manifest(folder, manifest_of(conv_model(), sha256_of(folder / "model.onnx"), name=name))


def names(folder):
    return sorted(p.name for p in folder.iterdir())


@pytest.fixture(params=["exchange", "two renames"])
def exchanged(request, monkeypatch):
    """Both ways to replace a bundle: one system call, or two renames where the system has no such call."""
    if request.param == "two renames":
        monkeypatch.setattr(swap, "_exchange", lambda one, other: False)


def test_a_bundle_appears_whole_at_the_end(tmp_path):
    with write_bundle(tmp_path / "b") as folder:
        fill(folder)
        assert not (tmp_path / "b").exists()
    assert read_bundle(tmp_path / "b").manifest.name == "small"
    assert names(tmp_path) == ["b"]


def test_permissions_are_those_of_an_ordinary_folder(tmp_path):
    (tmp_path / "plain").mkdir()
    save_bundle(tmp_path / "b", conv_model())
    assert (tmp_path / "b").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_an_error_in_the_body_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError, match="mine"), write_bundle(tmp_path / "b") as folder:
        fill(folder)
        raise RuntimeError("mine")
    assert names(tmp_path) == []


def test_a_body_that_writes_no_manifest_leaves_nothing(tmp_path):
    with pytest.raises(BundleError, match=r"no `manifest\.json`"), write_bundle(tmp_path / "b"):
        pass
    assert names(tmp_path) == []


def test_an_existing_bundle_is_kept_without_overwrite(tmp_path):
    save_bundle(tmp_path / "b", conv_model())
    with pytest.raises(BundleExistsError, match="overwrite=True"):
        check_target(tmp_path / "b")
    with pytest.raises(FileExistsError), write_bundle(tmp_path / "b"):
        pytest.fail("the body ran")
    assert read_bundle(tmp_path / "b")


@pytest.mark.usefixtures("exchanged")
def test_overwrite_replaces_the_bundle(tmp_path):
    save_bundle(tmp_path / "b", conv_model())
    with write_bundle(tmp_path / "b", overwrite=True) as folder:
        fill(folder, "new")
    assert read_bundle(tmp_path / "b").manifest.name == "new"
    assert names(tmp_path) == ["b"]


@pytest.mark.usefixtures("exchanged")
def test_a_failed_overwrite_keeps_the_old_bundle(tmp_path):
    save_bundle(tmp_path / "b", conv_model())
    with pytest.raises(BundleError), write_bundle(tmp_path / "b", overwrite=True) as folder:
        (folder / "model.onnx").write_bytes(b"half")
    assert read_bundle(tmp_path / "b").manifest.name == "small"
    assert names(tmp_path) == ["b"]


def test_overwrite_never_replaces_what_is_no_bundle(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    with pytest.raises(BundleExistsError, match="is not a bundle"):
        check_target(tmp_path / "thesis", overwrite=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleExistsError, match="is not a bundle"):
        check_target(tmp_path / "file", overwrite=True)


def test_a_link_is_followed_and_stays_a_link(tmp_path):
    save_bundle(tmp_path / "v1", conv_model())
    (tmp_path / "current").symlink_to(tmp_path / "v1")
    with write_bundle(tmp_path / "current", overwrite=True) as folder:
        fill(folder, "new")
    assert (tmp_path / "current").is_symlink()
    assert read_bundle(tmp_path / "v1").manifest.name == "new"


def test_a_missing_parent_is_named_before_any_work(tmp_path):
    with pytest.raises(BundleError, match=r"no folder '.*models'. Make it with: mkdir -p"):
        check_target(tmp_path / "models" / "b")


def test_a_read_only_parent_is_named_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # chmod does not stop root
    with pytest.raises(BundleError, match=r"folder `.*` is read-only"):
        check_target(tmp_path / "b")


@pytest.mark.parametrize("path", ["/proc/b", "b" * 250])
def test_a_place_that_takes_no_folder_is_told(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BundleError, match="Cannot write (the|a) bundle"), write_bundle(path):
        pass


def test_a_disk_that_fills_up_leaves_nothing(tmp_path):
    def export():
        with write_bundle(tmp_path / "b") as folder:
            (folder / "model.onnx").write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(BundleError, match=r"The disk is full: the bundle `.*b` was not written and nothing"):
        export()
    assert names(tmp_path) == []


def test_a_disk_that_is_really_full_leaves_nothing(tmp_path):
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", tmp_path], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount here: {mounted.stderr.decode().strip()}")
    try:
        with write_bundle(tmp_path / "b") as folder:
            fill(folder)
        with pytest.raises(BundleError, match="disk is full"), write_bundle(tmp_path / "c") as folder:
            fill(folder, size=1_000_000)
        with (
            pytest.raises(BundleError, match="disk is full"),
            write_bundle(tmp_path / "b", overwrite=True) as folder,
        ):
            fill(folder, size=1_000_000)
        assert names(tmp_path) == ["b"]
        assert read_bundle(tmp_path / "b").manifest.name == "small"
    finally:
        subprocess.run(["umount", tmp_path], check=True)


WRITER = """
    import sys
    from pathlib import Path
    from keras_trt._machine import swap
    from keras_trt.bundle import (write_bundle)
    from tests.bundle.test_write import fill
    if sys.argv[3] == "two renames":
        swap._exchange = lambda one, other: False
    print("ready", flush=True)
    while True:
        with write_bundle(Path(sys.argv[1]), overwrite=True) as folder:
            fill(folder, sys.argv[2])
"""


def start_writer(path, name, way):
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(path), name, way]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize("way", ["exchange", "two renames"])
def test_a_killed_writer_leaves_the_old_bundle_or_the_new_one(tmp_path, way):
    path = tmp_path / "b"
    save_bundle(path, conv_model())
    for delay in range(4):
        writer = start_writer(path, "new", way)
        time.sleep(0.05 + delay * 0.0037)  # it writes hundreds of bundles a second: the kill lands anywhere
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        assert read_bundle(path).manifest.name in ("small", "new")
    with write_bundle(path, overwrite=True) as folder:
        fill(folder, "last")
    assert names(tmp_path) == ["b"], "the next writer removes what killed ones left"


def test_a_bundle_moved_aside_by_a_killed_writer_comes_back(tmp_path):
    path = save_bundle(tmp_path / "b", conv_model())
    path.rename(tmp_path / ".b.old-0123")
    assert read_bundle(path).manifest.name == "small"
    assert names(tmp_path) == ["b"]


def test_only_a_whole_old_bundle_comes_back(tmp_path, monkeypatch):
    path = save_bundle(tmp_path / "b", conv_model())
    monkeypatch.setattr(swap, "_exchange", lambda one, other: False)
    monkeypatch.setattr(swap.shutil, "rmtree", lambda folder, **_: (folder / "model.onnx").unlink(True))
    with write_bundle(path, overwrite=True) as folder:
        fill(folder, "new")
    path.rename(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="does not exist"):  # not: a bundle half removed
        read_bundle(path)


def test_a_folder_that_another_writer_fills_is_left_alone(tmp_path):
    with write_bundle(tmp_path / "b") as mine:
        fill(mine)
        with write_bundle(tmp_path / "b") as other:
            fill(other, "other")
            assert mine.exists()
        with pytest.raises(BundleExistsError):
            check_target(tmp_path / "b")
        assert mine.exists()
        (tmp_path / "b").rename(tmp_path / "elsewhere")
    assert read_bundle(tmp_path / "b").manifest.name == "small"


def test_the_slower_of_two_writers_gets_an_error(tmp_path):
    with pytest.raises(BundleExistsError, match="exists already"), write_bundle(tmp_path / "b") as slow:
        fill(slow, "slow")
        with write_bundle(tmp_path / "b") as fast:
            fill(fast, "fast")
    assert read_bundle(tmp_path / "b").manifest.name == "fast"
    assert names(tmp_path) == ["b"]


def test_a_bundle_that_another_writer_replaces_is_not_taken_for_files_of_the_user(tmp_path, monkeypatch):
    path = save_bundle(tmp_path / "b", conv_model())
    listed = contents._files

    def moved_meanwhile(folder):
        found = listed(folder)
        path.rename(tmp_path / "aside")
        return found

    monkeypatch.setattr(contents, "_files", moved_meanwhile)
    with write_bundle(path, overwrite=True) as folder:
        fill(folder, "new")
    assert read_bundle(path).manifest.name == "new"


def test_the_bundle_that_another_writer_has_just_moved_aside_is_kept(tmp_path, monkeypatch):
    path, aside = save_bundle(tmp_path / "b", conv_model()), tmp_path / ".b.old-0123456789ab"
    listed = swap._beside_of

    def moved_meanwhile(target, role, digits=None):
        if target.exists():
            target.rename(aside)
        return listed(target, role, digits)

    monkeypatch.setattr(swap, "_beside_of", moved_meanwhile)
    swap.remove_leftovers(path)
    monkeypatch.undo()
    assert names(tmp_path) == [aside.name]
    assert read_bundle(path).manifest.name == "small"


def write_many(path, name, way):
    if way == "two renames":
        swap._exchange = lambda one, other: False
    for _ in range(30):
        with write_bundle(path, overwrite=True) as folder:
            fill(folder, name)


@pytest.mark.parametrize("way", ["exchange", "two renames"])
def test_of_two_writers_at_once_one_wins_whole(tmp_path, way):
    path = save_bundle(tmp_path / "b", conv_model())
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=write_many, args=(path, name, way)) for name in ("one", "two")]
    for writer in writers:
        writer.start()
    while any(w.is_alive() for w in writers):
        missing = FileNotFoundError, BundleError
        with contextlib.suppress(*missing) if way == "two renames" else contextlib.nullcontext():
            assert read_bundle(path).manifest.name in ("small", "one", "two")
    assert [w.exitcode for w in writers] == [0, 0]
    assert read_bundle(path).manifest.name in ("one", "two")
    assert names(tmp_path) == ["b"]
