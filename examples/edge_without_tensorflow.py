"""Train here, predict there: a bundle on a machine that has NumPy and one runner, and no TensorFlow.

    python examples/edge_without_tensorflow.py                  # both halves; each in a process of its own
    python examples/edge_without_tensorflow.py --bundle BUNDLE  # the second half alone, on the edge

The edge needs `pip install 'keras-trt[openvino]'` (or `[onnxruntime]`, `[tensorrt]`, `[rtx]`), the bundle
with `edge_test.npz` beside it, this file and `results.py`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
from results import Results, arguments, split

import keras_trt


def train(options: argparse.Namespace) -> Path:
    """Writes the bundle, and test images with their labels beside it."""
    import keras
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    layers = keras.layers
    keras.utils.set_random_seed(0)
    digits = load_digits()
    images = digits.images[..., None].astype("float32") / 16
    x, x_test, y, y_test = train_test_split(images, digits.target, test_size=0.4, random_state=0)
    x, y, x_test, y_test = split(options, x, y, x_test, y_test)
    results = Results("Where it was trained", x_test, accuracy=lambda p: (p.argmax(-1) == y_test).mean())
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            layers.Conv2D(64, 3, activation="relu"),
            layers.Conv2D(64, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(10, activation="softmax", name="digit"),
        ]
    )

    def fit(model: keras.Model, epochs: int, learning_rate: float) -> None:
        jit = False if options.quick else "auto"  # XLA compiles for longer than a quick run trains
        model.compile(
            keras.optimizers.Adam(learning_rate), "sparse_categorical_crossentropy", jit_compile=jit
        )
        model.fit(x, y, epochs=epochs, verbose=0)

    fit(model, 6 if options.quick else 25, 1e-3)
    results.add("float", model)
    results.add("int8, PTQ", keras_trt.quantize_model(model, calibration_data=x[:256], verbose=0))
    pruned = keras_trt.prune_model(model, 0.4, pattern="channel")  # a smaller network, for a small machine
    fit(pruned, 2 if options.quick else 10, 1e-3)
    results.add("float, 40 % of channels pruned", pruned)
    quantized = keras_trt.quantize_model(pruned, calibration_data=x[:256], verbose=0)
    fit(quantized, 1 if options.quick else 5, 2e-4)
    results.add("int8, QAT, pruned", quantized)

    bundle = options.out / "edge.bundle"
    labels = [str(digit) for digit in range(10)]
    keras_trt.export(quantized, bundle, engine=None, labels=labels, overwrite=True, verbose=0)
    results.add("exported", keras_trt.load(bundle))
    np.savez(options.out / "edge_test.npz", x=x_test, y=y_test, float=results.rows["float"])
    results.check(quick=options.quick)
    return bundle


def predict(options: argparse.Namespace, bundle: Path) -> None:
    """What the edge does."""
    print(keras_trt.doctor(bundle))  # what is installed here, and what would run
    engine = keras_trt.load(bundle)
    with np.load(bundle.with_name("edge_test.npz")) as test:
        x, y, trained = test["x"], test["y"], float(test["float"][0])
    results = Results("On the edge", x, accuracy=lambda p: (p.argmax(-1) == y).mean())
    results.rows["float"] = [trained]
    results.add("exported", engine)
    missing = {"tensorflow", "keras", "tf_keras"} - {name for name, module in sys.modules.items() if module}
    print(f"{engine.labels[int(engine.predict(x[:1], verbose=0).argmax())]!r} is the first digit")
    print(f"Not loaded: {', '.join(sorted(missing))}")
    results.check(quick=options.quick)


def main() -> None:
    options = arguments(__doc__, bundle=None)
    if options.bundle is not None:
        predict(options, Path(options.bundle))
        return
    bundle = train(options)
    # As on a machine without them: `import tensorflow` and the like fail in the process of the second half.
    code = f"""import runpy, sys
sys.modules.update(tensorflow=None, keras=None, tf_keras=None)
sys.path.insert(0, {str(Path(__file__).parent)!r})
runpy.run_path({__file__!r}, run_name="__main__")
"""
    quick = ["--quick"] * options.quick
    sys.exit(subprocess.call([sys.executable, "-c", code, "--bundle", str(bundle), *quick]))


if __name__ == "__main__":
    main()
