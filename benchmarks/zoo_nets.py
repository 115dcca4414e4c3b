"""The networks of `keras.applications` and `tf_keras.applications`, and how to make untrained ones behave."""

from __future__ import annotations

import importlib
from itertools import zip_longest
from typing import Any

import numpy as np

KERASES = ("keras", "tf_keras")

# Members in increasing size.
FAMILIES: dict[str, tuple[str, ...]] = {
    "MobileNet": ("MobileNet",),
    "MobileNetV2": ("MobileNetV2",),
    "MobileNetV3": ("MobileNetV3Small", "MobileNetV3Large"),
    "NASNet": ("NASNetMobile", "NASNetLarge"),
    "EfficientNet": tuple(f"EfficientNetB{i}" for i in range(8)),
    "EfficientNetV2": tuple(f"EfficientNetV2{size}" for size in ("B0", "B1", "B2", "B3", "S", "M", "L")),
    "DenseNet": ("DenseNet121", "DenseNet169", "DenseNet201"),
    "ResNet": ("ResNet50", "ResNet101", "ResNet152"),
    "ResNetV2": ("ResNet50V2", "ResNet101V2", "ResNet152V2"),
    "Xception": ("Xception",),
    "Inception": ("InceptionV3",),
    "InceptionResNet": ("InceptionResNetV2",),
    "ConvNeXt": tuple(f"ConvNeXt{size}" for size in ("Tiny", "Small", "Base", "Large", "XLarge")),
    "VGG": ("VGG16", "VGG19"),
}
_REGNET = ("002", "004", "006", "008", "016", "032", "040", "064", "080", "120", "160", "320")
LEGACY_FAMILIES = {
    "RegNetX": tuple(f"RegNetX{size}" for size in _REGNET),
    "RegNetY": tuple(f"RegNetY{size}" for size in _REGNET),
    "ResNetRS": tuple(f"ResNetRS{size}" for size in ("50", "101", "152", "200", "270", "350", "420")),
}

# These begin with layers of preprocessing and take pixels from 0 to 255.
_TAKE_PIXELS = ("MobileNetV3", "EfficientNet", "ConvNeXt", "RegNet", "ResNetRS")

# These leave height and width open unless told.
_OPEN_INPUT = {"MobileNetV3Small": 224, "MobileNetV3Large": 224}

# The networks whose own input would need too much memory or time for one training step on a CPU.
SMALLER_INPUT = {
    "NASNetLarge": 224,
    "EfficientNetB4": 224,
    "EfficientNetB5": 224,
    "EfficientNetB6": 224,
    "EfficientNetB7": 224,
    "EfficientNetV2S": 224,
    "EfficientNetV2M": 224,
    "EfficientNetV2L": 224,
}


def networks() -> list[tuple[str, str]]:
    """(Keras, network) of them all: first the smallest of every family, then the second, and so on."""
    families = {
        "keras": list(FAMILIES.values()),
        "tf_keras": [*FAMILIES.values(), *LEGACY_FAMILIES.values()],
    }
    found = []
    for rank in zip_longest(*families["tf_keras"]):
        for net in filter(None, rank):
            found += [(keras, net) for keras in KERASES if any(net in members for members in families[keras])]
    return found


def build(keras_name: str, net: str, size: int | None = None) -> Any:
    """The whole network, classifier included, untrained; see `enliven`."""
    keras = importlib.import_module(keras_name)
    keras.utils.set_random_seed(0)
    size = size or SMALLER_INPUT.get(net) or _OPEN_INPUT.get(net)
    options = {} if size is None else {"input_shape": (size, size, 3)}
    return getattr(keras.applications, net)(weights=None, **options)


def images(net: str, size: int, count: int, seed: int) -> np.ndarray:
    """Images of coloured blobs, which differ as photographs do, in the value range the network takes."""
    rng = np.random.default_rng(seed)
    blobs = rng.normal(size=(count, 5, 5, 3)).repeat(-(-size // 5), 1).repeat(-(-size // 5), 2)
    noise = rng.normal(scale=0.3, size=(count, size, size, 3))
    x = np.clip(0.5 * (blobs[:, :size, :size] + noise), -1, 1).astype(np.float32)
    return (x + 1) * 127.5 if net.startswith(_TAKE_PIXELS) else x


def enliven(model: Any, x: np.ndarray) -> None:
    """Gives the normalisations of an untrained network values as training would leave them.

    As initialised, signals vanish or explode on their way through a deep network, residual branches count
    for nothing, and folding a BatchNormalization that does nothing proves nothing. With offsets around 1 most
    of the values pass a ReLU; around 0 a random network is chaotic and any rounding error fills its output.

    Args:
        model: An untrained network, changed in place.
        x: A batch of images; the moving statistics become those of this batch.
    """
    rng = np.random.default_rng(0)
    momenta = {}
    for layer in model._flatten_layers():
        kind = type(layer).__name__
        if kind in ("BatchNormalization", "LayerNormalization", "LayerScale"):
            for weight in layer.trainable_weights:
                is_offset = "beta" in weight.name
                values = (
                    rng.normal(1, 0.2, weight.shape) if is_offset else rng.uniform(0.5, 1.5, weight.shape)
                )
                weight.assign(values.astype(np.float32))
        if kind == "BatchNormalization":
            momenta[layer] = layer.momentum
            layer.momentum = 0.0
    if momenta:
        model(x, training=True)
    for layer, momentum in momenta.items():
        layer.momentum = momentum
