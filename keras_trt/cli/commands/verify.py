"""`keras-trt verify`: a bundle beside its Keras model."""

from __future__ import annotations

import argparse
import sys

from keras_trt.cli.arrays import HELP, read_data
from keras_trt.cli.metrics import HELP as METRICS
from keras_trt.cli.metrics import metric_named
from keras_trt.cli.models import add_model, model_of
from keras_trt.cli.result import Result
from keras_trt.cli.values import share, whole

SUMMARY = "compare a bundle with its Keras model on data, on every runner here; exit code 1 if they differ"
EXAMPLE = "keras-trt verify digits.keras digits.bundle --data test.npz --metric accuracy --allow 0.05"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what `verify` takes."""
    add_model(parser)
    parser.add_argument("bundle", metavar="BUNDLE", help="the folder that `export` wrote")
    parser.add_argument("--data", required=True, metavar="FILE", help=HELP)
    parser.add_argument("--metric", metavar="NAME", help=METRICS)
    parser.add_argument(
        "--allow",
        type=share,
        default=0.0,
        metavar="R",
        help="relative difference that is no failure, e.g. 0.05",
    )
    parser.add_argument("--batch-size", type=whole, default=32, metavar="N", help="rows at a time")


def run(options: argparse.Namespace) -> Result:
    """Verifies."""
    metric = metric_named(options.metric)
    data = read_data(options.data, targets=metric is not None)
    model = model_of(options)
    import keras_trt

    report = keras_trt.verify(
        model,
        options.bundle,
        data,
        metric=metric,
        batch_size=options.batch_size,
        verbose=int(options.verbose and sys.stdout.isatty()),  # Keras's bar is for a terminal
    )
    off = [d for d in report.differences if d.diverges and not d.relative <= options.allow]
    return Result(report, failed=bool(off))
