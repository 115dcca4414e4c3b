"""`keras-trt triton`: bundles in a model repository of NVIDIA's Triton server."""

from __future__ import annotations

import argparse

from keras_trt.cli.result import Result
from keras_trt.cli.values import bundles, rows, whole

SUMMARY = "write bundles into a model repository for a Triton server of your own, or a new version of them"
EXAMPLE = "keras-trt triton digits.bundle -o models --backend onnx"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what `triton` takes."""
    parser.add_argument("bundles", nargs="+", metavar="[NAME=]BUNDLE", help="folders that `export` wrote")
    add = parser.add_argument
    add("-o", "--output", required=True, metavar="FOLDER", help="the repository")
    add(
        "--backend", choices=("auto", "tensorrt", "onnx", "python"), default="auto", help="what runs a bundle"
    )
    add("--instances", type=whole, default=1, metavar="N", help="of each model")
    add("--max-delay-us", type=whole, default=1000, metavar="N", help="longest wait for others in the batch")
    add("--ensemble", action="append", metavar="NAME=MODEL,MODEL,...", help="models in a row, asked as one")
    add("--no-warm-up", action="store_true", help="do not run the bundles' rows before the server is ready")


def run(options: argparse.Namespace) -> Result:
    """Writes the repository."""
    import keras_trt
    from keras_trt.reports import Report

    written = keras_trt.triton(
        bundles(options.bundles),
        options.output,
        backend=options.backend,
        instances=options.instances,
        max_delay_us=options.max_delay_us,
        warm_up=not options.no_warm_up,
        ensembles=rows(options.ensemble),
        verbose=0,
    )
    told = tuple({"model": name, "version": str(folder)} for name, folder in written.items())
    return Result(Report(f"Repository {options.output}", told))
