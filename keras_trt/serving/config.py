"""The text of a `config.pbtxt`, which tells Triton's server about a model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from keras_trt.bundle import Manifest
from keras_trt.serving.contract import Contract, Port

_TYPES = {
    **{f"{sign}int{bits}": f"TYPE_{sign.upper()}INT{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
    **{"bool": "TYPE_BOOL", "float16": "TYPE_FP16", "float32": "TYPE_FP32", "float64": "TYPE_FP64"},
    "bfloat16": "TYPE_BF16",
}

_BACKENDS = {
    "tensorrt": 'backend: "tensorrt"',
    "onnx": 'backend: "onnxruntime"',
    "python": 'backend: "python"',
}


def config_text(
    name: str,
    manifest: Manifest,
    agreed: Contract,
    *,
    backend: str,
    file: str,
    plans: Mapping[str, str],
    instances: int,
    max_delay_us: int,
    warm_up: Mapping[str, np.ndarray],
) -> str:
    """A model's `config.pbtxt`.

    Args:
        name: Of the model, and of its folder.
        manifest: Of its bundle.
        agreed: Its tensors.
        backend: What computes: `"tensorrt"`, `"onnx"` or `"python"`.
        file: The model's file in a version folder.
        plans: Files by compute capability, such as `"8.9"`, where there are several.
        instances: How many of it run at once.
        max_delay_us: How long a request waits for others.
        warm_up: Arrays by input name, that lie in files of these names; none, to start cold.
    """
    reshapes = backend != "python"  # `Served` does it itself
    blocks = [
        f"name: {quoted(name)}\n{_BACKENDS[backend]}\ndefault_model_filename: {quoted(file)}",
        f"max_batch_size: {agreed.largest_batch}",
        *(port_text("input", port, reshapes) for port in agreed.inputs),
        *(
            port_text("output", port, reshapes, labels_file(i) if port.name in manifest.labels else None)
            for i, port in enumerate(agreed.outputs)
        ),
        f"instance_group [ {{ count: {instances} kind: KIND_AUTO }} ]",
    ]
    if agreed.largest_batch:
        blocks.append(f"dynamic_batching {{ max_queue_delay_microseconds: {max_delay_us} }}")
    blocks += [
        f"cc_model_filenames {{ key: {quoted(cc)} value: {quoted(plan)} }}" for cc, plan in plans.items()
    ]
    facts = {"keras_trt": manifest.keras_trt_version, "precision": manifest.precision}
    if manifest.metadata:
        facts["metadata"] = json.dumps(manifest.metadata)
    blocks += [
        f"parameters {{ key: {quoted(k)} value {{ string_value: {quoted(v)} }} }}" for k, v in facts.items()
    ]
    if warm_up:
        blocks.append("\n".join(_warm_up(agreed, warm_up)))
    return "\n".join(blocks) + "\n"


def labels_file(output: int) -> str:
    """The file with the names of an output's classes, by the output's place."""
    return f"labels_{output}.txt"


def warm_up_file(place: int) -> str:
    """The file with an input's rows, by the input's place."""
    return f"input_{place}"


def port_text(kind: str, port: Port, reshapes: bool, labels: str | None = None) -> str:
    """The block of an input or output, e.g. `input [ { name: "x" ... } ]`."""
    lines = [f"name: {quoted(port.name)}", f"data_type: {_TYPES[port.dtype]}", f"dims: {_list(port.dims)}"]
    if port.is_scalar and reshapes:
        lines.append("reshape { shape: [ ] }")
    if labels is not None:
        lines.append(f"label_filename: {quoted(labels)}")
    return f"{kind} [ {{\n  " + "\n  ".join(lines) + "\n} ]"


def _warm_up(agreed: Contract, arrays: Mapping[str, np.ndarray]) -> Iterator[str]:
    rows = len(arrays[agreed.inputs[0].name]) if agreed.largest_batch else 0
    yield f'model_warmup [ {{\n  name: "probe"\n  batch_size: {rows}'
    for i, port in enumerate(agreed.inputs):
        shape = arrays[port.name].shape[1 if agreed.largest_batch else 0 :]
        kind = f"data_type: {_TYPES[port.dtype]} dims: {_list(shape or (1,))}"
        value = f"{kind} input_data_file: {quoted(warm_up_file(i))}"
        yield f"  inputs {{ key: {quoted(port.name)} value {{ {value} }} }}"
    yield "} ]"


def _list(sizes: Sequence[int]) -> str:
    return f"[ {', '.join(map(str, sizes))} ]"


def quoted(value: str) -> str:
    """A text as protobuf's text format writes it."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'
