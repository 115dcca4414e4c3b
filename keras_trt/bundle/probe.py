"""A few rows that a bundle carries, with what Keras made of them: by these a runner proves itself anywhere.

They lie in `probe.npz` beside the graph, plain arrays without pickles. Large outputs are kept as a sample.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_trt._base.tensors import BATCH_AXIS
from keras_trt.bundle.checksum import sha256_of
from keras_trt.bundle.manifest import PROBE_FILE, Manifest
from keras_trt.bundle.read import Bundle
from keras_trt.errors import BundleError

SAMPLE = 16384
"""The most values kept of one output."""

_OPEN_AXIS = 64


@dataclass(frozen=True)
class Expected:
    """One output of the probe.

    Attributes:
        shape: The whole output's.
        sample: All its values, or `SAMPLE` of them, flat.
        allowed: The largest relative difference that rounding explains.
    """

    shape: tuple[int, ...]
    sample: np.ndarray
    allowed: float


@dataclass(frozen=True)
class Probe:
    """Rows to try a runner on.

    Attributes:
        inputs: By input name, cast to the inputs' dtypes.
        expected: By output name, what Keras makes of them; None when Keras was not asked.
    """

    inputs: dict[str, np.ndarray]
    expected: dict[str, Expected] | None = None


def expect(outputs: Mapping[str, np.ndarray], allowed: Mapping[str, float]) -> dict[str, Expected]:
    """What is kept of right outputs, by name."""
    return {
        name: Expected(array.shape, sample(np.asarray(array)), allowed[name])
        for name, array in outputs.items()
    }


def sample(array: np.ndarray) -> np.ndarray:
    """All values of an array, or `SAMPLE` of them spread over it; flat, and always the same ones."""
    flat = array.reshape(-1)
    if flat.size <= SAMPLE:
        return flat
    stride = flat.size // SAMPLE
    while math.gcd(stride, flat.size) > 1:  # with a common divisor it could see some channels only
        stride += 1
    return flat[np.arange(SAMPLE, dtype=np.int64) * stride % flat.size]


def write_probe(folder: Path, probe: Probe, manifest: Manifest) -> str:
    """Writes a probe into the folder of a bundle to be.

    Returns:
        The file's SHA-256, for the manifest.
    """
    arrays = {f"input_{i}": _plain(probe.inputs[s.name]) for i, s in enumerate(manifest.inputs)}
    if probe.expected is not None:
        for i, spec in enumerate(manifest.outputs):
            held = probe.expected[spec.name]
            arrays[f"output_{i}"] = _plain(held.sample)
            arrays[f"shape_{i}"] = np.array(held.shape, np.int64)
            arrays[f"allowed_{i}"] = np.array(held.allowed)
    np.savez_compressed(folder / PROBE_FILE, allow_pickle=False, **arrays)
    return sha256_of(folder / PROBE_FILE)


def read_probe(bundle: Bundle) -> Probe | None:
    """The probe of a bundle; None for one that was written without.

    Raises:
        BundleError: The file is not the one that was written.
    """
    manifest, path = bundle.manifest, bundle.path / PROBE_FILE
    if manifest.probe_sha256 is None:
        return None
    try:
        if not path.is_file() or sha256_of(path) != manifest.probe_sha256:
            raise BundleError(
                f"The bundle `{bundle.path}` is damaged: `{PROBE_FILE}` is not the file that was exported. "
                "Export the model again, or load it with check=False."
            )
        with np.load(path, allow_pickle=False) as held:
            inputs = {s.name: held[f"input_{i}"] for i, s in enumerate(manifest.inputs)}
            if "output_0" not in held:
                return Probe(inputs)
            return Probe(inputs, {s.name: _expected(held, i) for i, s in enumerate(manifest.outputs)})
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as e:
        raise BundleError(f"The bundle `{bundle.path}`: `{PROBE_FILE}` cannot be read: {e}") from e


def made_up(manifest: Manifest, rows: int = 2) -> Probe:
    """A probe for a bundle that has none: normal floats, integers and booleans of 0 and 1."""
    rng = np.random.default_rng(0)
    low, _, high = manifest.batch
    named = {BATCH_AXIS: min(max(rows, low), high), **{a: s[1] for a, s in manifest.axis_sizes.items()}}
    inputs = {}
    for spec in manifest.inputs:
        shape = [axis if isinstance(axis, int) else named.get(axis, _OPEN_AXIS) for axis in spec.shape]
        floats = spec.dtype not in ("bool",) and not spec.dtype.startswith(("int", "uint"))
        inputs[spec.name] = rng.standard_normal(shape) if floats else rng.integers(0, 2, shape)
    return Probe(inputs)


def _expected(held: Mapping[str, np.ndarray], i: int) -> Expected:
    shape = tuple(int(size) for size in held[f"shape_{i}"])
    return Expected(shape, held[f"output_{i}"], float(held[f"allowed_{i}"]))


def _plain(array: np.ndarray) -> np.ndarray:
    """NumPy's files know no bfloat16."""
    return array if array.dtype.kind in "biuf" else array.astype(np.float32)
