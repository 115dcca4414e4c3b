"""`keras-trt doctor`: what is installed here, and what would run bundles."""

from __future__ import annotations

import argparse

from keras_trt.cli.result import Result

SUMMARY = "say what is installed and what is missing, which GPU is here, and which runner would be chosen"
EXAMPLE = "keras-trt doctor"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what `doctor` takes."""
    parser.add_argument("bundle", metavar="BUNDLE", nargs="?", help="try the runners on this bundle")


def run(options: argparse.Namespace) -> Result:
    """Looks around; exit code 1 where nothing can run a bundle."""
    import keras_trt

    report = keras_trt.doctor(options.bundle)
    return Result(report, failed=report.chosen is None)
