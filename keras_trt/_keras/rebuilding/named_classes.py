"""The classes and functions that a model's file may name: found without importing what it names.

A `.keras` file is data from anywhere. What is looked up here is Keras's own, registered, in `custom_objects`,
or a class that the process has defined already; no module is imported because a file says so.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from functools import reduce
from typing import Any

from keras_trt._keras.flavor import Flavor
from keras_trt._machine import deps
from keras_trt.errors import InputError, ModelError

_FUNCTIONS = ("activations", "constraints", "initializers", "losses", "metrics", "ops", "regularizers")
_KINDS = (  # what a file may name by module and class: things that compute, nothing else of a module
    "layers.Layer",
    "losses.Loss",
    "metrics.Metric",
    "optimizers.Optimizer",
    "optimizers.legacy.Optimizer",
    "optimizers.schedules.LearningRateSchedule",
    "initializers.Initializer",
    "regularizers.Regularizer",
    "constraints.Constraint",
)


def find_layer_class(
    flavor: Flavor, module: str, name: str, registered: str, custom: Mapping[str, object]
) -> type:
    """The layer class that a file describes.

    A class that is neither registered nor in `custom` is taken from its module only where that is imported
    already, and only when it is a layer: the file then chooses among layers the process has, no more.

    Args:
        flavor: The Keras of the file.
        module: Where the class was defined.
        name: Its qualified name.
        registered: The name it is registered under.
        custom: `custom_objects`.

    Raises:
        ModelError: There is no such layer class here.
    """
    cls = _given(flavor, (registered, name.rsplit(".", maxsplit=1)[-1]), custom)
    if cls is None:
        _bring(flavor, module)
        cls = _given(flavor, (registered,), custom) or _defined(module, name)
    if not (isinstance(cls, type) and issubclass(cls, flavor.keras.layers.Layer)):
        raise _unknown("layer class", f"{module}.{name}", name.rsplit(".", maxsplit=1)[-1])
    return cls


def check_names(flavor: Flavor, config: object, custom: Mapping[str, object], *, safe_mode: bool) -> None:
    """Makes sure that Keras will find everything a config names, so that it looks nowhere else.

    Args:
        flavor: The Keras that will load the config.
        config: JSON data.
        custom: `custom_objects`.
        safe_mode: False lets functions through that an imported module has, beside its classes.

    Raises:
        ModelError: Something is neither Keras's own, registered, in `custom` nor a class already defined.
    """
    for entry in entries(config):
        if "class_name" not in entry or entry.get("module") is None:
            continue
        module, kind = entry["module"], entry["class_name"]
        name = {"function": entry.get("config"), "__typespec__": entry.get("spec_name")}.get(kind, kind)
        if not (isinstance(module, str) and isinstance(name, str)):
            raise InputError(f"A class is named by two texts. Received: module={module!r}, name={name!r}")
        registered = name if kind == "function" else entry.get("registered_name", name)
        if _given(flavor, (registered,), custom) is not None:
            continue
        known = _known(flavor, module, name, function=kind == "function", safe_mode=safe_mode)
        if not known or (kind == "function" and module == "builtins" and not _is_read(flavor, entry)):
            what = "function" if kind == "function" else "class"
            raise _unknown(what, f"{module}.{name}", registered if isinstance(registered, str) else name)


def entries(config: object) -> Iterator[dict[str, Any]]:
    """Every JSON object inside JSON data, itself included; nesting of any depth."""
    left = [config]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            yield value
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)


def _known(flavor: Flavor, module: str, name: str, *, function: bool, safe_mode: bool) -> bool:
    root = module.split(".", maxsplit=1)[0]
    own = root in flavor.packages
    if function and (own or module == "builtins"):
        return any(hasattr(getattr(flavor.keras, namespace, None), name) for namespace in _FUNCTIONS)
    if own:
        _bring(flavor, module)
        # The classes that tf_keras makes for layers of a SavedModel bear the name of its own module.
        return function or module not in sys.modules or _defined(module, name) is not None
    if root.startswith("keras"):  # tf_keras looks for `tf_keras...` in its place
        return False
    defined = _defined(module, name)
    if function or not isinstance(defined, type):
        return defined is not None and not safe_mode
    return issubclass(defined, (*_kinds(flavor), *flavor.spec_classes()))


def _is_read(flavor: Flavor, entry: dict[str, Any]) -> bool:
    """Whether Keras reads the name of one of its functions: it has some that no file can name (`ops.sin`)."""
    try:
        flavor.keras.saving.deserialize_keras_object(entry)
    except (TypeError, ValueError):
        return False
    return True


def _given(flavor: Flavor, names: tuple[Any, ...], custom: Mapping[str, object]) -> Any:
    """What is in `custom` under one of the names, else what is registered under one."""
    texts = [name for name in names if isinstance(name, str)]
    for look_up in (custom.get, flavor.keras.saving.get_registered_object):
        given = next(filter(None, map(look_up, texts)), None)
        if given is not None:
            return given
    return None


def _bring(flavor: Flavor, module: str) -> None:
    """Imports the package of Keras's own family that a module belongs to, as Keras itself would."""
    root = module.split(".", maxsplit=1)[0]
    if root in flavor.packages and not {root, "tf_" + root} & set(sys.modules) and deps.available(root):
        importlib.import_module(root)


def _defined(module: str, name: str) -> Any:
    """What an imported module has under a qualified name; looked up without running its `__getattr__`."""
    try:
        return reduce(lambda owner, attribute: vars(owner)[attribute], name.split("."), sys.modules[module])
    except (KeyError, TypeError):
        return None


def _kinds(flavor: Flavor) -> Iterator[type]:
    for kind in _KINDS:
        owner: Any = flavor.keras
        for attribute in kind.split("."):
            owner = getattr(owner, attribute, None)
        if isinstance(owner, type):
            yield owner


def _unknown(what: str, full_name: str, key: str) -> ModelError:
    name = key.rsplit(">", maxsplit=1)[-1]
    return ModelError(
        f"The file names the {what} `{full_name}`, which is not known here, and nothing is imported because "
        f"a file says so. Pass custom_objects={{{key!r}: {name}}}, decorate it with "
        "`@keras.saving.register_keras_serializable()`, or import the module that defines it first."
    )
