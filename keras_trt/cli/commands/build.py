"""`keras-trt build`: plans of a bundle, on the machine that runs them."""

from __future__ import annotations

import argparse

from keras_trt.cli.result import Result, UsageError
from keras_trt.cli.values import names, settings
from keras_trt.errors import InputError

SUMMARY = "build a TensorRT plan of a bundle, for this machine or ahead of time; needs no TensorFlow"
EXAMPLE = "keras-trt build digits.bundle --engine tensorrt_rtx --for SM89 --set optimization_level=5"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what `build` takes."""
    parser.add_argument("bundle", metavar="BUNDLE", help="the folder that `export` wrote")
    add = parser.add_argument
    add("--engine", choices=("auto", "tensorrt", "tensorrt_rtx"), default="auto", help="what builds")
    add("--into", metavar="FOLDER", help="keep the plan in a plan cache instead of the bundle")
    add("--keep", choices=("fastest",), help="of int8 and float16, what is faster on this machine's GPU")
    add("--for", dest="classes", type=names, metavar="SM..", help="GPU classes of an RTX plan: SM86,SM89")
    add("--set", dest="settings", action="append", metavar="NAME=VALUE", help="an option of EngineConfig")


def run(options: argparse.Namespace) -> Result:
    """Builds."""
    import keras_trt

    given = settings(options.settings)
    if options.classes is not None:
        given["compute_capabilities"] = options.classes
    unknown = sorted(set(given) - set(keras_trt.EngineConfig.__dataclass_fields__))
    if unknown:
        known = ", ".join(keras_trt.EngineConfig.__dataclass_fields__)
        raise UsageError(f"--set: EngineConfig has no {unknown[0]!r}. It has: {known}.")
    try:
        config = keras_trt.EngineConfig(**given)
    except InputError as e:
        raise UsageError(f"{'--for' if '`compute_capabilities`' in str(e) else '--set'}: {e}") from e
    report = keras_trt.build(
        options.bundle,
        options.engine,
        config=config,
        into=options.into,
        keep=options.keep,
        verbose=options.verbose,
    )
    return Result(report, told=True)
