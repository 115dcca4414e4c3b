"""Chooses what runs a bundle here: a plan that fits, a plan built anew, or the ONNX file on the CPU."""

from __future__ import annotations

from keras_trt._base.arguments import check_one_of
from keras_trt._machine import deps
from keras_trt.bundle import PLAN_KINDS
from keras_trt.bundle.probe import Probe
from keras_trt.bundle.read import Bundle
from keras_trt.engine import _trt, gpus
from keras_trt.errors import EngineError, InputError, KerasTRTError, MissingDependencyError, RunnerError
from keras_trt.plans import PlanCache
from keras_trt.runtime.choosing.on_gpu import GpuRunners
from keras_trt.runtime.choosing.trial import TF32_ERROR, fault, least_on_gpu, probe_of
from keras_trt.runtime.runners.cpu import CPU_RUNNERS, INSTALL, ONNX_RUNNERS, installed, settings
from keras_trt.runtime.runners.runner import Runner, explained
from keras_trt.runtime.runners.tensorrt.runner import TensorRTOptions

GPU_RUNNERS = (*PLAN_KINDS, "tensorrt_lean")


def select_runner(
    bundle: Bundle,
    runner: str = "auto",
    *,
    check: bool = True,
    verbose: int = 1,
    options: TensorRTOptions = TensorRTOptions(),  # noqa: B008 - frozen
    cache: PlanCache | None = None,
) -> Runner:
    """Makes the runner for a bundle; `runner.reason` says why it was chosen.

    Args:
        bundle: What to run.
        runner: `"auto"`: a plan on the GPU when one fits or can be built, else OpenVINO, else ONNX Runtime.
            Or one of `"tensorrt"`, `"tensorrt_rtx"`, `"tensorrt_lean"`, `"openvino"`, `"onnxruntime"`,
            `"onnxruntime-cuda"`, `"onnxruntime-tensorrt"`.
        check: Try a runner on the bundle's probe, and take the first way of running it that is right.
        verbose: 1 shows the progress of a rebuild.
        options: How an engine is run on the GPU, and on which.
        cache: Where plans that are built here are kept; None keeps none.

    Raises:
        InputError: An unknown runner or GPU.
        MissingDependencyError: The runner asked for is not installed, or none is.
        EngineError: The runner asked for cannot run the bundle here; says why for each plan.
        RunnerError: No runner can run the bundle, or none computes it right.
    """
    check_runner(runner)
    if runner in ONNX_RUNNERS:
        if not installed(runner):
            ONNX_RUNNERS[runner](bundle)  # says how to install it
        return _on_onnx(bundle, (runner,), ["asked for"], check)
    if runner != "auto":
        _trt.load(runner, why=f"runner={runner!r}")
    modules = GPU_RUNNERS if runner == "auto" else (runner,)
    notes = ["no NVIDIA GPU or driver here"]
    if gpus():
        _check_device(options.device)
        runners = GpuRunners(bundle, modules, options, cache, verbose)
        made = _first_right(runners, probe_of(bundle) if check else None)
        if made is not None:
            return made
        notes = runners.notes
    if runner != "auto":
        raise EngineError(f"runner={runner!r} cannot run `{bundle.path}`: {'; '.join(notes)}")
    return _on_onnx(bundle, tuple(CPU_RUNNERS), notes, check)


def check_runner(runner: object) -> str:
    """A runner that `load` knows by name, or `"auto"`.

    Raises:
        InputError: An unknown one.
    """
    return check_one_of(runner, ("auto", *GPU_RUNNERS, *ONNX_RUNNERS), "runner")


def _first_right(runners: GpuRunners, probe: Probe | None) -> Runner | None:
    """The first runner on the GPU that is right on the probe."""
    for made in runners:
        problem = None if probe is None else fault(made, probe, least=least_on_gpu(made))
        if problem is None:
            return made
        made.close()
        runners.reject(made, problem)
    return None


def _check_device(device: int) -> None:
    if device >= len(gpus()):
        known = ", ".join(f"{gpu.index}: {gpu.name}" for gpu in gpus())
        raise InputError(
            f"`device` must be the number of a GPU of this machine ({known}). Received: {device}"
        )


def _on_onnx(bundle: Bundle, names: tuple[str, ...], notes: list[str], check: bool) -> Runner:
    """The fastest runner of the ONNX file that is right on the bundle's probe."""
    probe = probe_of(bundle) if check else None
    refusals: list[str] = []
    unable: KerasTRTError | None = None
    for setting in settings(bundle.manifest, names):
        try:
            made = setting.make(bundle)
        except (RunnerError, MissingDependencyError) as e:  # a graph it cannot read, or a broken package
            unable = e
            refusals.append(f"{setting} cannot run it")
            continue
        least = 0.0 if setting.name in CPU_RUNNERS else TF32_ERROR
        problem = fault(made, probe, least=least) if probe is not None else None
        if problem is None:
            return explained(made, "; ".join([*notes, *refusals]))
        made.close()
        refusals.append(f"{setting} computes it wrongly ({problem})")
    if not refusals:
        raise MissingDependencyError(
            f"Nothing can run `{bundle.path}` here: {'; '.join(notes)}; no CPU runner is installed. "
            f"Install one with: {INSTALL}"
        )
    if all(refusal.endswith("cannot run it") for refusal in refusals) and unable is not None:
        raise unable
    raise RunnerError(
        f"Nothing here computes `{bundle.path}` right: {'; '.join(refusals)}. " + _way_out(names)
    )


def _way_out(names: tuple[str, ...]) -> str:
    missing = [name for name in CPU_RUNNERS if not deps.available(name)]
    if missing:
        return f"Another runner may: pip install {' '.join(missing)}"
    others = [name for name in CPU_RUNNERS if name not in names]
    if others:
        return f"Load it with runner={others[0]!r}."
    return "Pass check=False to run it all the same."
