"""What the two Kerases are called."""

from __future__ import annotations

KERASES = ("keras", "tf_keras")
"""The packages, as they are imported."""


def is_of_keras(module: str) -> bool:
    """Whether a module is one of either Keras itself, not of a package or a user.

    Example:
        >>> is_of_keras("tf_keras.src.layers"), is_of_keras("keras_hub.models")
        (True, False)
    """
    return module.split(".", maxsplit=1)[0] in KERASES
