"""Fixtures shared by all rooms: the two Kerases, random numbers, TF-MOT."""

from __future__ import annotations

import gc
import importlib
import os
import uuid
from types import ModuleType

import numpy as np
import pytest


@pytest.fixture(params=["keras3", "legacy"])
def k(request):
    """The Keras namespace under test: `keras` or `tf_keras`, its initial weights the same in every run."""
    keras = importlib.import_module("keras" if request.param == "keras3" else "tf_keras")
    keras.utils.set_random_seed(0)
    return keras


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem):
    """Starts weights from the same numbers again where pytest-randomly has moved them behind `k`."""
    keras = pyfuncitem.funcargs.get("k")
    if keras is not None and pyfuncitem.config.pluginmanager.hasplugin("randomly"):
        keras.utils.set_random_seed(0)
    return (yield)


@pytest.fixture(autouse=True)
def plan_cache(tmp_path_factory, monkeypatch):
    """A plan cache of a test's own, at a path where nothing is yet: the user's stays as it is."""
    folder = tmp_path_factory.getbasetemp() / "caches" / str(uuid.uuid4())
    monkeypatch.setenv("KERAS_TRT_CACHE", str(folder))
    return folder


@pytest.fixture
def few_objects():
    """Collecting garbage looks at the objects of this test alone: those of all tests before it take seconds.

    `benchmark` collects before each contender, to measure memory.
    """
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def rng():
    """A generator of random numbers for one test alone: its data do not depend on which tests ran before."""
    return np.random.default_rng(0)


def _tfmot(module: str) -> ModuleType:
    """A module of TF-MOT, imported without letting it change the environment or `tf.keras`."""
    import tensorflow as tf

    tf.keras.Model  # decided before TF-MOT can
    before = os.environ.get("TF_USE_LEGACY_KERAS")
    found = importlib.import_module(f"tensorflow_model_optimization.python.core.{module}")
    if before is None:
        os.environ.pop("TF_USE_LEGACY_KERAS", None)
    return found


@pytest.fixture
def tfmot_pruning_utils():
    """TF-MOT's mask functions."""
    return _tfmot("sparsity.keras.pruning_utils")


@pytest.fixture
def tfmot_schedules():
    """TF-MOT's pruning schedules."""
    return _tfmot("sparsity.keras.pruning_schedule")


@pytest.fixture
def tfmot_prune():
    """TF-MOT's pruning wrappers (`prune_low_magnitude`)."""
    return _tfmot("sparsity.keras.prune")
