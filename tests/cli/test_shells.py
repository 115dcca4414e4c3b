"""Scripts run by the shells they are for, where these are installed."""

import shutil
import subprocess

import pytest

from keras_trt.cli import COMMANDS
from keras_trt.cli.shells import SHELLS, script, words_of_commands


def in_shell(shell, text, *lines):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    flags = ["-f"] if shell == "zsh" else []
    done = subprocess.run(
        [shell, *flags, "-c", "\n".join([text, *lines])],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.split()


def in_bash(*typed):
    words = " ".join(f"'{word}'" for word in ("keras-trt", *typed))
    return in_shell(
        "bash",
        script("bash"),
        f"COMP_WORDS=({words}); COMP_CWORD={len(typed)}; _keras_trt; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
    )


def test_bash_completes_subcommands_options_and_choices():
    assert in_bash("") == list(COMMANDS)
    assert in_bash("ex") == ["export"]
    assert "--calibrate" in in_bash("export", "--")
    assert in_bash("export", "net.keras", "--pre") == ["--precision"]
    assert in_bash("export", "--engine", "tensorrt_") == ["tensorrt_rtx"]
    assert in_bash("completion", "f") == ["fish"]


def test_bash_completes_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.keras").touch()
    assert in_bash("export", "ne") == ["net.keras"]
    assert in_bash("export", "net.keras", "--calibrate", "n") == ["net.keras"]


@pytest.mark.parametrize("typed", ["inspect", "export net.keras --calibrate"])
def test_bash_takes_a_name_with_spaces_as_one(tmp_path, monkeypatch, typed):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "naïve net.keras").touch()
    words = f"COMP_WORDS=(keras-trt {typed} na); COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 )); _keras_trt"
    assert in_shell("bash", script("bash"), words, "echo ${#COMPREPLY[@]}") == ["1"]


def test_fish_completes_subcommands_options_and_choices():
    def typed(text):
        line = f"complete -C 'keras-trt {text}' | string replace -r '\\t.*' ''; true"
        return in_shell("fish", script("fish"), line)

    assert set(typed("")) >= set(COMMANDS)
    assert "--calibrate" in typed("export --")
    assert typed("export --engine tensorrt_") == ["tensorrt_rtx"]
    assert typed("completion f") == ["fish"]


def test_zsh_reads_the_script_and_knows_the_command():
    text = script("zsh")
    lines = ["autoload -U compinit", "compinit -D", text, "print -r -- $_comps[keras-trt]"]
    assert in_shell("zsh", "\n".join(lines)) == ["_keras_trt"]


@pytest.mark.parametrize("shell", SHELLS)
def test_every_option_of_every_subcommand_is_in_every_script(shell):
    text = script(shell)
    for name, words in words_of_commands().items():
        assert name in text
        assert words.summary
        for option in words.options:
            for flag in option.names:
                assert (flag if shell != "fish" else flag.lstrip("-")) in text
