"""A slice of `tests/backends`, on JAX where that is installed; `tox -e backends` runs all of them."""

import importlib.util
import os
import subprocess
import sys

import pytest

SLICE = "post_training or files_keep_all or quantised_model_with_a_plan"


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed")
def test_quantising_training_saving_and_export_on_jax():
    command = [sys.executable, "-m", "tests.backends", "jax", "-q", "-k", SLICE, "-p", "no:cacheprovider"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "KERAS_BACKEND"))}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "3 passed" in done.stdout
