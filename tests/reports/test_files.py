from pathlib import Path

import pytest

from keras_trt.errors import InputError
from keras_trt.reports.files import file_at


def test_a_file_is_replaced_whole(tmp_path):
    target = tmp_path / "report.json"
    target.write_text("old")
    with file_at(target) as file:
        file.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_after_an_error_the_old_one_is_there_and_nothing_else(tmp_path, error):
    target = tmp_path / "report.json"
    target.write_text("old")
    with pytest.raises(error), file_at(target) as file:
        file.write_text("half")
        raise error
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_a_device_is_written_to_directly():
    with file_at("/dev/null") as file:
        file.write_text("text")
    assert Path("/dev/null").is_char_device()


def test_where_nothing_can_be_written_is_named(tmp_path):
    with pytest.raises(InputError, match=r"A folder is not replaced by a file"), file_at(tmp_path):
        pass
    with (
        pytest.raises(InputError, match=r"There is no folder '.*absent'"),
        file_at(tmp_path / "absent" / "x"),
    ):
        pass
    with (
        pytest.raises(InputError, match=r"full' cannot be written: .*No space"),
        file_at("/dev/full") as file,
    ):
        file.write_text("x" * 10**6)
