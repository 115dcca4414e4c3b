"""Lesions in noisy scans, outlined by a U-Net: in slices, or in volumes with `--volumes`.

    python examples/segmentation_medical.py
    python examples/segmentation_medical.py --volumes

The scans are drawn here: tissue of a smooth brightness, noise, and ellipsoids that are a little brighter.
The score is Dice's, 2 |A and B| / (|A| + |B|), over all voxels of the test scans.
"""

from __future__ import annotations

import keras
import numpy as np
from results import Results, arguments

import keras_trt

layers = keras.layers


def scans(count: int, size: int, axes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """`count` scans of `size` voxels along each of 2 or 3 axes, and where lesions are; float32."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, size)] * axes, indexing="ij"), axis=-1)
    x, y = np.empty((count, *grid.shape[:-1])), np.zeros((count, *grid.shape[:-1]), bool)
    for scan, lesions in zip(x, y, strict=True):
        for _ in range(rng.integers(1, 4)):
            centre, radii = rng.uniform(-0.6, 0.6, axes), rng.uniform(0.15, 0.4, axes)
            lesions[(((grid - centre) / radii) ** 2).sum(-1) < 1] = True
        tissue = 0.3 * np.cos(grid @ rng.normal(size=axes) * 2)
        scan[...] = tissue + 0.6 * lesions + rng.normal(scale=0.25, size=tissue.shape)
    return x[..., None].astype("float32"), y[..., None].astype("float32")


def unet(size: int, axes: int, width: int, each: int) -> keras.Model:
    """Ronneberger et al. 2015 with batch normalisation, two levels deep; Çiçek et al. 2016 in 3D."""
    convolution, transposed = (
        (layers.Conv2D, layers.Conv2DTranspose) if axes == 2 else (layers.Conv3D, layers.Conv3DTranspose)
    )
    pooling = layers.MaxPooling2D if axes == 2 else layers.MaxPooling3D

    def block(x: keras.KerasTensor, filters: int) -> keras.KerasTensor:
        for _ in range(each):  # two, in the papers
            x = convolution(filters, 3, padding="same", use_bias=False)(x)
            x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
        return x

    scan = keras.Input((size,) * axes + (1,), name="scan")
    fine = block(scan, width)
    middle = block(pooling()(fine), 2 * width)
    x = block(pooling()(middle), 4 * width)
    for skipped, filters in ((middle, 2 * width), (fine, width)):
        x = transposed(filters, 2, strides=2)(x)
        x = block(layers.Concatenate()([skipped, x]), filters)
    return keras.Model(scan, convolution(1, 1, activation="sigmoid", name="lesion")(x))


def main() -> None:
    options = arguments(__doc__, volumes=False)
    keras.utils.set_random_seed(0)
    axes, size = (3, 16) if options.volumes else (2, 32 if options.quick else 48)
    count, tests, epochs, width, each = (64, 16, 4, 8, 1) if options.quick else (1000, 64, 8, 16, 2)
    x, y = scans(count, size, axes, seed=1)
    x_test, y_test = scans(tests, size, axes, seed=2 if options.validate else 3)

    def dice(probabilities: np.ndarray) -> float:
        lesion = probabilities > 0.5
        return float(2 * (lesion & (y_test > 0)).sum() / (lesion.sum() + y_test.sum()))

    results = Results("Lesions", x_test, dice=dice)

    def fit(model: keras.Model, epochs: int, learning_rate: float) -> None:
        rate = keras.optimizers.schedules.CosineDecay(learning_rate, epochs * -(-count // 8))
        model.compile(keras.optimizers.Adam(rate), "binary_crossentropy", jit_compile=False)
        model.fit(x, y, batch_size=8, epochs=epochs, verbose=2)

    model = unet(size, axes, width, each)
    fit(model, epochs, 4e-3)
    results.add("float", model)
    quantized = keras_trt.quantize_model(model, calibration_data=x[:64])
    results.add("int8, PTQ", quantized)
    fit(quantized, max(1, epochs // 5), 4e-4)
    results.add("int8, QAT", quantized)
    pruned = keras_trt.prune_model(quantized, sparsity=0.5, strategy="lamp")
    fit(pruned, max(2, epochs // 4), 1e-3)
    results.add("int8, half pruned", pruned)

    bundle = options.out / f"segmentation_{axes}d.bundle"
    print(keras_trt.export(pruned, bundle, batch=(1, 8, 64), calibration_data=x[:16], overwrite=True))
    results.add("exported", keras_trt.load(bundle))
    results.check(quick=options.quick)


if __name__ == "__main__":
    main()
