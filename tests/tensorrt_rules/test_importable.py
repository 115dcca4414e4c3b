"""What TensorRT's importer refuses is said before the build, with the Keras layer."""

from __future__ import annotations

import numpy as np
import onnx.defs
import onnx.parser
import onnx.shape_inference
import onnx_ir as ir
import pytest

from keras_trt.errors import EngineError, ExportError
from keras_trt.exporting.export import export
from keras_trt.tensorrt_rules.importable import check_importable, obstacles, operator_table
from tests.onnx_tools import GraphBuilder, build, build_ir, floats


def test_the_table_holds_onnx_operators_with_their_types():
    table = operator_table()
    assert {"Conv", "MatMul", "QuantizeLinear", "Resize"} <= set(table)
    assert not {"MatMulInteger", "QLinearConv", "Unique"} & set(table)
    known = {s.name for s in onnx.defs.get_all_schemas_with_history() if s.domain == ""}
    assert len(set(table) - known) <= 3  # the importer also knows operators that ONNX has dropped
    assert table["Conv"]["types"]


def graphs():
    b = GraphBuilder(x=(4, 5))
    yield "Unique", b.finish(b("Unique", "x", name="layer/Unique")), "no such operator"
    b = GraphBuilder(x=(1, 3, 8, 8))
    scales = np.array([1, 1, 2, 2], np.float32)
    y = b("Resize", "x", None, scales, mode="linear", antialias=1, name="layer/Resize")
    yield "Resize", b.finish(y), "antialias=False"
    b = GraphBuilder(x=(2, 5000))
    yield "TopK", b.finish(b("TopK", "x", np.array([4000], np.int64), name="layer/TopK")), "at most 3840"


@pytest.mark.parametrize(("operator", "model", "problem"), list(graphs()), ids=["Unique", "Resize", "TopK"])
def test_what_the_real_parser_refuses_is_found(operator, model, problem, tmp_path):
    (found,) = obstacles(model, ["layer"])
    assert (found.layer, found.operator) == ("layer", operator)
    assert problem in found.problem
    with pytest.raises(ExportError, match=f"layer 'layer': {operator}"):
        check_importable(model, ["layer"])
    with pytest.raises(EngineError):
        build_ir(model, tmp_path)


def test_a_graph_that_tensorrt_takes_has_no_obstacles():
    b = GraphBuilder(x=("batch", 3, 8, 8))
    assert obstacles(b.finish(b("Relu", b("Conv", "x", floats(4, 3, 3, 3)))), []) == []


def distinct_net(k):
    import tensorflow as tf

    class Distinct(k.layers.Layer):
        def call(self, x):
            return tf.unique(tf.reshape(x, [-1]))[0]

        def compute_output_shape(self, shape):
            return (None,)

    x = k.Input((5,), batch_size=2, name="x")
    return k.Model(x, Distinct(name="distinct")(x))


def test_export_names_the_layer_before_it_builds(k, tmp_path):
    with pytest.raises(ExportError, match="layer 'distinct': Unique: TensorRT has no such operator"):
        export(distinct_net(k), tmp_path / "net", batch=2, engine="tensorrt_rtx", verify=False, verbose=0)
    assert not any(tmp_path.iterdir())


def test_without_an_engine_it_is_a_note(k, tmp_path):
    report = export(distinct_net(k), tmp_path / "net", engine=None, batch=2, verify=False, verbose=0)
    assert any("TensorRT: layer 'distinct': Unique: TensorRT has no such operator" in n for n in report.notes)
    with pytest.raises(EngineError):
        build(tmp_path / "net" / "model.onnx", batch=2)


def graph(text, opset=19):
    """A graph from ONNX's own text form, whose first node is `layer/node`."""
    model = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : {opset}]> g {text}')
    model = onnx.shape_inference.infer_shapes(model)
    for i, node in enumerate(model.graph.node):
        node.name = f"layer/{node.op_type}_{i}"
    return ir.from_proto(model)


REFUSED = {
    "resize coordinates": (
        """(float[1,3,8,8] x) => (float[1,3,16,16] y) <int64[4] s = {1, 3, 16, 16}>
        { y = Resize <coordinate_transformation_mode = "half_pixel_symmetric"> (x, , , s) }""",
        "coordinates 'half_pixel_symmetric' are not supported; use one of half_pixel",
    ),
    "resize aspect": (
        """(float[1,3,8,8] x) => (float[1,3,16,16] y) <int64[4] s = {1, 3, 16, 16}>
        { y = Resize <mode = "linear", keep_aspect_ratio_policy = "not_larger"> (x, , , s) }""",
        "give the exact size",
    ),
    "dilated pooling": (
        """(float[1,3,8,8] x) => (float[1,3,6,6] y)
        { y = MaxPool <kernel_shape = [2, 2], dilations = [2, 2]> (x) }""",
        "dilated pooling is not supported",
    ),
    "positions of maxima": (
        """(float[1,3,8,8] x) => (float[1,3,7,7] y, int64[1,3,7,7] i)
        { y, i = MaxPool <kernel_shape = [2, 2]> (x) }""",
        "use the values only",
    ),
    "pooling in 4D": (
        """(float[1,3,4,4,4,4] x) => (float[1,3,3,3,3,3] y)
        { y = MaxPool <kernel_shape = [2, 2, 2, 2]> (x) }""",
        "pooling over 4 axes is not supported",
    ),
    "scatter with add": (
        """(float[4] x, float[1] u) => (float[4] y) <int64[1,1] i = {1}>
        { y = ScatterND <reduction = "add"> (x, i, u) }""",
        "scattering with a reduction",
    ),
    "training": (
        """(float[4] x) => (float[4] y) <float r = {0.5}, bool t = {1}> { y = Dropout (x, r, t) }""",
        "call the layer with training=False",
    ),
    "squeeze by data": (
        "(float[1,4] x, int64[1] a) => (float[4] y) { y = Squeeze (x, a) }",
        "its axes depend on data",
    ),
    "reduction by a shape": (
        """(float[4,4] x) => (float[4] y) <int64[1] four = {4}>
        { s = Shape <start = 0, end = 1> (x) a = Sub (s, four) y = ReduceSum <keepdims = 0> (x, a) }""",
        "its axes are computed",
    ),
    "axes from data": (
        "(float[4,4] x, int64[1] a) => (float[1,1] y) { y = ReduceSum (x, a) }",
        "its axes are computed",
    ),
    "second output": (
        """(float[4,4] x) => (float[4,4] y, float[4,1] m) <float[4] s = {1, 1, 1, 1}>
        { y, m = LayerNormalization (x, s) }""",
        "only its first output",
    ),
    "eye of open size": ("(float[n,4] x) => (float[n,4] y) { y = EyeLike (x) }", "`input_shapes`"),
    "int16 inside": (
        "(float[4] x) => (float[4] y) { i = Cast <to = 5> (x) y = Cast <to = 1> (i) }",
        "tensors of type int16 are not supported; cast to int32",
    ),
    "uint8 inside": (
        "(float[4] x) => (float[4] y) { i = Cast <to = 2> (x) y = Cast <to = 1> (i) }",
        "uint8 is supported for inputs and outputs of the model only",
    ),
    "strings": ("(string[2] x) => (string[2] y) { y = Identity (x) }", "type string are not supported"),
    "nine axes": (
        """(float[1,1] x) => (float[1,1,1,1,1,1,1,1,1] y) <int64[9] s = {1, 1, 1, 1, 1, 1, 1, 1, 1}>
        { y = Reshape (x, s) }""",
        "tensors of 9 axes are not supported, up to 8 are",
    ),
}


@pytest.mark.parametrize(("text", "problem"), list(REFUSED.values()), ids=list(REFUSED))
def test_what_the_table_restricts_is_refused_as_the_real_parser_does(text, problem, tmp_path):
    model = graph(text)
    found = [o for o in obstacles(model, ["layer"]) if o.refused]
    assert any(problem in o.problem for o in found), found
    with pytest.raises(ExportError, match="TensorRT cannot import"):
        check_importable(model, ["layer"])
    with pytest.raises(EngineError):
        build_ir(model, tmp_path)


DOUBTED = {
    "cubic": (
        """(float[1,3,8,8] x) => (float[1,3,16,16] y) <int64[4] s = {1, 3, 16, 16}>
        { y = Resize <mode = "cubic"> (x, , , s) }""",
        "interpolation 'cubic' is not listed",
    ),
    "pooling in 1D": (
        "(float[1,3,8] x) => (float[1,3,7] y) { y = MaxPool <kernel_shape = [2]> (x) }",
        "pooling over one axis is not listed",
    ),
    "cumulative sum of integers": (
        "(int32[2,4] x) => (int32[2,4] y) <int64 a = {1}> { y = CumSum (x, a) }",
        "int32 is not among the types it is listed with (FP32, FP16, BF16)",
    ),
    "float64": ("(double[4] x) => (double[4] y) { y = Add (x, x) }", "float64 is computed in float32"),
}


@pytest.mark.parametrize(("text", "problem"), list(DOUBTED.values()), ids=list(DOUBTED))
def test_what_the_real_builder_takes_beyond_the_table_is_only_doubted(text, problem, tmp_path):
    model = graph(text)
    found = obstacles(model, ["layer"])
    assert any(problem in o.problem for o in found), found
    check_importable(model, ["layer"])
    build_ir(model, tmp_path)


def test_what_the_builder_imports_and_cannot_compute_is_told_with_the_node(tmp_path):
    model = graph(
        """(float[1,6,4] boxes, float[1,1,6] scores) => (int64[n,3] y) <int64 most = {3}>
        { y = NonMaxSuppression (boxes, scores, most) }"""
    )
    (found,) = obstacles(model, ["layer"])
    assert "has no kernel for it" in found.problem
    assert not found.refused
    with pytest.raises(EngineError, match="imports node '.*' and has no kernel for it. Leave its layer out"):
        build_ir(model, tmp_path)


NESTED_IF = """(float[{n},4] x) => (float[{n},4] y) <float zero = {{0}}, float one = {{1}}>
{{
    mean = ReduceMean <keepdims = 0> (x)
    outer = Greater (mean, zero)
    inner = Greater (mean, one)
    y = If (outer) <
        then_branch = then () => (float[{n},4] z)
            {{ z = If (inner) <
                then_branch = then_then () => (float[{n},4] a) {{ a = Relu (x) }},
                else_branch = then_else () => (float[{n},4] b) {{ b = Abs (x) }}> }},
        else_branch = otherwise () => (float[{n},4] c) {{ c = Neg (x) }}>
}}"""


def test_a_condition_within_a_condition_over_open_axes_is_told_and_the_real_builder_fails(tmp_path):
    model = graph(NESTED_IF.format(n="batch"))
    (found,) = obstacles(model, ["layer"])
    assert (found.layer, found.operator, found.refused) == ("layer", "If", False)
    assert "does not build a condition within a condition over tensors with open axes" in found.problem
    with pytest.raises(EngineError):
        build_ir(model, tmp_path)


def test_a_condition_within_a_condition_of_fixed_sizes_is_built(tmp_path):
    model = graph(NESTED_IF.format(n=2))
    assert obstacles(model, ["layer"]) == []
    build_ir(model, tmp_path)


def test_an_operator_newer_than_the_first_tensorrt_10_says_since_when():
    model = graph("(float[1,4] x) => (float[1,4] y) { y = Swish (x) }", opset=24)
    (found,) = obstacles(model, ["layer"])
    assert (found.layer, found.problem, found.refused) == ("layer", "needs TensorRT 11.0 or newer", False)


def test_axes_to_squeeze_may_come_from_a_shape(tmp_path):
    model = graph(
        """(float[1,4] x) => (float[4] y) <int64[1] one = {1}>
        { s = Shape <start = 0, end = 1> (x) a = Sub (s, one) y = Squeeze (x, a) }"""
    )
    assert obstacles(model, ["layer"]) == []
    build_ir(model, tmp_path)


def test_an_int8_model_of_the_usual_layers_raises_no_doubt(k, tmp_path):
    image = k.Input((16, 16, 3), name="image")
    x = k.layers.Conv2D(8, 3, activation="relu")(image)
    x = k.layers.MaxPooling2D()(x)
    x = k.layers.UpSampling2D(interpolation="bilinear")(x)
    x = k.layers.DepthwiseConv2D(3)(x)
    x = k.layers.Flatten()(k.layers.AveragePooling2D(2)(x))
    model = k.Model(image, k.layers.Dense(4, activation="softmax")(k.layers.Dense(8, activation="gelu")(x)))
    options = {"precision": "int8+fp16", "calibration_data": np.ones((4, 16, 16, 3), np.float32)}
    report = export(model, tmp_path / "net", engine=None, verbose=0, **options)
    assert not [note for note in report.notes if note.startswith("TensorRT: ")]
