"""Small networks of three kinds, with data to train them on and data that training has not seen."""

from __future__ import annotations

import collections
import re
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

LENGTH, WORDS = 40, 2000
PACKAGES = ("asyncio", "email", "unittest", "multiprocessing", "xml", "ctypes")
INTERVALS = ((1,), (1, 1.2), (1, 1.25), (1, 4 / 3), (1, 1.5), (1, 1.6), (1, 1.25, 1.5), (1, 1.2, 1.5))


@dataclass(frozen=True)
class Task:
    """A network that is not trained yet, and its data; labels are integers."""

    model: Any
    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    epochs: int


def trained(k, task):
    """The model of a task, trained as far as its epochs go."""
    for layer in task.model.layers:
        if isinstance(layer, k.layers.BatchNormalization):
            layer.momentum = 0.9  # an epoch is short
    steps = task.epochs * -(-len(task.train[0]) // 64)
    task.model.compile(
        k.optimizers.Adam(k.optimizers.schedules.CosineDecay(3e-3, steps)), "sparse_categorical_crossentropy"
    )
    task.model.fit(*task.train, epochs=task.epochs, batch_size=64, verbose=0)
    return task.model


def scenes(count, rng, pool, size=24):
    """Digits somewhere in a noisy image, and for each pixel 0 or one of three kinds of digits."""
    x, y = pool
    images, kinds = rng.normal(0, 0.05, (count, size, size, 1)), np.zeros((count, size, size), np.int64)
    for i, j in enumerate(rng.choice(len(x), count)):
        a, b = rng.integers(0, size - 8 + 1, 2)
        images[i, a : a + 8, b : b + 8, 0] += x[j]
        kinds[i, a : a + 8, b : b + 8] = np.where(x[j] > 0.3, 1 + y[j] % 3, 0)
    return images.astype(np.float32), kinds


def segmentation(k):
    """A U-Net with batch normalisation, transposed convolution and bilinear upsampling."""
    from sklearn.datasets import load_digits

    L = k.layers

    def block(x, width):
        for _ in range(2):
            x = L.Conv2D(width, 3, padding="same", use_bias=False)(x)
            x = L.ReLU()(L.BatchNormalization()(x))
        return x

    inputs = k.Input((24, 24, 1))
    a = block(inputs, 12)
    b = block(L.MaxPooling2D()(a), 24)
    c = block(L.MaxPooling2D()(b), 32)
    x = block(L.Concatenate()([L.Conv2DTranspose(24, 2, 2)(c), b]), 24)
    x = block(L.Concatenate()([L.UpSampling2D(interpolation="bilinear")(x), a]), 12)
    model = k.Model(inputs, L.Conv2D(4, 1, activation="softmax")(x))
    x, y = load_digits(return_X_y=True)
    x, rng = (x / 16).reshape(-1, 8, 8), np.random.default_rng(0)
    train, test = scenes(2000, rng, (x[:1300], y[:1300])), scenes(400, rng, (x[1300:], y[1300:]))
    return Task(model, train, test, epochs=5)


def texts(rng):
    """Pieces of the standard library's sources as words' numbers, padded with 0, and of which package."""
    root, found = Path(sysconfig.get_paths()["stdlib"]), []
    for label, package in enumerate(PACKAGES):
        for number, file in enumerate(sorted((root / package).rglob("*.py"))):
            words = re.findall(r"[a-z]+", file.read_text(errors="ignore").lower())
            found += [(words[i : i + LENGTH], label, number % 4) for i in range(0, len(words) - 20, 20)]
    most = collections.Counter(word for words, *_ in found for word in words).most_common(WORDS - 2)
    numbers = {word: i for i, (word, _) in enumerate(most, start=2)}
    x = np.zeros((len(found), LENGTH), np.int32)
    for row, (words, *_) in zip(x, found, strict=True):
        length = min(len(words), rng.integers(8, LENGTH + 1))
        row[:length] = [numbers.get(word, 1) for word in words[:length]]
    label, part = np.array([pair[1:] for pair in found]).T
    return [
        (x[rows], label[rows]) for rows in map(rng.permutation, map(np.flatnonzero, (part < 3, part == 3)))
    ]


def text(k):
    """A transformer that attends to no padding."""
    L = k.layers
    inputs = k.Input((LENGTH,), dtype="int32")
    x = L.Embedding(WORDS, 32, mask_zero=True)(inputs)
    for _ in range(2):
        x = L.LayerNormalization()(L.Add()([x, L.MultiHeadAttention(4, 8)(x, x)]))
        x = L.LayerNormalization()(L.Add()([x, L.Dense(32)(L.Dense(64, activation="relu")(x))]))
    outputs = L.Dense(len(PACKAGES), activation="softmax")(L.GlobalAveragePooling1D()(x))
    train, test = texts(np.random.default_rng(0))
    return Task(k.Model(inputs, outputs), tuple(a[:4000] for a in train), test, 5)


def chords(count, rng, length=2048, rate=8000):
    """Sounds of one of eight chords, of different loudness, (count, length, 1), and which it is."""
    time, y = np.arange(length) / rate, rng.integers(0, len(INTERVALS), count)
    x = rng.normal(0, 0.01, (count, length))
    for i, label in enumerate(y):
        base, loudness = rng.uniform(200, 500), rng.lognormal(-2, 0.6)
        for ratio in INTERVALS[label]:
            for tone in (1, 2, 3):
                wave = np.sin(2 * np.pi * base * ratio * tone * time + rng.uniform(0, 7))
                x[i] += loudness * rng.uniform(0.6, 1) / tone**1.5 * wave
    return x[..., np.newaxis].astype(np.float32), y


def spectra(x):
    """Log magnitudes of 29 pieces of a sound, (rows, 29, 80)."""
    pieces = np.lib.stride_tricks.sliding_window_view(x[..., 0], 256, axis=1)[:, ::64] * np.hanning(256)
    return np.log(1e-3 + np.abs(np.fft.rfft(pieces, axis=-1)))[..., :80].astype(np.float32)


def recurrent(k):
    """LSTMs over spectra, of which the last reads the sequences of both others."""
    L = k.layers
    inputs = k.Input((29, 80))
    x = L.LSTM(32, return_sequences=True)(inputs)
    y = L.LSTM(24)(L.Concatenate()([x, L.LSTM(32, return_sequences=True)(x)]))
    model = k.Model(inputs, L.Dense(len(INTERVALS), activation="softmax")(y))
    rng = np.random.default_rng(0)
    (x, y), (u, v) = chords(3000, rng), chords(800, rng)
    return Task(model, (spectra(x), y), (spectra(u), v), epochs=10)
