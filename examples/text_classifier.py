"""Where does a quotation come from? Texts of different lengths, attention, and a padding mask in the engine.

    apt install fortunes
    python examples/text_classifier.py

Words become numbers before the model, in the input pipeline: TensorRT has no strings. The bundle carries the
names of the classes, and its vocabulary as metadata, so that it can be used without this script.
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np
from results import Results, arguments, split

import keras_trt

layers = keras.layers
FOLDER = Path("/usr/share/games/fortunes")
SOURCES = ("computers", "definitions", "politics", "songs-poems", "science", "men-women")
WORDS, LENGTH = 8000, 48


def quotations() -> tuple[list[str], np.ndarray]:
    """All quotations of the sources, and the numbers of their sources."""
    if not FOLDER.exists():
        sys.exit("This example needs the texts of fortunes: apt install fortunes")
    texts = [(FOLDER / f"{name}.u8").read_text().strip("%\n").split("\n%\n") for name in SOURCES]
    labels = np.repeat(np.arange(len(SOURCES)), [len(some) for some in texts])
    return [text for some in texts for text in some], labels


def network() -> keras.Model:
    """One block of attention, a mean over the words that are there."""
    words = keras.Input((LENGTH,), dtype="int32", name="words")
    # Each word's vector; where a text has ended the mask is False, and attention and mean leave it out.
    x = layers.Embedding(WORDS, 64, mask_zero=True)(words)
    x = layers.Dropout(0.4)(x)
    attended = layers.MultiHeadAttention(4, 16)(x, x)
    x = layers.LayerNormalization()(layers.Add()([x, attended]))
    x = layers.Dense(64, activation="relu")(x)
    x = layers.GlobalAveragePooling1D()(x)
    x = layers.Dropout(0.5)(x)
    return keras.Model(words, layers.Dense(len(SOURCES), activation="softmax", name="source")(x))


def main() -> None:
    options = arguments(__doc__)
    keras.utils.set_random_seed(0)
    texts, y = quotations()
    order = np.random.default_rng(0).permutation(len(texts))
    texts, y, held_out = [texts[i] for i in order], y[order], len(order) * 2 // 5
    vectorize = layers.TextVectorization(WORDS, output_sequence_length=LENGTH)
    vectorize.adapt(texts[held_out:])
    x = np.asarray(vectorize(texts)).astype("int32")
    x, y, x_test, y_test = split(options, x[held_out:], y[held_out:], x[:held_out], y[:held_out])
    if options.quick:
        x, y, x_test, y_test = x[:2000], y[:2000], x_test[:500], y_test[:500]
    results = Results("Quotations by source", x_test, accuracy=lambda p: (p.argmax(-1) == y_test).mean())

    def fit(model: keras.Model, epochs: int, learning_rate: float) -> None:
        rate = keras.optimizers.schedules.CosineDecay(learning_rate, epochs * -(-len(x) // 32))
        jit = False if options.quick else "auto"  # XLA compiles for longer than a quick run trains
        model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", jit_compile=jit)
        model.fit(x, y, epochs=epochs, verbose=2)

    model = network()
    fit(model, 3 if options.quick else 4, 2e-3)
    results.add("float", model)
    quantized = keras_trt.quantize_model(model, calibration_data=x[:256])
    results.add("int8, PTQ", quantized)
    fit(quantized, 1 if options.quick else 2, 1e-4)
    results.add("int8, QAT", quantized)
    pruned = keras_trt.prune_model(quantized, sparsity=0.5, strategy="lamp")
    fit(pruned, 1 if options.quick else 2, 4e-4)
    results.add("int8, half pruned", pruned)

    bundle = options.out / "text_classifier.bundle"
    keras_trt.export(
        pruned,
        bundle,
        calibration_data=x[:64],
        labels=SOURCES,
        metadata={"vocabulary": vectorize.get_vocabulary(), "length": LENGTH},
        overwrite=True,
    )
    engine = keras_trt.load(bundle)
    number = {word: i for i, word in enumerate(engine.bundle.manifest.metadata["vocabulary"])}
    words = ["the", "compiler", "is", "always", "right"]
    ids = np.array([[number.get(word, 1) for word in words] + [0] * (LENGTH - len(words))], "int32")
    print(f"{' '.join(words)!r} is from {engine.labels[int(engine.predict(ids, verbose=0).argmax())]}")
    results.add("exported", engine)
    results.check(quick=options.quick)


if __name__ == "__main__":
    main()
