"""What a bundle says about each of its plans: where it can run and what it was built from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from keras_trt._base.formats import NARROW
from keras_trt.bundle import _fields as fields

PLANS_FOLDER = "plans"

PLAN_KINDS = ("tensorrt", "tensorrt_rtx")
"""What builds plans: TensorRT, TensorRT-RTX."""


@dataclass(frozen=True)
class PlanStamp:
    """Where a serialized engine can run and which ONNX it came from.

    Attributes:
        file: Path inside the bundle, e.g. `"plans/tensorrt_rtx.plan"`.
        kind: `"tensorrt"` or `"tensorrt_rtx"`.
        version: The TensorRT (-RTX) version that built it, e.g. `"1.7.1.116"`.
        os: `"linux"` or `"windows"`, from `platform.system().lower()`.
        compute_capabilities: The GPUs it runs on, e.g. `("SM86", "SM89")`.
        onnx_sha256: The ONNX file it was built from.
        bytes: Its size.
        version_compatible: Later versions of TensorRT may run it too; such a plan carries code.
        sha256: Its SHA-256, compared before TensorRT sees it; None in bundles written without it, whose plans
            are compared by size only.
        config: The builder's options that were not the default, by name.
        precision: What it computes in where that is not what the graph carries: `"fp16"` or `"bf16"` of a
            quantised graph that was built without its quantisers.
        chosen: Why it was taken among several plans of the graph: medians, machine, rule; empty where none
            was compared.
    """

    file: str
    kind: str
    version: str
    os: str
    compute_capabilities: tuple[str, ...]
    onnx_sha256: str
    bytes: int
    version_compatible: bool = False
    sha256: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    precision: str | None = None
    chosen: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        fields.relative_file(self.file, "plan file")
        fields.choice(self.kind, PLAN_KINDS, f"plan `{self.file}` kind")
        for name in ("version", "os"):
            fields.text(getattr(self, name), f"plan `{self.file}` {name}")
        fields.sha256(self.onnx_sha256, f"plan `{self.file}` onnx_sha256")
        fields.integer(self.bytes, f"plan `{self.file}` bytes", minimum=0)
        fields.choice(self.version_compatible, (True, False), f"plan `{self.file}` version_compatible")
        if self.sha256 is not None:
            fields.sha256(self.sha256, f"plan `{self.file}` sha256")
        fields.mapping(self.config, f"plan `{self.file}` config")
        fields.choice(self.precision, (None, *NARROW), f"plan `{self.file}` precision")
        fields.mapping(self.chosen, f"plan `{self.file}` chosen")
        if not self.compute_capabilities or not all(c.startswith("SM") for c in self.compute_capabilities):
            raise fields.wrong(
                f"plan `{self.file}` compute_capabilities", "names such as 'SM86'", self.compute_capabilities
            )

    @property
    def built_by(self) -> str:
        """The builder and its version, and the precision where that is not the graph's."""
        return " ".join(filter(None, (self.kind, self.version, self.precision and f"({self.precision})")))


def plan_stamp(data: object, where: str) -> PlanStamp:
    """Reads the JSON of a stamp; fields of later versions are left out.

    Raises:
        BundleError: A field is missing or wrong; names it.
    """
    values = fields.pick(fields.mapping(data, where), PlanStamp, where)
    name = f"{where}.compute_capabilities"
    capabilities = fields.sequence(values["compute_capabilities"], name)
    values["compute_capabilities"] = tuple(fields.text(c, name) for c in capabilities)
    return PlanStamp(**values)


def plan_file(kind: str, *labels: str) -> str:
    """Where a plan lies inside a bundle.

    Example:
        >>> plan_file("tensorrt", "SM89")
        'plans/tensorrt-SM89.plan'
    """
    return str(PurePosixPath(PLANS_FOLDER) / ("-".join((kind, *labels)) + ".plan"))
