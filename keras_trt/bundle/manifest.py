"""What a bundle says about itself: `manifest.json` as frozen dataclasses, checked when made and when read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from keras_trt._base.formats import ELEMENT_TYPES
from keras_trt._base.nests import Nest
from keras_trt._base.tensors import TensorSpec
from keras_trt.bundle import _fields as fields
from keras_trt.bundle.notes import wrong_labels, wrong_metadata
from keras_trt.bundle.plan_stamp import PlanStamp, plan_stamp
from keras_trt.bundle.tuples import tuples_in, with_tuples
from keras_trt.errors import BundleError

FORMAT_VERSION = 1
MANIFEST_FILE = "manifest.json"
ONNX_FILE = "model.onnx"
PROBE_FILE = "probe.npz"
_DEEPEST = 64  # a nest of tensor names; Python itself gives up at some hundreds
_NOTES = ("labels", "metadata", "record")
LARGEST = 2**31 - 1
"""A size that every runner can hold."""


@dataclass(frozen=True)
class Manifest:
    """Everything a runner must know about a bundle. Holds no time or host name: same model, same bytes.

    Attributes:
        name: The Keras model's name.
        keras_trt_version: The version of this library that wrote the bundle.
        keras: `"keras3"` or `"legacy"`, a note for people.
        inputs: The graph's inputs, in the Keras model's order.
        outputs: The graph's outputs, in the Keras model's order.
        input_structure: How `predict` takes the inputs: a nest of tensor names.
        output_structure: How `predict` returns the outputs: a nest of tensor names.
        batch: Smallest, usual and largest batch that plans are built for; three equal numbers when static.
        precision: What the graph carries, e.g. `"float32"` or `"int8+fp16"`.
        opset: The ONNX opset.
        onnx_sha256: Of `onnx_file`.
        onnx_file: Path inside the bundle.
        external_data: SHA-256 by file name, for weights kept beside the ONNX file.
        axis_sizes: Smallest, usual and largest size of the dynamic axes other than the batch.
        quantization: Free-form facts on the quantised layers.
        sparsity: Free-form facts on the pruned layers; `sparsity["2:4"]` lists the layers in that pattern.
        plans: The serialized engines in the bundle.
        probe_sha256: Of `probe.npz`, rows by which a runner is tried (see `bundle.probe`); None without any.
        predicted_dtypes: What `predict` returns where that is not the graph's type, by output name: a Keras
            model in mixed precision returns float16 or bfloat16, the graph float32.
        record: Free-form facts for people on how the bundle was made: layers, checks, versions, data.
        labels: The names of classes, by output name.
        metadata: Whatever else the user wants to travel along, as JSON.
        format_version: Of the manifest itself.
    """

    name: str
    keras_trt_version: str
    keras: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    input_structure: Nest
    output_structure: Nest
    batch: tuple[int, int, int]
    precision: str
    opset: int
    onnx_sha256: str
    onnx_file: str = ONNX_FILE
    external_data: dict[str, str] = field(default_factory=dict)
    axis_sizes: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    quantization: dict[str, Any] = field(default_factory=dict)
    sparsity: dict[str, Any] = field(default_factory=dict)
    plans: tuple[PlanStamp, ...] = ()
    probe_sha256: str | None = None
    predicted_dtypes: dict[str, str] = field(default_factory=dict)
    record: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        for name in ("name", "keras_trt_version", "keras", "precision"):
            fields.text(getattr(self, name), name)
        fields.integer(self.opset, "opset", minimum=1)
        fields.relative_file(self.onnx_file, "onnx_file")
        fields.sha256(self.onnx_sha256, "onnx_sha256")
        if self.probe_sha256 is not None:
            fields.sha256(self.probe_sha256, "probe_sha256")
        for file, digest in self.external_data.items():
            fields.relative_file(file, "external_data")
            fields.sha256(digest, f"external_data[{file!r}]")
        _check_sizes(self.batch, "batch")
        for axis, sizes in self.axis_sizes.items():
            _check_sizes(sizes, f"axis_sizes[{axis!r}]")
        _check_tensors(self.inputs, self.input_structure, "inputs", "input_structure")
        _check_tensors(self.outputs, self.output_structure, "outputs", "output_structure")
        for name, dtype in self.predicted_dtypes.items():
            fields.choice(name, tuple(s.name for s in self.outputs), "predicted_dtypes")
            fields.choice(dtype, tuple(ELEMENT_TYPES.values()), f"predicted_dtypes[{name!r}]")
        outputs = tuple(s.name for s in self.outputs)
        if problem := wrong_labels(self.labels, outputs) or wrong_metadata(self.metadata):
            raise BundleError(f"The bundle's manifest: {problem}")

    def to_json(self) -> str:
        """The text of `manifest.json`; equal manifests give equal text."""
        data = asdict(self)
        for side in ("input", "output"):
            if places := tuples_in(data[f"{side}_structure"]):
                data[f"{side}_tuples"] = places
        return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Reads the text of a `manifest.json`.

        Raises:
            BundleError: Not JSON, written by a newer keras_trt, or a field is missing or wrong (named).
        """
        try:
            data = json.loads(text)
        except (
            ValueError,
            RecursionError,
        ) as e:  # also a number of thousands of digits, lists in lists in ...
            raise BundleError(f"`{MANIFEST_FILE}` is not valid JSON: {e}") from e
        data = fields.mapping(data, MANIFEST_FILE)
        _check_format(data)
        values = fields.pick(data, cls, MANIFEST_FILE)
        for name in ("inputs", "outputs"):
            specs = fields.sequence(values[name], name)
            values[name] = tuple(_tensor(d, f"{name}[{i}]") for i, d in enumerate(specs))
        values["batch"] = tuple(fields.sequence(values["batch"], "batch"))
        plans = fields.sequence(values.get("plans", ()), "plans")
        values["plans"] = tuple(plan_stamp(d, f"plans[{i}]") for i, d in enumerate(plans))
        for name in ("external_data", "axis_sizes", "quantization", "sparsity", "predicted_dtypes", *_NOTES):
            values[name] = fields.mapping(values.get(name, {}), name)
        labels = values["labels"].items()
        values["labels"] = {name: tuple(fields.sequence(n, f"labels[{name!r}]")) for name, n in labels}
        sizes = values["axis_sizes"].items()
        values["axis_sizes"] = {axis: tuple(fields.sequence(s, f"axis_sizes[{axis!r}]")) for axis, s in sizes}
        for side in ("input", "output"):
            places = data.get(f"{side}_tuples", ())
            values[f"{side}_structure"] = with_tuples(values[f"{side}_structure"], places, f"{side}_tuples")
        return cls(**values)


def names_in(nest: Nest, depth: int = 0) -> Iterator[str]:
    """The tensor names of a nest, in order.

    Example:
        >>> list(names_in({"a": "x", "b": ["y", "z"]}))
        ['x', 'y', 'z']
    """
    if depth > _DEEPEST:
        raise fields.wrong("structure", f"a nest of at most {_DEEPEST} levels", "a deeper one")
    if isinstance(nest, str):
        yield nest
    elif isinstance(nest, list | tuple):
        for child in nest:
            yield from names_in(child, depth + 1)
    elif isinstance(nest, dict):
        for child in nest.values():
            yield from names_in(child, depth + 1)
    else:
        raise fields.wrong("structure", "a nest of tensor names (text, list or dict)", nest)


def _check_tensor(spec: TensorSpec) -> None:
    fields.text(spec.name, "name")
    where = f"tensor `{spec.name}`"
    for axis in spec.shape:
        good = 0 <= axis <= LARGEST if type(axis) is int else isinstance(axis, str) and axis != ""
        if not good:
            raise fields.wrong(f"{where} shape", "sizes >= 0 or names of dynamic axes", spec.shape)
    fields.choice(spec.dtype, tuple(ELEMENT_TYPES.values()), f"{where} dtype")


def _check_tensors(specs: tuple[TensorSpec, ...], nest: Nest, name: str, structure: str) -> None:
    for spec in specs:
        _check_tensor(spec)
    known = [s.name for s in specs]
    if not known or len(set(known)) != len(known):
        raise fields.wrong(name, "at least one tensor, every name once", known)
    used = list(names_in(nest))
    if set(used) != set(known):
        raise fields.wrong(structure, f"the tensor names of `{name}`, which are {known}", nest)


def _check_sizes(sizes: tuple[int, int, int], name: str) -> None:
    whole = len(sizes) == 3 and all(type(n) is int for n in sizes)
    if not whole or not 1 <= sizes[0] <= sizes[1] <= sizes[2] <= LARGEST:
        raise fields.wrong(name, "three whole numbers with 1 <= min <= opt <= max < 2**31", sizes)


def _check_format(data: dict[str, object]) -> None:
    if data.get("route") == "tf-trt":
        raise BundleError(
            'This is an export with route="tf-trt": TensorFlow runs it, keras_trt does not. '
            'Load it with: tf.saved_model.load(path + "/saved_model").signatures["serving_default"]'
        )
    version = data.get("format_version")
    if type(version) is not int or version < 1:
        raise fields.wrong("format_version", "a whole number >= 1", version)
    if version > FORMAT_VERSION:
        raise BundleError(
            f"`{MANIFEST_FILE}`: the bundle has format_version {version}, written by keras_trt "
            f"{data.get('keras_trt_version')}; this version reads up to {FORMAT_VERSION}. "
            "Upgrade with: pip install -U keras-trt"
        )


def _tensor(data: object, where: str) -> TensorSpec:
    values = fields.pick(fields.mapping(data, where), TensorSpec, where)
    values["shape"] = tuple(fields.sequence(values["shape"], f"{where}.shape"))
    return TensorSpec(**values)
