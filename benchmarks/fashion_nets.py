"""Three small networks for 28 x 28 grey images, one for each family of blocks that quantises differently."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

SHAPE, CLASSES = (28, 28, 1), 10


class _Blocks:
    """The blocks, in one Keras; layers are numbered, so that both Kerases give them the same names."""

    def __init__(self, keras: ModuleType) -> None:
        self.keras = keras
        self.count = 0

    def layer(self, kind: str, *args: Any, **options: Any) -> Any:
        self.count += 1
        return getattr(self.keras.layers, kind)(*args, name=f"{kind.lower()}_{self.count}", **options)

    def convolution(self, x: Any, filters: int, size: int, strides: int = 1) -> Any:
        x = self.layer("Conv2D", filters, size, strides=strides, padding="same", use_bias=False)(x)
        return self.layer("BatchNormalization", momentum=0.9)(x)

    def depthwise(self, x: Any, strides: int) -> Any:
        x = self.layer("DepthwiseConv2D", 3, strides=strides, padding="same", use_bias=False)(x)
        return self.layer("BatchNormalization", momentum=0.9)(x)

    def relu(self, x: Any) -> Any:
        return self.layer("ReLU")(x)

    def relu6(self, x: Any) -> Any:
        return self.layer("ReLU", 6.0)(x)

    def swish(self, x: Any) -> Any:
        return self.layer("Activation", "swish")(x)

    def residual(self, x: Any, filters: int, strides: int) -> Any:
        """He et al. 2016."""
        y = self.relu(self.convolution(x, filters, 3, strides))
        y = self.convolution(y, filters, 3)
        if strides > 1 or x.shape[-1] != filters:
            x = self.convolution(x, filters, 1, strides)
        return self.relu(self.layer("Add")([x, y]))

    def inverted_bottleneck(
        self, x: Any, filters: int, strides: int, activate: Callable, squeeze: bool = False
    ) -> Any:
        """Sandler et al. 2018; with squeeze-excite (Hu et al. 2018) it is EfficientNet's."""
        wide = 3 * x.shape[-1]
        y = activate(self.convolution(x, wide, 1))
        y = activate(self.depthwise(y, strides))
        if squeeze:
            y = self.squeeze_excite(y, activate)
        y = self.convolution(y, filters, 1)
        return self.layer("Add")([x, y]) if strides == 1 and x.shape[-1] == filters else y

    def squeeze_excite(self, x: Any, activate: Callable) -> Any:
        width = x.shape[-1]
        gate = self.layer("GlobalAveragePooling2D", keepdims=True)(x)
        gate = activate(self.layer("Conv2D", max(8, width // 4), 1)(gate))
        gate = self.layer("Conv2D", width, 1, activation="sigmoid")(gate)
        return self.layer("Multiply")([x, gate])

    def model(self, image: Any, x: Any, name: str) -> Any:
        x = self.layer("GlobalAveragePooling2D")(x)
        probabilities = self.layer("Dense", CLASSES, activation="softmax")(x)
        return self.keras.Model(image, probabilities, name=name)


def resnet(keras: ModuleType, width: int = 16) -> Any:
    """Residual blocks with and without projection, ReLU."""
    blocks = _Blocks(keras)
    image = keras.Input(SHAPE, name="image")
    x = blocks.relu(blocks.convolution(image, width, 3, strides=2))
    for filters, strides in ((width, 1), (2 * width, 2), (2 * width, 1), (4 * width, 2)):
        x = blocks.residual(x, filters, strides)
    return blocks.model(image, x, "resnet")


def inverted_bottleneck(keras: ModuleType) -> Any:
    """Depthwise convolutions between pointwise ones, ReLU6, linear ends: MobileNetV2's blocks."""
    blocks = _Blocks(keras)
    image = keras.Input(SHAPE, name="image")
    x = blocks.relu6(blocks.convolution(image, 16, 3, strides=2))
    for filters, strides in ((16, 1), (24, 2), (24, 1), (40, 2), (40, 1)):
        x = blocks.inverted_bottleneck(x, filters, strides, blocks.relu6)
    x = blocks.relu6(blocks.convolution(x, 96, 1))
    return blocks.model(image, x, "inverted_bottleneck")


def squeeze_excite(keras: ModuleType) -> Any:
    """Inverted bottlenecks with squeeze-excite and swish: EfficientNet's blocks."""
    blocks = _Blocks(keras)
    image = keras.Input(SHAPE, name="image")
    x = blocks.swish(blocks.convolution(image, 16, 3, strides=2))
    for filters, strides in ((16, 1), (24, 2), (24, 1), (40, 2)):
        x = blocks.inverted_bottleneck(x, filters, strides, blocks.swish, squeeze=True)
    x = blocks.swish(blocks.convolution(x, 96, 1))
    return blocks.model(image, x, "squeeze_excite")


NETS = {net.__name__: net for net in (resnet, inverted_bottleneck, squeeze_excite)}
