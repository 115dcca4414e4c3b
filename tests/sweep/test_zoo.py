"""Every network of `keras.applications` and `tf_keras.applications` goes the whole road; takes hours."""

from __future__ import annotations

import importlib

import pytest

from benchmarks.zoo import run_apart
from benchmarks.zoo_nets import KERASES, images, networks
from benchmarks.zoo_page import document


@pytest.mark.slow
@pytest.mark.parametrize(("keras_name", "net"), networks(), ids=lambda value: value)
def test_a_network_quantises_trains_exports_and_predicts_as_in_keras(keras_name, net):
    row = run_apart(keras_name, net)
    assert not row["failed"], f"{row['failed']}: {row['error']}"


@pytest.mark.parametrize("keras_name", KERASES)
def test_the_sweep_knows_every_network_of_the_installed_kerases(keras_name):
    applications = importlib.import_module(keras_name).applications
    there = {name for name in dir(applications) if name[0].isupper()}
    assert there == {net for keras, net in networks() if keras == keras_name}


def test_the_images_of_a_seed_are_the_same_and_in_the_range_a_network_takes():
    for net, low, high in (("ResNet50", -1, 1), ("EfficientNetB0", 0, 255)):
        x = images(net, 32, 2, seed=3)
        assert x.shape == (2, 32, 32, 3)
        assert low <= x.min() < x.max() <= high
        assert (x == images(net, 32, 2, seed=3)).all()


def test_the_table_shows_only_networks_that_were_run():
    failed = {"keras": "keras", "net": "VGG16", "failed": "export", "error": "no"}
    passed = {"keras": "tf_keras", "net": "VGG16", "failed": "", "mac_share": 0.981, "input": 224}
    only = {"keras": "tf_keras", "net": "VGG19", "failed": "", "float_only": True, "float_parity": 2e-6}
    rows = (failed, passed, only)
    text = document({(row["keras"], row["net"]): row for row in rows})
    assert "3 were run: 1 pass the whole road, 1 only the export in float32." in text
    assert "2e-06" in text and "float32 passes" in text
    assert "| keras | VGG16 |" in text and "fails: export |" in text
    assert "* keras VGG16, export: no" in text
    assert "98.1 %" in text and "ResNet50" not in text
