import pytest


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_is_printed(run, shell):
    ended = run("completion", shell)
    assert ended.code == 0
    assert "benchmark" in ended.out


def test_other_shells_are_wrong_usage(failed):
    assert "invalid choice" in failed("completion", "tcsh", code=2)
