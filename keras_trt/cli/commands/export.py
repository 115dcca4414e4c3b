"""`keras-trt export`: a Keras model as a bundle."""

from __future__ import annotations

import argparse
from typing import Any

from keras_trt.cli.arrays import HELP, read_data
from keras_trt.cli.metrics import HELP as METRICS
from keras_trt.cli.metrics import metric_named
from keras_trt.cli.models import add_model, model_of
from keras_trt.cli.result import Result, UsageError
from keras_trt.cli.values import names, shape, shapes, wholes

SUMMARY = "write a Keras model as a bundle: a checked ONNX file and, with a builder, a TensorRT plan"
EXAMPLE = "keras-trt export digits.keras -o digits.bundle --int8 --calibrate rows.npz"

_PRECISIONS = ("fp16", "bf16", "int8", "int8+fp16", "int8+bf16")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what `export` takes."""
    add_model(parser)
    add = parser.add_argument
    add("-o", "--output", required=True, metavar="BUNDLE", help="the folder to write")
    add("--overwrite", action="store_true", help="replace a bundle that is there")
    add("--precision", choices=_PRECISIONS, help="default: what the model carries")
    add("--int8", action="store_true", help="quantise to int8: --precision int8")
    add("--fp16", action="store_true", help="float16 around it: --precision fp16, or int8+fp16")
    add(
        "--placement",
        choices=("tensorrt", "all"),
        help="of --int8 and --max-drop; as in `plan`",
    )
    add("--calibrate", metavar="FILE", help=f"rows to find ranges with: {HELP}")
    add("--recipe", metavar="FILE", help="quantise as a recipe says, the JSON file of a `Recipe`")
    add(
        "--max-drop",
        type=float,
        metavar="D",
        help="layers that cost more stay float; --evaluate says of what",
    )
    add("--evaluate", metavar="FILE", help="rows and targets to keep --max-drop on: as for --calibrate")
    add("--metric", metavar="NAME", help=METRICS)
    add("--write-recipe", metavar="FILE", help="what was decided for each layer, for --recipe of another run")
    add("--batch", type=wholes, default=(1, 8, 32), metavar="N[,N,N]", help="a size, or min,opt,max")
    add("--input-shape", type=shape, action="append", metavar="[NAME=]N,N,...", help="for open sizes")
    add(
        "--engine", choices=("auto", "tensorrt", "tensorrt_rtx", "none"), default="auto", help="builds a plan"
    )
    add("--for", dest="classes", type=names, metavar="SM..", help="GPU classes of an RTX plan: SM86,SM89")
    add("--opset", type=int, help="ONNX opset, 17 to 24")
    add("--external-data", action="store_true", default=None, help="weights beside the graph")
    add("--no-strict", action="store_true", help="warn where TensorRT would compute in another type")
    add("--no-verify", action="store_true", help="do not compare with Keras")
    add("--no-probe", action="store_true", help="keep none of the rows in the bundle")


def run(options: argparse.Namespace) -> Result:
    """Exports."""
    from keras_trt.bundle.write import check_target
    from keras_trt.reports.files import check_file

    precision = _precision(options)
    if len(options.batch) not in (1, 3):
        raise UsageError(f"--batch takes one size or min,opt,max. Received: {options.batch}.")
    input_shapes = shapes(options.input_shape)
    check_target(options.output, options.overwrite)
    if options.write_recipe is not None:
        check_file(options.write_recipe)
    data = None if options.calibrate is None else read_data(options.calibrate)
    decided = _decided(options)
    model = model_of(options)
    import keras_trt

    if decided:
        model = keras_trt.quantize_model(model, calibration_data=data, verbose=options.verbose, **decided)
        precision = None if precision in (None, "int8") else precision.rpartition("+")[2]
        if options.write_recipe is not None:
            keras_trt.Recipe.of(model).to_json(options.write_recipe)
    report = keras_trt.export(
        model,
        options.output,
        precision=precision,
        batch=options.batch if len(options.batch) == 3 else options.batch[0],
        input_shapes=input_shapes,
        engine=None if options.engine == "none" else options.engine,
        compute_capabilities=options.classes,
        calibration_data=data,
        overwrite=options.overwrite,
        opset=options.opset,
        external_data=options.external_data,
        strict=not options.no_strict,
        verify=not options.no_verify,
        probe=not options.no_probe,
        verbose=options.verbose,
    )
    return Result(report)


def _decided(options: argparse.Namespace) -> dict[str, Any]:
    """What `quantize_model` is told by a recipe, a budget or a placement."""
    if options.recipe is not None and options.max_drop is not None:
        raise UsageError("--recipe says which layers stay float, and so does --max-drop: give one of them.")
    if (options.max_drop is None) != (options.evaluate is None):
        raise UsageError("--max-drop is kept on --evaluate: give both.")
    if options.metric is not None and options.max_drop is None:
        raise UsageError("--metric is what --max-drop is of: give both.")
    if options.write_recipe is not None and options.max_drop is None:
        raise UsageError("--write-recipe writes what --max-drop has decided: give both.")
    if options.placement is not None and options.recipe is not None:
        raise UsageError(
            "--recipe says which layers are quantised, and so does --placement: give one of them."
        )
    if options.recipe is not None:
        return {"recipe": options.recipe}
    placement = {} if options.placement is None else {"placement": options.placement}
    if options.max_drop is None:
        if placement and not ("int8" in (_precision(options) or "") and options.calibrate is not None):
            raise UsageError(
                "--placement is of what is quantised here: give --int8 and --calibrate, or --max-drop."
            )
        return placement
    rows = read_data(options.evaluate, targets=True)
    return {"data": rows, "max_drop": options.max_drop, "metric": metric_named(options.metric), **placement}


def _precision(options: argparse.Namespace) -> str | None:
    short = "+".join(name for name in ("int8", "fp16") if getattr(options, name))
    if short and options.precision not in (None, short):
        raise UsageError(f"--precision {options.precision} and --{short.replace('+', ' --')} contradict.")
    return short or options.precision
