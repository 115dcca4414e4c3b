"""`keras-trt plan`: what quantising would do."""

from __future__ import annotations

import argparse

from keras_trt.cli.models import add_model, model_of
from keras_trt.cli.result import Result
from keras_trt.cli.values import names, shape, shapes

SUMMARY = "say what quantising a model would do, layer by layer, and what TensorRT would refuse"
EXAMPLE = "keras-trt plan digits.keras --skip probabilities"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what `plan` takes."""
    add_model(parser)
    add = parser.add_argument
    add(
        "--scheme",
        choices=("int8", "int8-weights", "int4-weights", "fp8"),
        default="int8",
        help="number format",
    )
    add("--only", type=names, metavar="LAYERS", help="layers to quantise, behind commas")
    add("--skip", type=names, default=(), metavar="LAYERS", help="layers to leave float")
    add(
        "--placement",
        choices=("tensorrt", "all"),
        help="tensorrt: float where NVIDIA's own quantiser says int8 is slower; default: quantize_model's",
    )
    add("--no-import-check", action="store_true", help="do not convert the model to ask TensorRT's rules")
    add("--input-shape", type=shape, action="append", metavar="[NAME=]N,N,...", help="for open sizes")


def run(options: argparse.Namespace) -> Result:
    """Plans."""
    input_shapes = shapes(options.input_shape)
    model = model_of(options)
    import keras_trt

    return Result(
        keras_trt.plan(
            model,
            options.scheme,
            only=options.only,
            skip=options.skip,
            **({} if options.placement is None else {"placement": options.placement}),
            check_import=not options.no_import_check,
            input_shapes=input_shapes,
        )
    )
