"""Makes what is ours known to each Keras once it is imported.

Its `load_model` then finds the quantised layers, and our callbacks are callbacks of that Keras.

Importing `keras_trt` does not import Keras. So this waits for it: a finder in front of Python's own lets them
find the module, and has something done once the module has run.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from keras_trt._base.kerases import KERASES
from keras_trt.errors import KerasTRTError


class _Waiting:
    """A finder of modules. Its base class in `importlib.abc` takes longer to load than all of ours."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in KERASES:
            return None
        for finder in list(sys.meta_path):
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None:
                _after(spec.loader, name)
                return spec
        return None


def register_when_imported() -> None:
    """Registers the classes with every Keras that is there, and with others when they are imported."""
    for name in KERASES:
        if name in sys.modules:
            _register(name)
    if not any(isinstance(finder, _Waiting) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Waiting())


def _after(loader: Any, name: str) -> None:
    """Has a loader register the classes once it has run its module."""
    run = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        del loader.exec_module
        run(module)
        _register(name)

    with suppress(AttributeError):  # a loader of somebody else's that takes no attributes
        loader.exec_module = exec_module


def _register(name: str) -> None:
    callbacks = sys.modules.get("keras_trt.callbacks.base")
    if callbacks is not None:
        with suppress(TypeError):  # of a user's class with Keras's before ours
            callbacks.join(sys.modules[name])
    # Never in the way of `import keras`: without TensorFlow, or with a Keras that lacks what the twins are
    # made of, there is nothing that Keras could load.
    with suppress(ImportError, AttributeError, KerasTRTError):
        from keras_trt._keras.flavor_of import keras3, legacy
        from keras_trt._keras.masks.masking import mask_class
        from keras_trt.twins.registry import register

        flavor = keras3() if name == "keras" else legacy()
        mask_class(flavor)
        register(flavor)
