"""`keras-trt report`: a bundle as one page of HTML."""

from __future__ import annotations

import argparse

from keras_trt.cli.result import Result

SUMMARY = "write a page about a bundle: layers and why, ranges, weights, sparsity, checks, speed, provenance"
EXAMPLE = "keras-trt report digits.bundle -o report.html --benchmark benchmark.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what `report` takes."""
    parser.add_argument("bundle", metavar="BUNDLE", help="the folder that `export` wrote")
    add = parser.add_argument
    add("-o", "--output", required=True, metavar="FILE", help="the page to write, e.g. report.html")
    add("--benchmark", metavar="FILE", help="figures that `benchmark --save FILE` has written")
    add("--verification", metavar="FILE", help="the result of `verify --json`")
    add("--sensitivity", metavar="FILE", help="the `to_json` of a sensitivity report")


def run(options: argparse.Namespace) -> Result:
    """Writes the page."""
    import keras_trt

    report = keras_trt.inspect(options.bundle)
    report.to_html(
        options.output,
        benchmark=options.benchmark,
        verification=options.verification,
        sensitivity=options.sensitivity,
    )
    told = not options.json
    return Result(report, told=told)
