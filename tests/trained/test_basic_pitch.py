"""The transcriber of the package `basic-pitch`, a SavedModel of tf_keras, on synthesised notes."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from tests.trained.road import decibels, walked

if find_spec("basic_pitch") is None:
    pytest.skip("basic-pitch is not installed", allow_module_level=True)

RATE, SAMPLES, FRAMES, LOWEST = 22050, 43844, 172, 21  # MIDI number of the first of 88 keys
LEAST = 0.5


def model():
    import tf_keras

    (folder,) = find_spec("basic_pitch").submodule_search_locations
    return tf_keras.models.load_model(Path(folder) / "saved_models/icassp_2022/nmp", compile=False)


def notes(count):
    """Sounds of 2 to 8 notes with overtones, (count, samples, 1), and the keys pressed in each frame."""
    rng, time = np.random.default_rng(0), np.arange(SAMPLES) / RATE
    sounds, played = np.zeros((count, SAMPLES)), np.zeros((count, FRAMES, 88), bool)
    for i in range(count):
        for _ in range(rng.integers(2, 9)):
            key, begin, length = rng.integers(36, 84), rng.uniform(0, 1.5), rng.uniform(0.2, 0.8)
            pitch = 440 * 2 ** ((key - 69) / 12)
            on = (time > begin) & (time < begin + length)
            tones = sum(np.sin(2 * np.pi * pitch * n * time) / n**1.5 for n in range(1, 7))
            sounds[i] += rng.uniform(0.05, 0.4) * np.where(on, np.exp(-2 * (time - begin)), 0) * tones
            first, last = (int(t * RATE / SAMPLES * FRAMES) for t in (begin, begin + length))
            played[i, first : last + 1, key - LOWEST] = True
    return sounds[..., np.newaxis].astype(np.float32), played


def f_measure(found, played):
    hits = (found > LEAST) & played
    return 2 * hits.sum() / ((found > LEAST).sum() + played.sum())


def test_the_network_hears_the_notes_of_float(tmp_path):
    x, played = notes(64)
    exact, found, _ = walked(model(), tmp_path, x[:32], x[32:])
    for rounded, floats in zip(found, exact, strict=True):
        assert np.mean((rounded > LEAST) == (floats > LEAST)) >= 0.99
        assert decibels(rounded, floats) >= 25
    heard, heard_in_float = found[1], exact[1]  # contours, notes, onsets
    assert f_measure(heard_in_float, played[32:]) > 0.5
    assert abs(f_measure(heard, played[32:]) - f_measure(heard_in_float, played[32:])) < 0.003
