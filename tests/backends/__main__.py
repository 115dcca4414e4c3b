"""Runs the tests of this folder on a backend: `python -m tests.backends jax [options of pytest]`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

if __name__ == "__main__":
    backend, *options = sys.argv[1:]
    os.environ["KERAS_BACKEND"] = backend  # read when Keras is imported
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"  # for keras.distribution, on JAX
    sys.exit(pytest.main([str(Path(__file__).parent), *options]))
