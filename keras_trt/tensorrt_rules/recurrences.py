"""How much of a quantised graph lies in recurrences, which TensorRT computes in float."""

from __future__ import annotations

from collections.abc import Iterable

from keras_trt.tensorrt_rules.stats import Product, float_work

_SHARE = 0.01  # of a graph's multiply-accumulates; less is not worth a sentence
_NAMED = 5


def recurrent_work(counted: Iterable[Product], precision: str) -> list[str]:
    """A sentence on the recurrences of a quantised graph, none where there are hardly any.

    Args:
        counted: All products of the graph.
        precision: The graph's, e.g. `"int8+fp16"`.
    """
    work = float_work(counted, recurrent=True)
    if sum(work.values()) < _SHARE:
        return []
    largest = sorted(work, key=lambda layer: -work[layer])
    named = ", ".join(f"{layer!r} ({work[layer]:.1%})" for layer in largest[:_NAMED])
    more = f" and {len(work) - _NAMED} more" if len(work) > _NAMED else ""
    narrower = "" if "+" in precision else " `precision='fp16'` computes all that is float in float16."
    return [
        f"Recurrent layers compute {sum(work.values()):.1%} of the multiply-accumulates in float: "
        f"{named}{more}. TensorRT computes recurrences in float, also where their weights lie on a grid: "
        f"quantisation does not make them faster.{narrower}"
    ]
