"""`keras-trt serve`: bundles behind NVIDIA's Triton server."""

from __future__ import annotations

import argparse

from keras_trt.cli.result import Result
from keras_trt.cli.values import bundles, whole

SUMMARY = "answer HTTP and gRPC requests with bundles, by NVIDIA's Triton server, until SIGTERM or Ctrl-C"
EXAMPLE = "keras-trt serve digits.bundle faces.bundle --http-port 8000 --max-delay-us 2000"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what `serve` takes."""
    parser.add_argument("bundles", nargs="+", metavar="[NAME=]BUNDLE", help="folders that `export` wrote")
    add = parser.add_argument
    add("--http-port", type=whole, default=8000, metavar="N", help="of the HTTP protocol")
    add("--grpc-port", type=whole, default=8001, metavar="N", help="of the gRPC protocol")
    add("--metrics-port", type=whole, default=8002, metavar="N", help="of /metrics, for Prometheus")
    add("--host", default="127.0.0.1", help="the address to listen at; 0.0.0.0 is every one of this machine")
    add("--max-delay-us", type=whole, default=1000, metavar="N", help="longest wait for others in the batch")
    add("--instances", type=whole, default=1, metavar="N", help="engines of each model")
    add("--runner", default="auto", help="what computes, as for `load`")
    add("--device", type=int, default=0, metavar="N", help="the number of the GPU")


def run(options: argparse.Namespace) -> Result:
    """Serves, until it is told to end."""
    import keras_trt

    keras_trt.serve(
        bundles(options.bundles),
        http_port=options.http_port,
        grpc_port=options.grpc_port,
        metrics_port=options.metrics_port,
        host=options.host,
        max_delay_us=options.max_delay_us,
        instances=options.instances,
        runner=options.runner,
        device=options.device,
        verbose=options.verbose,
    )
    return Result()
