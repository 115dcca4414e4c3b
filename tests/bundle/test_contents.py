import json
import os
import tempfile
from pathlib import Path

import pytest

from keras_trt.bundle import check_target, write_bundle
from keras_trt.bundle.contents import bundle_holding, foreign_files, is_bundle
from keras_trt.errors import BundleExistsError
from tests.permissions import as_a_user_without_rights
from tests.small_onnx import conv_model, save_bundle


@pytest.fixture
def path(tmp_path):
    return save_bundle(tmp_path / "b", conv_model())


def change(path, **values):
    file = path / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_a_bundle_holds_nothing_foreign(path):
    assert foreign_files(path) == []


def test_a_file_is_a_bundles_own_whether_it_is_there_or_not(path, tmp_path):
    change(path, onnx_file="net.onnx", plans=[{"file": "p/a"}])
    for name in ("manifest.json", "net.onnx", "p/a", "plans/tensorrt-SM89.plan"):
        assert bundle_holding(path / name) == path
    for other in (path / "README.md", path / "plans" / "report.html", path, tmp_path / "manifest.json"):
        assert bundle_holding(other) is None
    assert (is_bundle(path), is_bundle(path / "plans"), is_bundle(tmp_path)) == (True, False, False)


def test_what_the_manifest_lists_and_what_older_versions_left_is_the_bundles(path):
    change(path, external_data={"weights[1].bin": "0" * 64}, onnx_file="net.onnx", plans=[{"file": "p/a"}])
    for name in ("weights[1].bin", "net.onnx", "p/a", "plans/tensorrt-SM89.plan", "model.onnx.data"):
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_bytes(b"")
    assert foreign_files(path) == []
    change(
        path, format_version=99, plans="none of ours", external_data=3, onnx_file=None
    )  # a later version's
    assert foreign_files(path) == ["net.onnx", "p/a", "weights[1].bin"]


def test_files_of_the_user_in_a_bundle_are_named_and_stay(path):
    (path / "labels.txt").write_text("cat")
    (path / "src").mkdir()
    (path / "src" / "app.js").write_text("years of work")
    (path / "link").symlink_to(path.parent)
    (path / "plans").mkdir(exist_ok=True)
    (path / "plans" / "mine.plan").write_text("next year")
    foreign = r"Not a bundle's: `labels.txt`, `link`, `plans/mine.plan`, `src/app.js`\."
    with pytest.raises(BundleExistsError, match=foreign):
        check_target(path, overwrite=True)
    assert (path / "labels.txt").read_text() == "cat"


def test_a_folder_that_may_not_be_read_is_the_users():
    with tempfile.TemporaryDirectory() as folder:
        path = save_bundle(Path(folder) / "b", conv_model())
        (path / "private").mkdir()
        Path(folder).chmod(0o755)
        with as_a_user_without_rights(path / "private"):
            assert foreign_files(path) == ["private/"]
        assert foreign_files(path) == []


def test_of_a_folder_of_millions_only_the_first_are_looked_for(tmp_path, monkeypatch):
    """A home folder that `-o ~` names by mistake."""
    for name in ("b/x", "b/y", "c/z"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("years of work")
    seen = []
    monkeypatch.setattr(
        os, "scandir", lambda path, scan=os.scandir: (seen.append(Path(path).name), scan(path))[1]
    )
    assert foreign_files(tmp_path, 2) == ["b/x", "b/y"]
    assert "c" not in seen
    assert foreign_files(tmp_path) == ["b/x", "b/y", "c/z"]


@pytest.mark.parametrize(
    "manifest",
    [
        '{"name": "My web app", "start_url": "/"}',
        '{"route": "tf-trt"}',
        '{"format_version": 1, "name": "of another tool"}',
        "[]",
        "{",
        "[" * 100_000,
        "9" * 5000,
    ],
)
def test_a_manifest_of_somebody_else_makes_no_bundle(tmp_path, manifest):
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "manifest.json").write_text(manifest)
    (tmp_path / "web" / "model.onnx").write_text("theirs")
    with pytest.raises(BundleExistsError, match="`manifest.json`, `model.onnx`"):
        check_target(tmp_path / "web", overwrite=True)


def test_a_saved_model_of_tf_trt_is_replaced_but_not_what_lies_beside_it(tmp_path):
    path = tmp_path / "b"
    (path / "saved_model" / "variables").mkdir(parents=True)
    facts = {"route": "tf-trt", "precision_mode": "FP32", "engines": 1, "keras": "keras3"}
    (path / "manifest.json").write_text(json.dumps(facts))
    for name in ("saved_model.pb", "fingerprint.pb", "variables/variables.data-00000-of-00001"):
        (path / "saved_model" / name).write_bytes(b"")
    assert foreign_files(path) == []
    (path / "saved_model" / "notes.txt").write_text("mine")
    assert foreign_files(path) == ["saved_model/notes.txt"]


def test_what_the_user_puts_into_the_bundle_during_an_export_stays(path):
    writing = write_bundle(path, overwrite=True)
    folder = writing.__enter__()
    for name in ("manifest.json", "model.onnx"):
        (folder / name).write_bytes((path / name).read_bytes())
    (path / "labels.txt").write_text("cat")
    with pytest.raises(BundleExistsError, match="labels.txt"):
        writing.__exit__(None, None, None)
    assert (path / "labels.txt").read_text() == "cat"


def test_folders_of_the_user_that_are_named_like_leftovers_stay(path):
    for name in (".b.old-2024", ".b.new-mine", ".b.old-before the move"):
        (path.parent / name).mkdir()
        (path.parent / name / "thesis.txt").write_text("years of work")
    check_target(path, overwrite=True)
    assert len(list(path.parent.glob(".b.*/thesis.txt"))) == 3


def test_leftovers_are_found_beside_a_bundle_with_brackets_in_its_name(tmp_path):
    path = save_bundle(tmp_path / "b[1]", conv_model())
    (tmp_path / ".b[1].old-0123456789ab").mkdir()
    check_target(path, overwrite=True)
    path.rename(tmp_path / ".b[1].old-0123456789ab")
    with pytest.raises(BundleExistsError):
        check_target(path)
