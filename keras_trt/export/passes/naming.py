"""Names every node after the Keras layer it comes from: `backbone/conv1/Conv`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

import onnx_ir as ir

_SUFFIX = re.compile(r"_\d+$")

Resolver = Callable[[str], str | None]


def scope_resolver(scopes: Iterable[str], layers: Iterable[str]) -> Resolver:
    """A function from a TensorFlow scope (`functional_1/backbone_1/conv1_1/mul`) to a layer path.

    TensorFlow adds `_1`, `_2`, ... to a scope that is entered again, and a layer's own name may end that
    way too. Both readings are tried, and the one under which more layers are found holds for the model.
    """
    paths = set(layers)
    exact = _resolver(paths, stripped_first=False)
    stripped = _resolver(paths, stripped_first=True)
    scopes = list(scopes)
    found = [len({resolve(s) for s in scopes} - {None}) for resolve in (exact, stripped)]
    return stripped if found[1] > found[0] else exact


def layer_of(name: str, layers: Iterable[str]) -> str | None:
    """The layer path that a node's name begins with, the longest when several fit."""
    parts, paths = name.split("/"), set(layers)
    for n in range(len(parts), 0, -1):
        if "/".join(parts[:n]) in paths:
            return "/".join(parts[:n])
    return None


class NameNodesPass(ir.passes.InPlacePass):
    """Renames all nodes to `<layer path>/<operator>`.

    A node without a scope of its own (tf2onnx makes such) gets that of its weight, else that of the node
    before it, else that of the one behind. A node of no layer is named by its operator alone.
    """

    def __init__(self, layers: Iterable[str]) -> None:
        super().__init__()
        self.layers = tuple(layers)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Renames the nodes of the main graph; those of subgraphs keep their names."""
        nodes = list(model.graph)
        scopes = [scope for node in nodes for scope in _own_scopes(node)]
        resolve = scope_resolver(scopes, self.layers)
        paths: dict[ir.Node, str | None] = {}
        for node in nodes:
            own = next(filter(None, map(resolve, _own_scopes(node))), None)
            if own is None and node.op_type != "QuantizeLinear":  # a Q belongs to the DQ behind it
                own = next((paths.get(p) for p in node.predecessors() if paths.get(p)), None)
            paths[node] = own
        for node in reversed(nodes):
            if paths[node] is None:
                paths[node] = next((paths.get(s) for s in node.successors() if paths.get(s)), None)
        taken: set[str] = set()
        for node in nodes:
            path = paths[node]
            node.name = unique_name(f"{path}/{node.op_type}" if path else node.op_type, taken)
        return ir.passes.PassResult(model, modified=True)


def _own_scopes(node: ir.Node) -> Iterator[str]:
    yield node.name or ""
    yield from (output.name or "" for output in node.outputs)
    if len(node.inputs) > 1 and node.inputs[1] is not None and node.inputs[1].is_initializer():
        yield node.inputs[1].name or ""  # equal constants are shared: others may bear another layer's name


def unique_name(name: str, taken: set[str]) -> str:
    """`name`, or the first of `name_1`, `name_2`, ... that is not in `taken`; it is added there."""
    candidate, n = name, 0
    while candidate in taken:
        n += 1
        candidate = f"{name}_{n}"
    taken.add(candidate)
    return candidate


def _resolver(paths: set[str], *, stripped_first: bool) -> Resolver:
    # A layer's own name may hold slashes (`expanded_conv/depthwise` in tf_keras's MobileNetV3).
    beginnings = {
        "/".join(parts[:n]) for parts in (p.split("/") for p in paths) for n in range(1, len(parts) + 1)
    }

    def resolve(scope: str) -> str | None:
        layer = begun = ""  # the innermost layer so far, and as much of the next one's path as was read
        for part in scope.split(":", maxsplit=1)[0].split("/"):
            names = [part, _SUFFIX.sub("", part)]
            names = names[::-1] if stripped_first else names
            read = [f"{start}{name}" for start in (begun, layer) for name in names]
            path = next((path for path in read if path in beginnings), None)
            if path is not None:
                begun = f"{path}/"
                layer = begun if path in paths else layer
        return layer.rstrip("/") or None

    return resolve
