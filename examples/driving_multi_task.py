"""One engine for three tasks of a car's camera: the road's pixels, the weather, the box of the car ahead.

    python examples/driving_multi_task.py

One backbone serves three heads, so it is computed once. Scenes are drawn here: a road that narrows towards
the horizon, a car of some colour on it, by day, at dusk or at night, with noise.
"""

from __future__ import annotations

import keras
import numpy as np
from results import Results, arguments

import keras_trt

layers = keras.layers
SIZE, LIGHT = 48, (1.0, 0.6, 0.25)  # by day, at dusk, at night


def scenes(count: int, seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Images uint8, and {"road": masks, "light": numbers, "box": (left, top, right, bottom) in [0, 1]}."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    images, roads, boxes = [], [], []
    light = rng.integers(0, len(LIGHT), count)
    for brightness in np.take(LIGHT, light):
        horizon, middle, bend = rng.uniform(0.25, 0.45), rng.uniform(0.3, 0.7), rng.uniform(-0.3, 0.3)
        depth = np.clip((rows - horizon) / (1 - horizon), 0, None)
        centre = middle + bend * (1 - depth)
        road = (depth > 0) & (np.abs(columns - centre) < 0.04 + 0.35 * depth)
        near = rng.uniform(0.2, 0.8)  # how far down the road the car's wheels are
        bottom, width = horizon + near * (1 - horizon), 0.1 + 0.3 * near
        left = middle + bend * (1 - near) - width / 2
        box = np.clip([left, bottom - 0.8 * width, left + width, bottom], 0, 1)
        car = (columns >= box[0]) & (columns < box[2]) & (rows >= box[1]) & (rows < box[3])
        image = np.where(depth[..., None] > 0, [0.3, 0.6, 0.3], [0.5, 0.7, 1.0])
        image = np.where(road[..., None], 0.4, image)
        image = np.where(car[..., None], rng.uniform(0, 1, 3) * [1, 0.4, 1], image) * brightness
        images.append(np.clip(image + rng.normal(scale=0.04, size=image.shape), 0, 1))
        roads.append(road & ~car)
        boxes.append(box)
    targets = {"road": np.array(roads)[..., None], "light": light, "box": np.array(boxes)}
    return (255 * np.array(images)).astype("uint8"), {k: v.astype("float32") for k, v in targets.items()}


def network(each: int) -> keras.Model:
    def block(x: keras.KerasTensor, filters: int, strides: int) -> keras.KerasTensor:
        y = x
        for i in range(each):  # convolutions a block
            y = layers.Conv2D(filters, 3, strides=1 if i else strides, padding="same", use_bias=False)(y)
            y = layers.BatchNormalization(momentum=0.9)(y)
            y = layers.ReLU()(y) if i < each - 1 else y
        x = layers.Conv2D(filters, 1, strides=strides, use_bias=False)(x)
        return layers.ReLU()(layers.Add()([layers.BatchNormalization(momentum=0.9)(x), y]))

    image = keras.Input((SIZE, SIZE, 3), dtype="uint8", name="image")
    x = layers.Conv2D(16, 3, strides=2, padding="same", activation="relu")(layers.Rescaling(1 / 255)(image))
    fine = block(x, 16, 1)
    middle = block(fine, 32, 2)
    x = block(middle, 64, 2)
    flat = layers.Flatten()(layers.Conv2D(16, 1, activation="relu")(x))
    light = layers.Dense(len(LIGHT), activation="softmax", name="light")(layers.GlobalAveragePooling2D()(x))
    box = layers.Dense(4, name="box")(layers.Dense(64, activation="relu", name="box_features")(flat))
    for skipped in (middle, fine):
        x = layers.Concatenate()([layers.UpSampling2D()(x), skipped])
        x = layers.Conv2D(16, 3, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    road = layers.Conv2DTranspose(1, 2, strides=2, activation="sigmoid", name="road")(x)
    return keras.Model(image, {"road": road, "light": light, "box": box}, name="driving")


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Mean intersection over union of boxes (n, 4)."""
    sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    both = np.clip(sides, 0, None).prod(-1)
    areas = [np.clip(c[:, 2:] - c[:, :2], 0, None).prod(-1) for c in (a, b)]
    return float((both / (areas[0] + areas[1] - both)).mean())


def main() -> None:
    options = arguments(__doc__)
    keras.utils.set_random_seed(0)
    count, tests, epochs, each = (160, 60, 3, 1) if options.quick else (4000, 400, 30, 2)
    (x, y), (x_test, y_test) = scenes(count, 1), scenes(tests, 2 if options.validate else 3)
    pixels = y_test["road"] > 0

    results = Results(
        "Driving",
        x_test,
        road=lambda p: ((p["road"] > 0.5) & pixels).sum() / ((p["road"] > 0.5) | pixels).sum(),
        light=lambda p: (p["light"].argmax(-1) == y_test["light"]).mean(),
        box=lambda p: overlap(p["box"], y_test["box"]),
    )

    def fit(model: keras.Model, epochs: int, learning_rate: float) -> None:
        rate = keras.optimizers.schedules.CosineDecay(learning_rate, epochs * -(-count // 16))
        # Sides are off by hundredths: Huber's default, quadratic up to 1, would hardly pull any more.
        box = keras.losses.Huber(delta=0.05)
        losses = {"road": "binary_crossentropy", "light": "sparse_categorical_crossentropy", "box": box}
        weights = {"road": 1, "light": 0.3, "box": 100}
        model.compile(keras.optimizers.Adam(rate), losses, loss_weights=weights, jit_compile=False)
        model.fit(x, y, batch_size=16, epochs=epochs, verbose=2)

    model = network(each)
    fit(model, epochs, 3e-3)
    results.add("float", model)
    quantized = keras_trt.quantize_model(model, calibration_data=x[:128])
    results.add("int8, PTQ", quantized)
    fit(quantized, max(1, epochs // 5), 3e-4)
    results.add("int8, QAT", quantized)
    pruned = keras_trt.prune_model(quantized, sparsity=0.2, skip=["box", "box_features", "road"])
    fit(pruned, max(2, epochs // 3), 5e-4)
    results.add("int8, 20 % pruned", pruned)

    bundle = options.out / "driving.bundle"
    print(keras_trt.export(pruned, bundle, calibration_data=x[:16], overwrite=True))
    results.add("exported", keras_trt.load(bundle))
    results.check(quick=options.quick)


if __name__ == "__main__":
    main()
