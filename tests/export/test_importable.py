"""What TensorRT's importer refuses is said before the build, with the Keras layer."""

from __future__ import annotations

import numpy as np
import onnx.defs
import pytest

from keras_trt.errors import EngineError, ExportError
from keras_trt.export import export
from keras_trt.export.importable import check_importable, obstacles, operator_table
from tests.export.onnx_tools import GraphBuilder, build, build_ir, floats


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
