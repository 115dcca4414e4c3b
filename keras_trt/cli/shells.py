"""Completion in shells, written from what the subcommands add to the parser."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from keras_trt.cli import COMMANDS
from keras_trt.cli.parser import add_common, command

SHELLS = ("bash", "zsh", "fish")


@dataclass(frozen=True)
class Option:
    """An option of a subcommand.

    Attributes:
        names: e.g. `("-o", "--output")`.
        help: What it does.
        choices: What it takes, where that is a few words.
        takes: Whether a value follows.
    """

    names: tuple[str, ...]
    help: str
    choices: tuple[str, ...]
    takes: bool


@dataclass(frozen=True)
class Words:
    """What completes a subcommand.

    Attributes:
        summary: What the subcommand does.
        options: Its options.
        choices: What its positional arguments take, where that is a few words.
    """

    summary: str
    options: tuple[Option, ...]
    choices: tuple[str, ...]


class _Recording(argparse.ArgumentParser):
    """A parser that remembers what was added to it."""

    def __init__(self) -> None:
        self.added: list[argparse.Action] = []
        super().__init__()

    def add_argument(self, *names: Any, **options: Any) -> argparse.Action:
        action = super().add_argument(*names, **options)
        self.added.append(action)
        return action


def script(shell: str) -> str:
    """The script of a shell, one of `SHELLS`."""
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](words_of_commands())


def words_of_commands() -> dict[str, Words]:
    """What completes each subcommand, by its name."""
    words = {}
    for name in COMMANDS:
        module, parser = command(name), _Recording()
        add_common(parser)
        module.add_arguments(parser)
        words[name] = Words(
            module.SUMMARY,
            tuple(_option(action) for action in parser.added if action.option_strings),
            tuple(str(c) for a in parser.added if not a.option_strings for c in a.choices or ()),
        )
    return words


def _option(action: argparse.Action) -> Option:
    choices = tuple(str(choice) for choice in action.choices or ())
    return Option(
        tuple(action.option_strings), (action.help or "").replace("%%", "%"), choices, action.nargs != 0
    )


def _bash(words: dict[str, Words]) -> str:
    lines = ["_keras_trt() {", "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}"]
    lines += ["  if [ $COMP_CWORD -eq 1 ]; then", f"    {_compgen(words)}; return", "  fi"]
    lines += ["  case ${COMP_WORDS[1]} in"]
    for name, known in words.items():
        lines += [f"  {name})", "    case $prev in"]
        for option in known.options:
            if option.takes:
                values = _compgen(option.choices) if option.choices else _FILES
                lines.append(f"    {'|'.join(option.names)}) {values}; return;;")
        lines += ["    esac"]
        named = [n for option in known.options for n in option.names]
        lines += [f"    if [[ $cur == -* ]]; then {_compgen(named)}; return; fi"]
        lines += [f"    {_compgen(known.choices)}; return;;" if known.choices else "    ;;"]
    lines += ["  esac", f"  {_FILES}", "}"]
    return "\n".join([*lines, "complete -o filenames -F _keras_trt keras-trt"])


# A line a name: they may have spaces. Bash itself quotes them, by `-o filenames`.
_FILES = "local IFS=$'\\n'; COMPREPLY=($(compgen -f -- \"$cur\"))"


def _compgen(values: Iterable[str]) -> str:
    joined = " ".join(values)
    return f'COMPREPLY=($(compgen -W "{joined}" -- "$cur"))'


def _zsh(words: dict[str, Words]) -> str:
    lines = ["#compdef keras-trt", "_keras_trt() {", "  local -a commands=("]
    lines += [f"    {shlex.quote(f'{name}:{_plain(known.summary)}')}" for name, known in words.items()]
    lines += ["  )", "  if (( CURRENT == 2 )); then _describe command commands; return; fi"]
    lines += ["  local command=$words[2]", "  shift words; (( CURRENT-- ))", "  case $command in"]
    for name, known in words.items():
        lines += [f"  {name}) _arguments \\"]
        lines += [f"    {shlex.quote(spec)} \\" for option in known.options for spec in _zsh_specs(option)]
        values = f"({' '.join(known.choices)})" if known.choices else "_files"
        lines += [f"    {shlex.quote(f'*::argument:{values}')};;"]
    return "\n".join([*lines, "  esac", "}", "compdef _keras_trt keras-trt"])


def _zsh_specs(option: Option) -> Iterator[str]:
    for name in option.names:
        value = f"({' '.join(option.choices)})" if option.choices else "_files"
        yield f"{name}[{_plain(option.help)}]" + (f":value:{value}" if option.takes else "")


def _plain(text: str) -> str:
    """Without what zsh reads as the end of a description."""
    return text.replace("[", "(").replace("]", ")").replace(":", ",")


def _fish(words: dict[str, Words]) -> str:
    first = "not __fish_seen_subcommand_from " + " ".join(words)
    lines = []
    for name, known in words.items():
        lines.append(f"complete -c keras-trt -f -n '{first}' -a {name} -d {shlex.quote(known.summary)}")
        here = f"complete -c keras-trt -n '__fish_seen_subcommand_from {name}'"
        if known.choices:
            lines.append(f"{here} -f -a '{' '.join(known.choices)}'")
        for option in known.options:
            flags = " ".join(f"-l {n[2:]}" if n.startswith("--") else f"-s {n[1:]}" for n in option.names)
            values = f" -x -a '{' '.join(option.choices)}'" if option.choices else " -r" * option.takes
            lines.append(f"{here} {flags}{values} -d {shlex.quote(option.help)}")
    return "\n".join(lines)
