"""Spoken commands: the spectrogram is in the engine, so that it takes samples as the microphone gives them.

    apt install espeak-ng
    python examples/speech_commands.py

`espeak-ng` speaks eight words in many voices; those that are tested were not in the training. A Conv/GRU
network on the spectrogram tells the words apart.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import wave
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
from results import Results, arguments

import keras_trt

layers = keras.layers
WORDS = ("yes", "no", "up", "down", "left", "right", "stop", "go")
ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-029")
TRAINED = (
    "m1",
    "m2",
    "m3",
    "m4",
    "m7",
    "f1",
    "f2",
    "f4",
    "adam",
    "Alex",
    "Andrea",
    "belinda",
    "boris",
    "linda",
)
TESTED = ("m5", "m6", "f3", "f5", "john", "Annie", "max", "Michael")
RATE, SAMPLES = 11025, 8192  # three quarters of a second


def speak(word: str, voice: str, speed: int, pitch: int) -> np.ndarray:
    """A word as (SAMPLES,) float32 in [-1, 1], in the middle of silence."""
    command = ["espeak-ng", "-v", voice, "-s", str(speed), "-p", str(pitch), "--stdout", word]
    with wave.open(io.BytesIO(subprocess.run(command, check=True, capture_output=True).stdout)) as file:
        sound = np.frombuffer(file.readframes(file.getnframes()), "<i2")[:: file.getframerate() // RATE]
    sound = sound[:SAMPLES] / 32768
    before = (SAMPLES - len(sound)) // 2
    return np.pad(sound, (before, SAMPLES - len(sound) - before)).astype("float32")


def speech(
    voices: tuple[str, ...], accents: tuple[str, ...], speeds: tuple[int, ...], seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Sounds (n, SAMPLES) and the numbers of their words (n,): with noise, a shift, and more or less loud."""
    rng = np.random.default_rng(seed)
    wanted = [
        (i, f"{accent}+{voice}", speed, int(rng.integers(25, 75)))
        for i in range(len(WORDS)) for accent in accents for voice in voices for speed in speeds
    ]  # fmt: skip
    with ThreadPoolExecutor() as pool:
        x = np.stack(list(pool.map(lambda w: speak(WORDS[w[0]], *w[1:]), wanted)))
    x = np.stack([np.roll(sound, rng.integers(-800, 800)) for sound in x]) * rng.uniform(0.3, 1, (len(x), 1))
    order = rng.permutation(len(x))
    x = (x + rng.normal(scale=0.003, size=x.shape)).astype("float32")
    return x[order], np.array([w[0] for w in wanted])[order]


def network() -> keras.Model:
    sound = keras.Input((SAMPLES,), name="sound")
    x = layers.Reshape((SAMPLES, 1))(sound)
    x = layers.STFTSpectrogram(frame_length=256, frame_step=128, fft_length=256, mode="log")(x)
    x = layers.Normalization(mean=-6.0, variance=9.0)(x)
    for filters in (32, 64):
        x = layers.Conv1D(filters, 5, strides=2, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    x = layers.GRU(48)(x)
    x = layers.Dropout(0.3)(x)
    return keras.Model(sound, layers.Dense(len(WORDS), activation="softmax", name="word")(x))


def main() -> None:
    options = arguments(__doc__)
    if shutil.which("espeak-ng") is None:
        sys.exit("This example needs espeak-ng: apt install espeak-ng")
    keras.utils.set_random_seed(0)
    accents, speeds, epochs = (
        (ACCENTS[:1], (150,), 5) if options.quick else (ACCENTS, (120, 145, 170, 195), 20)
    )
    trained, tested = (TRAINED[:10], TRAINED[10:]) if options.validate else (TRAINED, TESTED)
    if options.quick:
        trained, tested = trained[::2], tested[::2]
    x, y = speech(trained, accents, speeds, 1)
    x_test, y_test = speech(tested, accents, (140, 160), 2)
    results = Results("Spoken commands", x_test, accuracy=lambda p: (p.argmax(-1) == y_test).mean())

    def fit(model: keras.Model, epochs: int, learning_rate: float) -> None:
        rate = keras.optimizers.schedules.CosineDecay(learning_rate, epochs * -(-len(x) // 32))
        model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", jit_compile=False)
        model.fit(x, y, epochs=epochs, verbose=2)

    model = network()
    fit(model, epochs, 3e-3)
    results.add("float", model)
    quantized = keras_trt.quantize_model(model, calibration_data=x[:256])
    results.add("int8, PTQ", quantized)
    fit(quantized, max(1, epochs // 5), 3e-4)
    results.add("int8, QAT", quantized)
    pruned = keras_trt.prune_model(quantized, sparsity=0.5)
    fit(pruned, max(2, epochs // 4), 1e-3)
    results.add("int8, half pruned", pruned)

    bundle = options.out / "speech_commands.bundle"
    print(keras_trt.export(pruned, bundle, calibration_data=x[:64], labels=WORDS, overwrite=True))
    engine = keras_trt.load(bundle)
    print(f"{engine.labels[int(engine.predict(x_test[:1], verbose=0).argmax())]!r} was said first")
    results.add("exported", engine)
    results.check(quick=options.quick)


if __name__ == "__main__":
    main()
