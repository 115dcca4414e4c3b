"""`keras-trt benchmark`: how fast bundles are here."""

from __future__ import annotations

import argparse

from keras_trt.cli.arrays import HELP, read_data
from keras_trt.cli.metrics import HELP as METRICS
from keras_trt.cli.metrics import metric_named
from keras_trt.cli.models import add_model, model_of
from keras_trt.cli.result import Result, UsageError
from keras_trt.cli.values import bundles_by_name, names, wholes

SUMMARY = "measure bundles here, beside each other, beside Keras and on several runners"
EXAMPLE = "keras-trt benchmark float32.bundle int8.bundle --model digits.keras --batch 1,32"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what `benchmark` takes."""
    parser.add_argument("bundles", metavar="[NAME=]BUNDLE", nargs="+", help="folders that `export` wrote")
    add_model(parser, optional=True)
    add = parser.add_argument
    add("--data", metavar="FILE", help=f"default: the rows in the bundle. {HELP}")
    add("--metric", metavar="NAME", help=METRICS)
    add("--batch", type=wholes, default=(1, 8, 32), metavar="N,...", help="rows of one call")
    add("--threads", type=wholes, default=(1,), metavar="N,...", help="how many call at once")
    add("--against", type=names, default=(), metavar="RUNNERS", help="runners to compare, behind commas")
    add("--runner", default="auto", metavar="NAME", help="what runs the bundles")
    add("--device", type=int, default=0, metavar="N", help="the number of the GPU")
    add("--seconds", type=float, default=1.0, metavar="S", help="for each figure, about")
    add("--save", metavar="FILE", help="write the figures as JSON, e.g. for `report`")
    add("--plot", metavar="FILE", help="draw them: .png, .svg, .pdf")


def run(options: argparse.Namespace) -> Result:
    """Measures."""
    from keras_trt.reports.files import check_file
    from keras_trt.reports.plot import check_picture

    metric = metric_named(options.metric)
    if metric is not None and options.data is None:
        raise UsageError("--metric is measured on --data: give both.")
    if "keras" in options.against and options.model is None:
        raise UsageError("--against keras is measured on the Keras model: give --model, too.")
    bundles = bundles_by_name(options.bundles)
    if options.save:
        check_file(options.save)
    if options.plot:
        check_picture(options.plot, "--plot")
    data = None if options.data is None else read_data(options.data, targets=metric is not None)
    model = model_of(options)
    import keras_trt

    report = keras_trt.benchmark(
        bundles,
        data,
        batch_sizes=options.batch,
        threads=options.threads,
        against=(*(["keras"] if model is not None else []), *options.against),
        model=model,
        metric=metric,
        runner=options.runner,
        device=options.device,
        seconds=options.seconds,
        verbose=options.verbose,
    )
    if options.save:
        report.to_json(options.save)
    if options.plot:
        report.plot(options.plot)
    return Result(report, told=True)
