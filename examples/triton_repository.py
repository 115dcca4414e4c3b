"""A model repository for NVIDIA's Triton server, of two versions of a network.

    python examples/triton_repository.py
    docker run --rm --gpus all -p 8001:8001 -v $PWD/build/examples/models:/models \\
        nvcr.io/nvidia/tritonserver:<release>-py3 tritonserver --model-repository=/models

This writes what a server of your own reads; `keras_trt.serve` starts one on this machine (docs/serving.md).
"""

from __future__ import annotations

import shutil

import keras
from results import Results, arguments, split
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_trt

layers = keras.layers


def main() -> None:
    options = arguments(__doc__)
    keras.utils.set_random_seed(0)
    digits = load_digits()
    images = digits.images[..., None].astype("float32") / 16
    x, x_test, y, y_test = train_test_split(images, digits.target, test_size=0.4, random_state=0)
    x, y, x_test, y_test = split(options, x, y, x_test, y_test)
    results = Results("Two versions for Triton", x_test, accuracy=lambda p: (p.argmax(-1) == y_test).mean())
    labels = [str(digit) for digit in range(10)]
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            layers.Conv2D(48, 3, activation="relu"),
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

    fit(model, 6 if options.quick else 25, 2e-3)
    results.add("float", model)
    quantized = keras_trt.quantize_model(model, calibration_data=x[:256], verbose=0)
    results.add("int8, PTQ", quantized)
    fit(quantized, 1 if options.quick else 5, 2e-4)
    results.add("int8, QAT", quantized)
    pruned = keras_trt.prune_model(quantized, sparsity=0.5)
    fit(pruned, 2 if options.quick else 8, 5e-4)
    results.add("int8, half pruned", pruned)

    bundles = {"qat": quantized, "pruned": pruned}
    for name, each in bundles.items():
        path = options.out / f"triton_{name}.bundle"
        keras_trt.export(each, path, engine=None, labels=labels, overwrite=True, verbose=0)
    results.add("exported", keras_trt.load(options.out / "triton_pruned.bundle"))

    repository = options.out / "models"
    shutil.rmtree(repository, ignore_errors=True)
    # "onnx": Triton's ONNX Runtime. After `keras_trt.build` on the server's GPU: "tensorrt".
    for name in bundles:  # the second of a name becomes its version 2, which a running server takes up
        keras_trt.triton({"digits": options.out / f"triton_{name}.bundle"}, repository, backend="onnx")
    for file in sorted(path for path in repository.rglob("*") if path.is_file()):
        print(f"{file.stat().st_size:8,} bytes  {file.relative_to(repository)}")
    results.check(quick=options.quick)


if __name__ == "__main__":
    main()
