"""Whether a plan fits this machine, told by its stamp."""

from __future__ import annotations

from packaging.version import InvalidVersion, Version

from keras_trt.bundle.plan_stamp import PlanStamp

_FIRST_AMPERE = 80


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
    if not _runs_on(stamp, compute_capability):
        return f"it was built for {'/'.join(stamp.compute_capabilities)}, this GPU is {compute_capability}"
    if stamp.version_compatible and not allow_host_code:
        return "it carries code (version compatible), which runs only with allow_host_code=True"
    if stamp.version != version and not (stamp.version_compatible and _is_later(version, stamp.version)):
        return f"it was built by version {stamp.version}, installed is {version}"
    return None


def _is_later(version: str, than: str) -> bool:
    try:
        return Version(version) > Version(than)
    except InvalidVersion:
        return False


def _runs_on(stamp: PlanStamp, compute_capability: str) -> bool:
    if compute_capability in stamp.compute_capabilities:
        return True
    everywhere = stamp.config.get("hardware_compatibility") == "ampere_plus"
    return everywhere and int(compute_capability.removeprefix("SM")) >= _FIRST_AMPERE
