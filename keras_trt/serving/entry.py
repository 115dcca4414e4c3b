"""One model of a repository: a bundle, what computes it, and the files that it takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from keras_trt._base.tensors import free_batch
from keras_trt.bundle import Bundle
from keras_trt.errors import InputError
from keras_trt.serving.config import config_text, warm_up_file
from keras_trt.serving.contract import Contract, contract, warm_up_rows


@dataclass(frozen=True)
class Entry:
    """A model to write.

    Attributes:
        name: Under which Triton serves it.
        bundle: What it is made of.
        backend: What computes it.
        agreed: What Triton is told of it.
    """

    name: str
    bundle: Bundle
    backend: str
    agreed: Contract

    @property
    def files(self) -> dict[str, Path]:
        """The files of a version folder by name; the first is the model's own."""
        manifest, folder = self.bundle.manifest, self.bundle.path
        if self.backend == "onnx":
            return {"model.onnx": self.bundle.onnx_path} | {f: folder / f for f in manifest.external_data}
        if self.backend == "python":
            return {"model.py": Path(__file__).with_name("python_backend.py"), "bundle": folder}
        plans = [self.bundle.plan_path(stamp) for stamp in manifest.plans if stamp.kind == "tensorrt"]
        return {"model.plan": plans[0]} | {f"model_{i}.plan": plan for i, plan in enumerate(plans[1:], 1)}

    @property
    def capabilities(self) -> dict[str, str]:
        """The plans by compute capability, where there are several; of two for one, the first."""
        stamps = [stamp for stamp in self.bundle.manifest.plans if stamp.kind == "tensorrt"]
        if self.backend != "tensorrt" or len(stamps) < 2:
            return {}
        files: dict[str, str] = {}
        for stamp, file in zip(stamps, self.files, strict=True):
            for number in stamp.compute_capabilities:
                files.setdefault(f"{number[2:-1]}.{number[-1]}", file)
        return files

    @property
    def labels(self) -> dict[str, tuple[str, ...]]:
        """Names of classes, by output name."""
        return dict(self.bundle.manifest.labels)

    def config(self, instances: int, max_delay_us: int, warm_up: bool) -> str:
        """Its `config.pbtxt`."""
        return config_text(
            self.name,
            self.bundle.manifest,
            self.agreed,
            backend=self.backend,
            file=next(iter(self.files)),
            plans=self.capabilities,
            instances=instances,
            max_delay_us=max_delay_us,
            warm_up=warm_up_rows(self.bundle) if warm_up else {},
        )

    def warm_up_files(self) -> dict[str, bytes]:
        """The rows that it is warmed up with, by the names of their files."""
        rows = warm_up_rows(self.bundle)
        return {warm_up_file(i): rows[port.name].tobytes() for i, port in enumerate(self.agreed.inputs)}


def entry_of(name: str, bundle: Bundle, backend: str) -> Entry:
    """A bundle as a model of a repository.

    Args:
        name: To serve it under.
        bundle: The bundle.
        backend: As for `triton`.

    Raises:
        InputError: The bundle has no plan that Triton runs.
    """
    manifest = bundle.manifest
    kinds = {stamp.kind for stamp in manifest.plans}
    if backend == "auto":
        backend = "tensorrt" if "tensorrt" in kinds else "onnx"
    if backend == "tensorrt" and "tensorrt" not in kinds:
        raise InputError(
            f"The bundle `{bundle.path}` has no plan of TensorRT, which is what Triton runs. It has: "
            f"{sorted(kinds) or 'none'}. Build one on the server's GPU: "
            f"keras_trt.build({str(bundle.path)!r}, "
            '"tensorrt"), or pass backend="onnx".'
        )
    if backend != "python":
        return Entry(name, bundle, backend, contract(manifest, manifest.inputs, manifest.outputs))
    free = [[free_batch(s, manifest.inputs) for s in specs] for specs in (manifest.inputs, manifest.outputs)]
    return Entry(name, bundle, backend, contract(manifest, *free))
