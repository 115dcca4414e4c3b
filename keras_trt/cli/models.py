"""A Keras model from a path that was typed."""

from __future__ import annotations

import argparse
from typing import Any

from keras_trt.cli.values import custom_objects


def add_model(parser: argparse.ArgumentParser, name: str = "model", *, optional: bool = False) -> None:
    """Adds the arguments that `model_of` reads.

    Args:
        parser: The subcommand's.
        name: What the path is called.
        optional: Whether it is an option, `--model`.
    """
    text = "the Keras model: a .keras or .h5 file, or a SavedModel folder of tf_keras"
    if optional:
        parser.add_argument(f"--{name}", dest="model", metavar="MODEL", help=text)
    else:
        parser.add_argument("model", metavar="MODEL", help=text)
    parser.add_argument(
        "--custom-objects",
        metavar="MODULE:NAMES",
        action="append",
        help="your own classes, e.g. my_layers:Scale,Shift; no other module is imported",
    )
    parser.add_argument(
        "--unsafe",
        action="store_true",
        help="let the file run code that it carries (Lambda layers, SavedModels): only for files you trust",
    )


def model_of(options: argparse.Namespace) -> Any:
    """The model; None where none was given."""
    if options.model is None:
        return None
    from keras_trt.models.open_model import open_model

    return open_model(
        options.model, custom_objects=custom_objects(options.custom_objects), safe_mode=not options.unsafe
    )
