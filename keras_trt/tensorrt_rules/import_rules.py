"""What TensorRT's ONNX importer says about single nodes, beyond knowing their operator.

The rules are those of the importer's operator table. What its parser takes all the same (TensorRT-RTX 1.7
builds cubic interpolation and one-dimensional pooling) is a doubt here, not a refusal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import onnx_ir as ir

from keras_trt.onnx_passes import _graph as g

Rule = Callable[[ir.Node], Iterator[str]]

TOPK_LIMIT = 3840
_COORDINATES = ("half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn", "asymmetric", "align_corners")
_NEAREST = ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")


def _resize(node: ir.Node) -> Iterator[str]:
    if g.integer(node, "antialias", 0):
        yield "antialiasing is not supported; use antialias=False"
    coordinates = _text(node, "coordinate_transformation_mode", "half_pixel")
    if coordinates == "tf_crop_and_resize":
        yield "crop and resize is not supported; crop first"
    elif coordinates not in _COORDINATES:
        yield f"coordinates {coordinates!r} are not supported; use one of {', '.join(_COORDINATES)}"
    if _text(node, "keep_aspect_ratio_policy", "stretch") != "stretch":
        yield "keeping the aspect ratio is not supported; give the exact size"


def _top_k(node: ir.Node) -> Iterator[str]:
    k = g.scalar(node.inputs[1])
    if k is not None and k > TOPK_LIMIT:
        yield f"k must be at most {TOPK_LIMIT}, it is {int(k)}"


def _pooling(node: ir.Node) -> Iterator[str]:
    spatial = len(g.ints(node, "kernel_shape", []) or [])
    if spatial > 3:
        yield f"pooling over {spatial} axes is not supported, over at most 3 it is; reshape first"
    if any(d != 1 for d in g.ints(node, "dilations", []) or []):
        yield "dilated pooling is not supported"
    if len(node.outputs) > 1 and _is_used(node.outputs[1]):
        yield "the positions of the maxima are not supported; use the values only"


def _convolution(node: ir.Node) -> Iterator[str]:
    rank = g.rank(node.inputs[0])
    if rank is not None and not 3 <= rank <= 5:
        yield f"convolutions over 1 to 3 axes are supported, this one is over {rank - 2}"


def _scatter(node: ir.Node) -> Iterator[str]:
    if _text(node, "reduction", "none") != "none":
        yield "scattering with a reduction is not supported"


def _training(node: ir.Node) -> Iterator[str]:
    mode = g.integer(node, "training_mode", 0)
    if node.op_type == "Dropout" and len(node.inputs) > 2:
        mode = int(g.scalar(node.inputs[2]) or 0)
    if mode:
        yield "it runs in training mode, which is not supported; call the layer with training=False"


def _first_output(node: ir.Node) -> Iterator[str]:
    if any(_is_used(value) for value in node.outputs[1:]):
        yield "only its first output is supported"


def _recurrent(node: ir.Node) -> Iterator[str]:
    if g.integer(node, "input_forget", 0):
        yield "coupled input and forget gates are not supported"
    attribute = node.attributes.get("activations")
    names = [] if attribute is None else list(attribute.as_strings())
    half = len(names) // 2
    if _text(node, "direction", "forward") == "bidirectional" and names[:half] != names[half:]:
        yield "both directions must have the same activations"


def _fixed_axes(node: ir.Node) -> Iterator[str]:
    axes = node.inputs[1] if len(node.inputs) > 1 else None
    if axes is not None and not _is_fixed(axes):
        yield "its axes depend on data; they must be constants"


def _constant_axes(node: ir.Node) -> Iterator[str]:
    axes = node.inputs[1] if len(node.inputs) > 1 else None
    if axes is not None and g.constant(axes) is None:
        yield "its axes are computed; they must be constants"


def _static(node: ir.Node) -> Iterator[str]:
    shape = None if node.inputs[0] is None else node.inputs[0].shape
    if shape is not None and not all(isinstance(size, int) for size in shape):
        yield f"its input has open axes {shape}; fix them with `input_shapes` (and `batch`)"


def _resize_mode(node: ir.Node) -> Iterator[str]:
    mode = _text(node, "mode", "nearest")
    if mode not in ("nearest", "linear"):
        yield f"interpolation {mode!r} is not listed; use 'nearest' or 'bilinear' if the build fails"
    nearest = _text(node, "nearest_mode", "round_prefer_floor")
    if mode == "nearest" and nearest not in _NEAREST:
        yield f"nearest mode {nearest!r} is not listed; use one of {', '.join(_NEAREST)} if the build fails"


def _flat_pooling(node: ir.Node) -> Iterator[str]:
    if len(g.ints(node, "kernel_shape", []) or []) == 1:
        yield "pooling over one axis is not listed; pool over two, one of size 1, if the build fails"


def _nested_if(node: ir.Node) -> Iterator[str]:
    branches = [attribute.as_graph() for attribute in node.attributes.values()]
    inner = (each for branch in branches for each in branch if each.op_type == "If")
    if any(_is_open(value) for each in inner for value in each.outputs):
        yield (
            "TensorRT-RTX 1.7 does not build a condition within a condition over tensors with open axes; fix "
            "them with `batch` (and `input_shapes`), or choose with `where` inside"
        )


def _is_open(value: ir.Value) -> bool:
    return value.shape is None or not all(isinstance(size, int) for size in value.shape)


def _is_used(value: ir.Value) -> bool:
    return bool(value.uses()) or value.is_graph_output()


def _is_fixed(value: ir.Value) -> bool:
    """Whether a value can be computed when the engine is built: from constants and shapes alone."""
    node = value.producer()
    return g.constant(value) is not None or (
        node is not None
        and bool(node.inputs)
        and (node.op_type == "Shape" or all(v is None or _is_fixed(v) for v in node.inputs))
    )


def _text(node: ir.Node, name: str, default: str) -> str:
    return node.attributes[name].as_string() if name in node.attributes else default


_REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")

REFUSALS: dict[str, Rule] = {
    "Resize": _resize,
    "TopK": _top_k,
    "MaxPool": _pooling,
    "AveragePool": _pooling,
    "LpPool": _pooling,
    "Conv": _convolution,
    "ConvTranspose": _convolution,
    "ScatterND": _scatter,
    "BatchNormalization": _training,
    "Dropout": _training,
    "LayerNormalization": _first_output,
    "LSTM": _recurrent,
    "GRU": _recurrent,
    "RNN": _recurrent,
    "Squeeze": _fixed_axes,
    "Unsqueeze": _fixed_axes,
    **{f"Reduce{name}": _constant_axes for name in _REDUCTIONS},
    "EyeLike": _static,
}
"""By operator what every TensorRT refuses, and what to do; each was seen with TensorRT-RTX's parser."""


def _without_kernel(_: ir.Node) -> Iterator[str]:
    yield "TensorRT-RTX 1.7 imports it and has no kernel for it; leave it out of the model and run it behind"


DOUBTS: dict[str, Rule] = {
    "NonMaxSuppression": _without_kernel,
    "If": _nested_if,
    "Resize": _resize_mode,
    "MaxPool": _flat_pooling,
    "AveragePool": _flat_pooling,
    "LpPool": _flat_pooling,
}
"""By operator what TensorRT's table does not list, though some builders take it."""
