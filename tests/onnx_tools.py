"""What the export tests share: real parsers and runtimes on small graphs."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnx_ir.passes.common
import onnxruntime

from keras_trt.engine import EngineConfig, build_plan


def run(model, **feeds):
    """The outputs of an ONNX model (IR, proto or path) under ONNX Runtime, by name."""
    proto = ir.to_proto(model) if isinstance(model, ir.Model) else model
    data = proto.SerializeToString() if isinstance(proto, onnx.ModelProto) else str(proto)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # Optimised, it requantises between layers on its own and is no reference any more.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def ops(model):
    """The operators of a model in order."""
    graph = model.graph
    return [n.op_type for n in (graph if isinstance(model, ir.Model) else graph.node)]


def build(path, targets=("SM89",), **options):
    """A plan from the real TensorRT-RTX parser and builder."""
    config = EngineConfig(compute_capabilities=targets)
    return build_plan(
        path, kind="tensorrt_rtx", verbose=0, **{"batch": (1, 2, 4), "config": config, **options}
    )


def build_ir(model, tmp_path, **options):
    """Saves an IR model and builds it."""
    file = tmp_path / "graph.onnx"
    onnx.save(ir.to_proto(model), file)
    return build(file, **options)


def floats(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


class GraphBuilder:
    """Writes a small ONNX graph line by line.

    Example:
        >>> b = GraphBuilder(x=("batch", 3, 8, 8))
        >>> model = b.finish(b("Relu", "x"))
    """

    def __init__(self, **inputs):
        self.inputs = {n: ir.val(n, ir.DataType.FLOAT, ir.Shape(shape)) for n, shape in inputs.items()}
        self.nodes, self.constants = [], {}

    def const(self, array, name=None):
        name = name or f"c{len(self.constants)}"
        value = ir.val(name, const_value=ir.tensor(np.asarray(array), name=name))
        self.constants[name] = value
        return value

    def __call__(self, op_type, *inputs, name=None, **attributes):
        values = [
            self.inputs[x]
            if isinstance(x, str)
            else x
            if isinstance(x, ir.Value) or x is None
            else self.const(x)
            for x in inputs
        ]
        node = ir.node(op_type, values, attributes, name=name or f"{op_type}_{len(self.nodes)}")
        node.outputs[0].name = f"{node.name}_out"
        self.nodes.append(node)
        return node.outputs[0]

    def qdq(self, x, scale):
        """A per-tensor int8 Q/DQ pair."""
        q = self("QuantizeLinear", x, np.float32(scale), np.int8(0))
        return self("DequantizeLinear", q, np.float32(scale), np.int8(0))

    def finish(self, *outputs, opset=19):
        graph = ir.Graph(
            list(self.inputs.values()),
            list(outputs),
            nodes=self.nodes,
            initializers=list(self.constants.values()),
            opset_imports={"": opset},
            name="net",
        )
        model = ir.Model(graph, ir_version=9)
        return ir.passes.common.ShapeInferencePass()(model).model
