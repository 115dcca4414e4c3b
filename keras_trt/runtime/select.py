"""Chooses what runs a bundle here: a plan that fits, a plan built anew, or the ONNX file on the CPU."""

from __future__ import annotations

from keras_trt import _deps
from keras_trt.bundle.manifest import PlanStamp
from keras_trt.bundle.read import Bundle
from keras_trt.engine import _trt, available_builders, build_plan, gpus
from keras_trt.errors import EngineError, InputError, KerasTRTError, MissingDependencyError, RunnerError
from keras_trt.runtime.runners.cpu import CPU_RUNNERS, ONNX_RUNNERS, installed, settings
from keras_trt.runtime.runners.runner import Runner
from keras_trt.runtime.runners.tensorrt import TensorRTOptions, TensorRTRunner
from keras_trt.runtime.trial import fault, probe_of

GPU_RUNNERS = ("tensorrt", "tensorrt_rtx", "tensorrt_lean")


def select_runner(
    bundle: Bundle,
    runner: str = "auto",
    *,
    check: bool = True,
    verbose: int = 1,
    options: TensorRTOptions = TensorRTOptions(),  # noqa: B008 - frozen
) -> Runner:
    """Makes the runner for a bundle; `runner.reason` says why it was chosen.

    Args:
        bundle: What to run.
        runner: `"auto"`: a plan on the GPU when one fits or can be built, else OpenVINO, else ONNX Runtime.
            Or one of `"tensorrt"`, `"tensorrt_rtx"`, `"tensorrt_lean"`, `"openvino"`, `"onnxruntime"`,
            `"onnxruntime-cuda"`, `"onnxruntime-tensorrt"`.
        check: Try a runner on the CPU on the bundle's probe, and take its fastest setting that is right.
        verbose: 1 shows the progress of a rebuild.
        options: How an engine is run on the GPU.

    Raises:
        InputError: An unknown runner.
        MissingDependencyError: The runner asked for is not installed, or none is.
        EngineError: The runner asked for cannot run the bundle here; says why for each plan.
        RunnerError: No runner on the CPU can run the bundle, or none computes it right.
    """
    known = ("auto", *GPU_RUNNERS, *ONNX_RUNNERS)
    if runner not in known:
        raise InputError(f"`runner` must be one of {list(known)}. Received: {runner!r}")
    if runner in ONNX_RUNNERS:
        if not installed(runner):
            ONNX_RUNNERS[runner](bundle)  # says how to install it
        return _on_cpu(bundle, (runner,), ["asked for"], check)
    if runner != "auto":
        _trt.load(runner, why=f"runner={runner!r}")
    modules = GPU_RUNNERS if runner == "auto" else (runner,)
    notes = ["no NVIDIA GPU or driver here"]
    if gpus():
        made, notes = _on_gpu(bundle, modules, options, verbose)
        if made is not None:
            return made
    if runner != "auto":
        raise EngineError(f"runner={runner!r} cannot run `{bundle.path}`: {'; '.join(notes)}")
    return _on_cpu(bundle, tuple(CPU_RUNNERS), notes, check)


def misfit(
    stamp: PlanStamp,
    *,
    version: str,
    os: str,
    compute_capability: str,
    onnx_sha256: str,
    allow_host_code: bool,
) -> str | None:
    """Why a plan cannot run here; None when it fits.

    Args:
        stamp: The plan's.
        version: Of the TensorRT that would run it.
        os: Of this machine.
        compute_capability: Of this machine's GPU, e.g. `"SM89"`.
        onnx_sha256: Of the bundle's ONNX file.
        allow_host_code: Whether plans that carry code may run.
    """
    if stamp.onnx_sha256 != onnx_sha256:
        return "it was built from another ONNX file"
    if stamp.os != os:
        return f"it was built for {stamp.os}, this is {os}"
    if compute_capability not in stamp.compute_capabilities:
        return f"it was built for {'/'.join(stamp.compute_capabilities)}, this GPU is {compute_capability}"
    if stamp.version_compatible and not allow_host_code:
        return "it carries code (version compatible), which runs only with allow_host_code=True"
    if stamp.version != version and not stamp.version_compatible:
        return f"it was built by version {stamp.version}, installed is {version}"
    return None


def _on_gpu(
    bundle: Bundle, modules: tuple[str, ...], options: TensorRTOptions, verbose: int
) -> tuple[Runner | None, list[str]]:
    """A runner of a plan that fits or is built now; and why there is none."""
    made, unfit = _from_plans(bundle, modules, options)
    if made is not None:
        return made, []
    made, unbuilt = _rebuilt(bundle, modules, options, verbose)
    notes = [*unfit, *unbuilt]
    if made is None:
        return None, notes
    return _explained(made, "; ".join([*notes, f"built anew for {gpus()[0].compute_capability}"])), []


def _from_plans(
    bundle: Bundle, modules: tuple[str, ...], options: TensorRTOptions
) -> tuple[Runner | None, list[str]]:
    if not bundle.manifest.plans:
        return None, ["the bundle holds no plan"]
    notes: list[str] = []
    for stamp in bundle.manifest.plans:
        for module in modules:
            if not _can_load(module, stamp):
                continue
            problem = misfit(
                stamp,
                version=_trt.version(_trt.load(module, why=f"plan {stamp.file}")),
                os=_trt.system(),
                compute_capability=gpus()[0].compute_capability,
                onnx_sha256=bundle.manifest.onnx_sha256,
                allow_host_code=options.allow_host_code,
            )
            if problem is None:
                try:
                    made = TensorRTRunner(
                        bundle.read_plan(stamp), bundle.manifest, module=module, options=options
                    )
                except KerasTRTError as e:
                    problem = str(e)
                else:
                    return _explained(made, f"plan {stamp.file} fits this machine"), []
            notes.append(f"plan {stamp.file}: {problem}")
    return None, notes


def _can_load(module: str, stamp: PlanStamp) -> bool:
    if not _deps.available(module):
        return False
    if module == "tensorrt_lean":
        return stamp.kind == "tensorrt" and stamp.version_compatible
    return module == stamp.kind


def _rebuilt(
    bundle: Bundle, modules: tuple[str, ...], options: TensorRTOptions, verbose: int
) -> tuple[Runner | None, list[str]]:
    manifest = bundle.manifest
    notes: list[str] = []
    builders = [kind for kind in available_builders() if kind in modules]
    if not builders:
        return None, ["no TensorRT builder is installed"]
    for kind in builders:
        try:
            plan = build_plan(
                bundle.onnx_path,
                kind=kind,
                batch=manifest.batch,
                input_shapes=manifest.axis_sizes,
                compute_capabilities=[gpus()[0].compute_capability],
                sparse_weights=bool(manifest.sparsity.get("2:4")),
                verbose=verbose,
            )
            return TensorRTRunner(plan.data, manifest, module=kind, options=options), notes
        except KerasTRTError as e:
            notes.append(f"building with {kind}: {e}")
    return None, notes


def _on_cpu(bundle: Bundle, names: tuple[str, ...], notes: list[str], check: bool) -> Runner:
    """The fastest runner that is right on the bundle's probe."""
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
        problem = fault(made, probe) if probe is not None else None
        if problem is None:
            return _explained(made, "; ".join([*notes, *refusals]))
        made.close()
        refusals.append(f"{setting} computes it wrongly ({problem})")
    if not refusals:
        raise MissingDependencyError(
            f"Nothing can run `{bundle.path}` here: {'; '.join(notes)}; no CPU runner is installed. "
            "Install one with: pip install openvino"
        )
    if all(refusal.endswith("cannot run it") for refusal in refusals) and unable is not None:
        raise unable
    raise RunnerError(
        f"Nothing here computes `{bundle.path}` right: {'; '.join(refusals)}. " + _way_out(names)
    )


def _way_out(names: tuple[str, ...]) -> str:
    missing = [name for name in CPU_RUNNERS if not _deps.available(name)]
    if missing:
        return f"Another runner may: pip install {' '.join(missing)}"
    others = [name for name in CPU_RUNNERS if name not in names]
    if others:
        return f"Load it with runner={others[0]!r}."
    return "Pass check=False to run it all the same."


def _explained(runner: Runner, reason: str) -> Runner:
    runner.reason = reason
    return runner
