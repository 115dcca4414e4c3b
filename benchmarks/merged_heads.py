"""Two heads on one backbone, merged into one engine, beside one of them: `python -m benchmarks.merged_heads`.

Both models are ResNet-50 with weights of their own objects, equal but for the heads, as they come from two
trainings with a frozen backbone. One image, float32, ONNX Runtime on the CPU, calls in turns in one process.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import keras
import numpy as np

import keras_trt

CALLS = 60
SHAPE = (224, 224, 3)


def network(backbone: keras.Model, classes: int, name: str) -> keras.Model:
    """A head on a copy of the backbone."""
    copy = keras.applications.ResNet50(weights=None, include_top=False, pooling="avg", input_shape=SHAPE)
    copy.set_weights(backbone.get_weights())
    return keras.Model(copy.input, keras.layers.Dense(classes, name="head")(copy.output), name=name)


def main() -> None:
    """Merges, exports, times and prints the ratio of the medians."""
    backbone = keras.applications.ResNet50(weights=None, include_top=False, pooling="avg", input_shape=SHAPE)
    one, two = network(backbone, 1000, "one"), network(backbone, 10, "two")
    merged = keras_trt.merge_models([one, two])
    image = np.random.default_rng(0).random((1, *SHAPE), "float32")
    with tempfile.TemporaryDirectory() as folder:
        engines = {}
        for name, model in (("one", one), ("merged", merged)):
            keras_trt.export(model, Path(folder, name), engine=None, verbose=0)
            engines[name] = keras_trt.load(Path(folder, name), runner="onnxruntime")
        times: dict[str, list[float]] = {name: [] for name in engines}
        for call in range(CALLS + 5):
            for name, engine in engines.items():
                start = time.perf_counter()
                engine.predict(image, verbose=0)
                if call >= 5:
                    times[name].append(time.perf_counter() - start)
        medians = {name: float(np.median(taken)) * 1e3 for name, taken in times.items()}
    ratio = medians["merged"] / medians["one"]
    print(f"one {medians['one']:.1f} ms, merged {medians['merged']:.1f} ms: {ratio:.3f}")


if __name__ == "__main__":
    main()
