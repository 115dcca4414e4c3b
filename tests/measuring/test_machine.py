import os
import platform
from importlib import metadata

from keras_trt.measuring import machine as subject
from keras_trt.measuring.machine import driver_version, machine


def test_the_machine_says_what_figures_depend_on(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    here = machine(["rich", "no_such_module"])
    assert here.cores == len(os.sched_getaffinity(0))
    assert here.memory > 2**28
    assert here.python == platform.python_version()
    assert here.versions["rich"] == metadata.version("rich")
    assert "no_such_module" not in here.versions
    assert here.environment["OMP_NUM_THREADS"] == "3"
    text = " ".join(here.sentences())
    assert here.processor in text
    assert f"rich {metadata.version('rich')}" in text


def test_the_driver_says_its_version(monkeypatch, tmp_path):
    told = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build"
    (tmp_path / "version").write_text(f"{told}\nGCC version:  gcc 12.3.0\n")
    monkeypatch.setattr(subject, "Path", lambda _: tmp_path / "version")
    assert driver_version() == "570.86.15"
    (tmp_path / "version").unlink()
    assert driver_version() == ""
