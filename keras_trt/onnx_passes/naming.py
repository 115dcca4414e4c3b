"""Names every node after the Keras layer it comes from: `backbone/conv1/Conv`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx_ir as ir

from keras_trt._base.names import unique
from keras_trt.onnx_passes._graph import HOLDERS
from keras_trt.onnx_passes.weight_axes import WEIGHTED
from keras_trt.trace.scopes import layer_of_scope


def layer_of(name: str, layers: Iterable[str]) -> str | None:
    """The layer path that a node's name begins with, the longest when several fit."""
    segments, paths = name.split("/"), set(layers)
    for n in range(len(segments), 0, -1):
        if "/".join(segments[:n]) in paths:
            return "/".join(segments[:n])
    return None


class NameNodesPass(ir.passes.InPlacePass):
    """Renames all nodes to `<layer path>/<operator>`.

    A product with a kernel that another layer holds (its code reads `self.dense.kernel`) belongs to that one.
    A node without a scope of its own (tf2onnx makes such) gets that of its weight, else that of the node
    before it, else that of the one behind. A node of no layer is named by its operator alone.

    Args:
        layers: The paths of all layers, in the order of their scopes.
    """

    def __init__(self, layers: Iterable[str]) -> None:
        super().__init__()
        self.layers = tuple(layers)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Renames the nodes of the main graph; those of subgraphs keep their names."""
        nodes = list(model.graph)
        paths: dict[ir.Node, str | None] = {}
        for node in nodes:
            own = self._own(node)
            if own is None and node.op_type != "QuantizeLinear":  # a Q belongs to the DQ behind it
                own = next((paths.get(p) for p in node.predecessors() if paths.get(p)), None)
            paths[node] = own
        for node in reversed(nodes):
            if paths[node] is None:
                paths[node] = next((paths.get(s) for s in node.successors() if paths.get(s)), None)
        taken = _beginnings(self.layers)  # no node is named like a layer, so `layer_of` is exact
        for node in nodes:
            path = paths[node]
            node.name = unique(f"{path}/{node.op_type}" if path else node.op_type, taken)
        return ir.passes.PassResult(model, modified=True)

    def _own(self, node: ir.Node) -> str | None:
        scope = next(filter(None, (layer_of_scope(s, self.layers) for s in _scopes(node))), None)
        kernel = node.inputs[1] if node.op_type in WEIGHTED and len(node.inputs) > 1 else None
        holders: tuple[str, ...] = () if kernel is None else kernel.meta.get(HOLDERS, ())
        return holders[0] if len(holders) == 1 else scope


def _scopes(node: ir.Node) -> Iterator[str]:
    yield node.name or ""
    yield from (output.name or "" for output in node.outputs)
    if len(node.inputs) > 1 and node.inputs[1] is not None and node.inputs[1].is_initializer():
        yield node.inputs[1].name or ""  # equal constants are shared: others may bear another layer's name


def _beginnings(paths: Iterable[str]) -> set[str]:
    """All that a path may begin with: a layer's own name may hold slashes, too."""
    split = (path.split("/") for path in paths)
    return {"/".join(segments[:n]) for segments in split for n in range(1, len(segments) + 1)}
