"""The rows that a bundle carries."""

import dataclasses

import numpy as np
import pytest

from keras_trt.bundle import read_bundle
from keras_trt.bundle.probe import SAMPLE, Probe, expect, made_up, read_probe, sample, write_probe
from keras_trt.errors import BundleError
from tests.small_onnx import save_bundle, two_in_two_out


@pytest.fixture
def bundle(tmp_path):
    """A bundle with a probe of two rows."""
    made = read_bundle(save_bundle(tmp_path / "b", two_in_two_out()))
    inputs = {"a": np.full((2, 3), 0.5, np.float32), "b": np.full((2, 3), 4, np.int32)}
    outputs = {"total": np.full((2, 3), 4.5, np.float32), "product": np.full((2, 3), 2.0, np.float32)}
    probe = Probe(inputs, expect(outputs, {"total": 0.25, "product": 0.5}))
    digest = write_probe(made.path, probe, made.manifest)
    return dataclasses.replace(made, manifest=dataclasses.replace(made.manifest, probe_sha256=digest))


def test_a_probe_comes_back_as_it_was_written(bundle):
    probe = read_probe(bundle)
    assert probe.inputs["b"].dtype == np.int32
    np.testing.assert_array_equal(probe.inputs["a"], np.full((2, 3), 0.5))
    assert probe.expected["product"].shape == (2, 3)
    assert (probe.expected["product"].sample == 2).all()
    assert {name: held.allowed for name, held in probe.expected.items()} == {"total": 0.25, "product": 0.5}


def test_the_same_probe_makes_the_same_bytes(bundle):
    before = (bundle.path / "probe.npz").read_bytes()
    assert write_probe(bundle.path, read_probe(bundle), bundle.manifest) == bundle.manifest.probe_sha256
    assert (bundle.path / "probe.npz").read_bytes() == before


def test_a_bundle_without_a_probe_has_none(bundle):
    older = dataclasses.replace(bundle.manifest, probe_sha256=None)
    assert read_probe(dataclasses.replace(bundle, manifest=older)) is None


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_a_damaged_probe_is_named(bundle, damage):
    file = bundle.path / "probe.npz"
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(b"x" + file.read_bytes()[1:])
    with pytest.raises(BundleError, match=r"`probe\.npz` is not the file that was exported"):
        read_probe(bundle)


def test_a_probe_that_is_no_archive_of_arrays_is_a_bundle_error(bundle):
    import hashlib

    (bundle.path / "probe.npz").write_bytes(b"nothing")
    manifest = dataclasses.replace(bundle.manifest, probe_sha256=hashlib.sha256(b"nothing").hexdigest())
    with pytest.raises(BundleError, match=r"`probe\.npz` cannot be read"):
        read_probe(dataclasses.replace(bundle, manifest=manifest))


def test_pickles_in_a_probe_are_not_opened(bundle, tmp_path):
    import hashlib

    class Trap:
        def __reduce__(self):
            return (tmp_path.joinpath("sprung").touch, ())

    file = bundle.path / "probe.npz"
    np.savez(file, input_0=np.array([Trap()], object), input_1=np.ones(1))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    manifest = dataclasses.replace(bundle.manifest, probe_sha256=digest)
    with pytest.raises(BundleError, match="cannot be read"):
        read_probe(dataclasses.replace(bundle, manifest=manifest))
    assert not (tmp_path / "sprung").exists()


def test_large_outputs_are_kept_as_a_sample_of_every_channel():
    array = np.broadcast_to(np.arange(32, dtype=np.float32), (4, 64, 64, 32))
    held = sample(array)
    assert held.shape == (SAMPLE,)
    assert set(held) == set(range(32))
    assert sample(np.arange(6).reshape(2, 3)).tolist() == [0, 1, 2, 3, 4, 5]


def test_a_made_up_probe_has_the_shapes_and_a_batch_that_the_bundle_takes(bundle):
    manifest = dataclasses.replace(bundle.manifest, batch=(8, 8, 16))
    inputs = made_up(manifest).inputs
    assert inputs["a"].shape == (8, 3)
    assert set(np.unique(inputs["b"])) <= {0, 1}
