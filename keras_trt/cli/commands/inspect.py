"""`keras-trt inspect`: what a bundle holds."""

from __future__ import annotations

import argparse

from keras_trt.cli.result import Result

SUMMARY = (
    "show what a bundle holds: inputs, outputs, files, plans and, with a runner, the types it computes in"
)
EXAMPLE = "keras-trt inspect digits.bundle --runner auto"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what `inspect` takes."""
    parser.add_argument("bundle", metavar="BUNDLE", help="the folder that `export` wrote")
    parser.add_argument("--runner", metavar="NAME", help="also load it, with `auto` or a runner by name")


def run(options: argparse.Namespace) -> Result:
    """Inspects."""
    import keras_trt

    report = keras_trt.inspect(options.bundle, runner=options.runner)
    return Result(report, failed=not report.intact)
