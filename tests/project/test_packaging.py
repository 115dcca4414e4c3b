"""setup.cfg says what the tree holds, and the files that users and CI start with are there."""

from __future__ import annotations

import configparser
import os
import re
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
EXTRAS_OF_THE_DESIGN = {"keras", "openvino", "onnxruntime", "tensorrt", "rtx", "lean", "report", "dev"}


def ini(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / name)
    return parser


def requirements(text: str) -> dict[str, Requirement]:
    found = [Requirement(line) for line in text.splitlines() if line and not line.startswith("#")]
    return {requirement.name: requirement for requirement in found}


SETUP = ini("setup.cfg")
CORE = requirements(SETUP["options"]["install_requires"])
EXTRAS = SETUP["options.extras_require"]
RUN = {name: CORE | requirements(EXTRAS[name]) for name in ("keras", "openvino", "onnxruntime", "rtx")}
DECLARED = {n: r for extra in RUN.values() for n, r in extra.items() if n != "keras-trt"}


def test_every_folder_with_code_is_a_package():
    folders = {path.parent for path in (ROOT / "keras_trt").rglob("*.py")}
    assert not [folder for folder in folders if not (folder / "__init__.py").exists()]


def test_the_data_files_are_declared():
    globs = re.split(r",\s*", SETUP["options.package_data"]["keras_trt"])
    declared = {path for glob in globs for path in (ROOT / "keras_trt").glob(glob)}
    held = {path for path in (ROOT / "keras_trt").rglob("*")
            if path.is_file() and path.suffix not in {".py", ".pyc"}}  # fmt: skip
    assert held <= declared
    assert ROOT / "keras_trt" / "py.typed" in held


def test_every_extra_can_be_asked_for():
    assert set(EXTRAS) >= EXTRAS_OF_THE_DESIGN
    for text in EXTRAS.values():
        requirements(text)


def test_the_pip_lines_in_error_messages_name_extras_that_exist():
    named = {extra for path in (ROOT / "keras_trt").rglob("*.py")
             for group in re.findall(r"keras-trt\[([a-z,]+)\]", path.read_text())
             for extra in group.split(",")}  # fmt: skip
    assert named <= set(EXTRAS)


def test_the_oldest_environment_pins_the_lower_bounds():
    pins = requirements(ini("tox.ini")["testenv:oldest"]["deps"])
    for name, pin in pins.items():
        version = Version(str(pin.specifier).removeprefix("=="))
        bound = next(Version(s.version) for s in DECLARED[name].specifier if s.operator == ">=")
        assert version in DECLARED[name].specifier
        assert version.release[: len(bound.release)] == bound.release, (
            f"{name}: {version} is not the bound {bound}"
        )
    assert {*DECLARED} - {*pins} == {"packaging", "rich"}


def test_a_machine_that_only_predicts_needs_little():
    assert {*CORE} == {"numpy", "packaging", "rich"}


def test_what_is_installed_here_is_within_the_declared_ranges():
    for name, requirement in DECLARED.items():
        assert requirement.specifier.contains(metadata.version(name), prereleases=True), name


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE"])
def test_the_usual_files_are_there(name):
    assert (ROOT / name).stat().st_size > 200


def test_ci_can_be_run():
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


@pytest.mark.parametrize(
    "path",
    sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/README.md")]),
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_links_between_the_documents_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_the_tox_environments_named_in_the_documents_exist():
    environments = {section.removeprefix("testenv:") for section in ini("tox.ini").sections()}
    text = "".join(
        path.read_text() for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / ".ci" / "run"]
    )
    named = {
        name for group in re.findall(r"tox (?:run )?-e ([a-z0-9,-]+)", text) for name in group.split(",")
    }
    assert named
    assert named <= environments


def test_every_tox_environment_is_in_the_page_for_those_who_contribute():
    environments = {section.removeprefix("testenv:") for section in ini("tox.ini").sections()}
    page = (ROOT / "CONTRIBUTING.md").read_text()
    assert environments - {"tox", "testenv"} - set(re.findall(r"tox -e ([a-z0-9]+)", page)) == set()
