"""Private names of other packages that results depend on: read them, or say what to install.

A default in the place of a name that a new release dropped would change what is computed without a word.
`tests/project/private_names.py` lists every private name that is used, with what it is for.
"""

from __future__ import annotations

from importlib import metadata
from typing import Any

from keras_trt.errors import MissingDependencyError

_DISTRIBUTIONS = {"tf_keras": "tf-keras", "tensorflow_model_optimization": "tensorflow-model-optimization"}
_ABSENT = object()


def private(obj: object, name: str, package: str) -> Any:
    """An attribute that every release so far has had.

    Args:
        obj: An object of the package, or a class or module of it.
        name: The attribute.
        package: What is imported, e.g. `"keras"`.

    Raises:
        MissingDependencyError: The installed release has no such attribute.

    Example:
        >>> private(layer, "_dtype_policy", "keras")  # doctest: +SKIP
        <DTypePolicy "float32">
    """
    value = getattr(obj, name, _ABSENT)
    if value is not _ABSENT:
        return value
    owner = getattr(obj, "__name__", None) or type(obj).__name__
    distribution = _DISTRIBUTIONS.get(package, package)
    try:
        version = metadata.version(distribution)
    except metadata.PackageNotFoundError:
        version = ""
    older = f"{distribution}<{version}" if version else distribution
    raise MissingDependencyError(
        f"`{package}` {version or 'of an unknown version'} is not supported by this release of keras_trt: "
        f"`{owner}` has no `{name}`, which results depend on. Install a release of keras_trt that knows it "
        f"(pip install -U keras-trt), or an older one of the package (pip install '{older}')."
    )
