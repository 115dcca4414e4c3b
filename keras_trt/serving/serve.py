"""`serve`: bundles behind NVIDIA's Triton server, on this machine, in one call."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from keras_trt._base.arguments import check_count, check_text, check_verbose, wrong_argument
from keras_trt._base.say import say
from keras_trt._machine.deps import require
from keras_trt.errors import InputError, RunnerError
from keras_trt.runtime import load
from keras_trt.runtime.engine_model import EngineModel
from keras_trt.serving.children import (
    first_on_the_library_path,
    out_of_the_terminals_group,
    python_library,
)
from keras_trt.serving.contract import Port, contract, named_bundles
from keras_trt.serving.served import Served

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | Mapping[str, str | os.PathLike[str]]

_TRIES = 5


def serve(
    bundles: Paths,
    *,
    http_port: int = 8000,
    grpc_port: int = 8001,
    metrics_port: int = 8002,
    host: str = "127.0.0.1",
    max_delay_us: int = 1000,
    instances: int = 1,
    runner: str = "auto",
    device: int = 0,
    verbose: int = 1,
) -> None:
    """Serves bundles by Triton's HTTP and gRPC protocols until SIGTERM or Ctrl-C.

    Needs `pip install 'keras-trt[triton]'`, which brings NVIDIA's server; no container. Requests that come
    together are computed in one batch, up to the largest batch of the bundle. Each engine is warmed up with
    the rows that its bundle carries before the server says that it is ready. A wrong request is answered with
    an error, and on SIGTERM those under way are answered before the server ends.

    Triton's shared memory, repository, statistics, trace and logging calls need a token that nobody has;
    there is no other protection, so open `host` to a trusted network only.

    Args:
        bundles: A path, a list of paths, or a dict of paths by the name to serve under; else that is the
            model's name.
        http_port: Of the HTTP protocol; `/v2/models/<name>/ready` tells that a model is ready. What Triton
            says at `/v2/health/ready` is true of the server before its models are there.
        grpc_port: Of the gRPC protocol.
        metrics_port: Where Prometheus finds `/metrics`.
        host: The address to listen at; `"0.0.0.0"` is every one of this machine.
        max_delay_us: How long, in microseconds, a request may wait for others to share its batch.
        instances: How many engines a model gets; several overlap on one machine where a batch does not
            keep it busy.
        runner: What computes, see `load`.
        device: The number of the GPU.
        verbose: 1 prints what is served and where.

    Raises:
        InputError: A wrong argument, or two bundles of one name.
        BundleError: No bundle at a path.
        MissingDependencyError: nvidia-pytriton is not installed, or this Python has no shared library.
        RunnerError: A bundle cannot be run here, a port is taken, or the server died.
        KeyboardInterrupt: Ctrl-C before anything was served.

    Example:
        >>> keras_trt.serve(["digits.bundle", "faces.bundle"], max_delay_us=2000)  # doctest: +SKIP
    """
    ports = {"http_port": http_port, "grpc_port": grpc_port, "metrics_port": metrics_port}
    _check(ports, host, max_delay_us, instances, verbose)
    named = named_bundles(bundles)
    library = python_library()
    pytriton = require("pytriton.triton", install="keras-trt[triton]", why="`keras_trt.serve`")
    addresses = dict.fromkeys(("http_address", "grpc_address", "metrics_address"), host)
    config = pytriton.TritonConfig(**ports, **addresses, allow_metrics=True, exit_timeout_secs=30)
    with suppress(_Ended), _asked_to_stop() as asked, _engines() as opened:
        models = {}
        for name, bundle in named.items():
            engines = (load(bundle.path, runner, device=device, verbose=0) for _ in range(instances))
            models[name] = _served([opened(engine) for engine in engines])
            asked.end_if_so()
        with _started(lambda: pytriton.Triton(config=config), models, max_delay_us, library, asked) as server:
            for name in named:
                say(f"Serving {name} at http://{host}:{http_port}/v2/models/{name}", verbose)
            while not asked.event.wait(1.0):
                if not server.is_alive():
                    raise RunnerError("Triton's server has ended by itself; what it printed above says why.")
            say("Answering what is under way, then ending", verbose)


def _check(ports: Mapping[str, int], host: str, max_delay_us: int, instances: int, verbose: object) -> None:
    check_text(host, "host")
    check_verbose(verbose)
    check_count(instances, "instances")
    if not isinstance(max_delay_us, int) or isinstance(max_delay_us, bool) or max_delay_us < 0:
        raise wrong_argument("max_delay_us", "a whole number of microseconds >= 0", max_delay_us)
    for name, port in ports.items():
        if not isinstance(port, int) or isinstance(port, bool) or not 1 <= port < 2**16:
            raise wrong_argument(name, "a port, 1 to 65535", port)
    if len(set(ports.values())) < len(ports):
        raise InputError(
            f"`grpc_port` must be a port of its own, as each protocol's. Received: {dict(ports)}"
        )
    for name, port in ports.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as e:
                raise InputError(
                    f"Nothing can listen at {host}:{port}: {e.strerror}. Pass another `{name}` or `host`. "
                    f"Received: host={host!r}, {name}={port}"
                ) from e


@contextmanager
def _started(
    make: Callable[[], Any],
    models: Mapping[str, Sequence[Served]],
    max_delay_us: int,
    library: Path,
    asked: _Asked,
) -> Iterator[Any]:
    """A server with all models, until the end of the `with`.

    On a busy machine one instance may miss the second that PyTriton gives it, so there are several tries.

    Raises:
        RunnerError: It does not start.
    """
    errors = require("tritonclient.utils", install="keras-trt[triton]")
    for tries_left in reversed(range(_TRIES)):
        server = make()
        try:
            try:
                for name, instances in models.items():
                    _bind(server, name, instances, max_delay_us)
                with first_on_the_library_path(library), out_of_the_terminals_group():
                    server.run()
            except Exception as e:
                asked.end_if_so()  # PyTriton's other processes hear what a terminal sends
                if not isinstance(e, errors.InferenceServerException | TimeoutError):
                    raise
                if tries_left:
                    continue
                raise RunnerError(f"Triton's server does not load the models: {e}") from e
            asked.end_if_so()
            yield server
            return
        finally:
            server.stop()


def _served(engines: Sequence[EngineModel]) -> list[Served]:
    """The engines of one model as Triton calls them, warmed up."""
    first = engines[0]
    graph_types = {spec.name: spec.dtype for spec in first.bundle.manifest.outputs}
    # NumPy, and so Triton, has no bfloat16, which `predict` may return.
    outputs = [replace(spec, dtype=graph_types[spec.name]) for spec in first.outputs]
    instances = [Served(engine, contract(first.bundle.manifest, first.inputs, outputs)) for engine in engines]
    for instance in instances:
        instance.warm_up(first.bundle)
    return instances


def _bind(server: Any, name: str, instances: Sequence[Served], max_delay_us: int) -> None:
    """Tells the server of a model."""
    configs = require("pytriton.model_config", install="keras-trt[triton]", why="`keras_trt.serve`")
    agreed = instances[0].agreed

    def tensors(ports: Sequence[Port]) -> list[Any]:
        return [configs.Tensor(name=p.name, dtype=np.dtype(p.dtype).type, shape=p.dims) for p in ports]

    server.bind(
        model_name=name,
        infer_func=instances,
        inputs=tensors(agreed.inputs),
        outputs=tensors(agreed.outputs),
        config=configs.ModelConfig(
            batching=agreed.largest_batch > 0,
            max_batch_size=agreed.largest_batch or 1,
            batcher=configs.DynamicBatcher(max_queue_delay_microseconds=max_delay_us),
        ),
        strict=False,
    )


@contextmanager
def _engines() -> Iterator[Callable[[EngineModel], EngineModel]]:
    """Yields a function that notes an engine, to be closed in the end."""
    with ExitStack() as stack:
        yield stack.enter_context


class _Ended(BaseException):
    """SIGTERM, before anything was served."""


class _Asked:
    """Whether SIGTERM or Ctrl-C has come. Nothing is raised within PyTriton, which would not end by it."""

    def __init__(self) -> None:
        self.event, self._by_ctrl_c = threading.Event(), False

    def hear(self, number: int, _: object) -> None:
        self._by_ctrl_c = self._by_ctrl_c or number == signal.SIGINT
        self.event.set()

    def end_if_so(self) -> None:
        """Ends what has not begun to serve."""
        if self.event.is_set():
            raise KeyboardInterrupt if self._by_ctrl_c else _Ended


@contextmanager
def _asked_to_stop() -> Iterator[_Asked]:
    """Hears SIGTERM and Ctrl-C; in a thread, where Python hears no signals, nothing does."""
    asked, before = _Asked(), {}
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            with suppress(ValueError):
                before[number] = signal.signal(number, asked.hear)
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
