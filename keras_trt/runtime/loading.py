"""Makes the engine of a bundle, here or, of one that was loaded, in another process."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from keras_trt._base.arguments import check_boolean, check_verbose, wrong_argument
from keras_trt._base.say import say
from keras_trt.bundle.graph import check_graph
from keras_trt.bundle.read import read_bundle
from keras_trt.engine import gpus
from keras_trt.errors import BundleError
from keras_trt.plans import cache_of
from keras_trt.runtime.choosing.select import check_runner, select_runner
from keras_trt.runtime.engine_model import EngineModel
from keras_trt.runtime.runners.cpu import CPU_RUNNERS
from keras_trt.runtime.runners.tensorrt.runner import TensorRTOptions


def load(
    path: str | Path,
    runner: str = "auto",
    *,
    device: int = 0,
    cache: bool | str | Path | None = None,
    check: bool = True,
    verbose: int = 1,
    cuda_graph: bool = True,
    allow_host_code: bool = False,
) -> EngineModel:
    """Loads a bundle; TensorFlow is not needed.

    Args:
        path: The folder that `export` wrote.
        runner: `"auto"`: a TensorRT plan on the GPU when one fits or can be built, else the ONNX file on the
            CPU with OpenVINO or ONNX Runtime. Or the name of one: `"tensorrt"`, `"tensorrt_rtx"`,
            `"tensorrt_lean"`, `"openvino"`, `"onnxruntime"`; or `"onnxruntime-cuda"` or
            `"onnxruntime-tensorrt"`, ONNX Runtime with one of its providers for GPUs.
        device: The number of the GPU, as CUDA counts them.
        cache: Where a plan that is built here is kept for the next `load`: a folder, None for the one that
            `KERAS_TRT_CACHE` names or else the user's cache folder, or False for nowhere.
        check: Try the runner on the few rows that the bundle carries, and take its fastest setting, else the
            next runner, that computes them right; an engine on the GPU that is wrong is built again with
            TensorRT's simplest kernels. False takes the first one that loads.
        verbose: 1 prints what was chosen and why; 0 is quiet.
        cuda_graph: On the GPU, replay input shapes that come again as CUDA graphs: less latency for small
            batches.
        allow_host_code: Let a version-compatible plan run the code it carries. Only for bundles you trust.

    Returns:
        The bundle on its runner, with `predict` as a Keras model has it.

    Raises:
        BundleError: No whole bundle at `path`.
        InputError: An unknown runner or GPU, or a wrong argument.
        MissingDependencyError: The runner is not installed.
        EngineError: The runner asked for cannot run the bundle here.
        RunnerError: No runner on the CPU can run the bundle, or none computes it right.

    Example:
        >>> engine = keras_trt.load("digits.bundle")
        >>> engine.predict(x_test, verbose=0).shape
        (320, 10)
    """
    check_runner(runner)
    check_verbose(verbose)
    booleans = {"check": check, "cuda_graph": cuda_graph, "allow_host_code": allow_host_code}
    for name, value in booleans.items():
        check_boolean(value, name)
    if not isinstance(device, int) or isinstance(device, bool) or device < 0:
        raise wrong_argument("device", "the number of a GPU, from 0", device)
    plans = cache_of(cache)
    bundle = read_bundle(path)
    check_graph(bundle)
    options = TensorRTOptions(cuda_graph=cuda_graph, allow_host_code=allow_host_code, device=device)
    made = select_runner(bundle, runner, check=check, verbose=verbose, options=options, cache=plans)
    fell_back = runner == "auto" and made.name in CPU_RUNNERS and bool(gpus())
    text = f"{bundle.manifest.name} runs on {made.name}: {' '.join(made.reason.split())}"
    say(text, verbose, logging.WARNING if fell_back else logging.INFO)
    model = EngineModel(bundle, made)
    where = str(cache) if isinstance(cache, Path) else cache
    model.asked = {"runner": runner, "check": check, "cache": where, **asdict(options)}
    model.reopen = reopen
    return model


def reopen(path: str, onnx_sha256: str, asked: Mapping[str, Any]) -> EngineModel:
    """Loads a bundle again as it was loaded once, e.g. in another process.

    Args:
        path: The bundle's folder.
        onnx_sha256: Of its graph, as it was then.
        asked: The arguments of `load`.

    Raises:
        BundleError: No whole bundle is there, or it is another one by now.
    """
    model = load(path, verbose=0, **asked)
    digest = model.bundle.manifest.onnx_sha256
    if digest != onnx_sha256:
        model.close()
        raise BundleError(
            f"The bundle `{path}` is not the one that was loaded before. "
            f"Received: a graph with SHA-256 {digest}, expected: {onnx_sha256}. "
            f"Put the old bundle back, or load the new one: keras_trt.load({path!r})"
        )
    return model
