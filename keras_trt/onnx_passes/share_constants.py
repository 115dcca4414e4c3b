"""Makes one of equal small constants, so that equal computations on them become one as well."""

from __future__ import annotations

import onnx_ir as ir

from keras_trt.onnx_passes import _graph as g
from keras_trt.onnx_passes.weight_axes import WEIGHTED

_LARGEST = 1024  # elements


class ShareConstantsPass(ir.passes.InPlacePass):
    """Replaces small initializers by an equal one; the kernels of weighted ops stay apart.

    Two layers may be initialised alike and read one tensor (keys and values of an untrained attention): as
    one product, one of them would not be found when its weights are quantised.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Visits every graph of the model."""
        modified = False
        for graph in model.graphs():
            seen: dict[tuple[object, ...], ir.Value] = {}
            for value in list(graph.initializers.values()):
                array = value.const_value
                if array is None or array.size > _LARGEST or array.dtype == ir.DataType.STRING:
                    continue
                if value.is_graph_input() or value.is_graph_output() or _is_kernel(value):
                    continue
                key = array.dtype, tuple(array.shape), array.tobytes()
                first = seen.setdefault(key, value)
                if first is not value:
                    ir.convenience.replace_all_uses_with(value, first)
                    del graph.initializers[value.name or ""]
                    modified = True
        return ir.passes.PassResult(model, modified)


def _is_kernel(value: ir.Value) -> bool:
    """Whether a weighted op reads it as its weight, or a layer's weights were made into it."""
    return bool(value.meta.get(g.HOLDERS)) or any(
        user.op_type in WEIGHTED and index == 1 for user, index in value.uses()
    )
