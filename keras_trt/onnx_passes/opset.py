"""Raises the opset of a finished graph; tf2onnx stops at 18 and float16 scales need 19."""

from __future__ import annotations

from numbers import Integral

import onnx_ir as ir

from keras_trt.errors import ExportError, InputError

DEFAULT_OPSET = 19
OPSETS = range(17, 25)

# From 18 to 24 ONNX only added types and attributes with neutral defaults, except to these.
_CHANGED = {"DFT": 20, "GridSample": 20, "GroupNormalization": 21}


def check_opset(opset: object) -> None:
    """Refuses what is no opset that can be written."""
    if not isinstance(opset, Integral) or isinstance(opset, bool) or opset not in OPSETS:
        raise InputError(
            f"`opset` must be a number from {OPSETS[0]} to {OPSETS[-1]}. Received: opset={opset!r}"
        )


class RaiseOpsetPass(ir.passes.InPlacePass):
    """Stamps the model with a higher opset.

    Args:
        opset: 17 to 24.

    Raises:
        InputError: Another number.
    """

    def __init__(self, opset: int) -> None:
        super().__init__()
        check_opset(opset)
        self.opset = opset

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Checks that no operator changed its meaning in between, then stamps.

        Raises:
            ExportError: An operator of the graph means something else at the higher opset.
        """
        before = model.opset_imports[""]
        for node in model.graph.all_nodes():
            since = _CHANGED.get(node.op_type)
            if since is not None and before < since <= self.opset:
                raise ExportError(
                    f"`{node.op_type}` (node {node.name!r}) changed its meaning in opset {since}. "
                    f"Export with opset={since - 1}."
                )
        model.opset_imports.clear()
        model.opset_imports[""] = self.opset
        model.ir_version = _IR_VERSIONS[self.opset]
        return ir.passes.PassResult(model, modified=before != self.opset)


# The IR version that came with each opset (ONNX "Versioning"); float16 scales etc. need no newer one.
_IR_VERSIONS = {17: 8, 18: 8, 19: 9, 20: 9, 21: 10, 22: 10, 23: 11, 24: 12}
