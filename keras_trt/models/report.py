"""What is quantised and pruned in a model, layer by layer, and why the rest is not."""

from __future__ import annotations

from itertools import product
from typing import Any

from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Model
from keras_trt.prune.facts import facts_by_layer, total_sparsity
from keras_trt.quantize.decide import decide, left_float
from keras_trt.quantize.inventory import SWITCHED_OFF, quantizers_of
from keras_trt.reports import Report
from keras_trt.tfmot.accept import accept
from keras_trt.twins.twins import is_quantized, is_silent
from keras_trt.twins.types import Twin


def report(model: Model) -> Report:
    """What is quantised and pruned in a model, layer by layer, what is not, and why.

    Args:
        model: A built Keras 3 or tf_keras model, quantised or not.

    Returns:
        A report with the columns layer, kind, quantised, amax (the activation ranges; empty while
        unknown), scheme, reason (why it is not quantised) and sparsity (share of zeros in the kernels).
        With zeros in the model also pattern and target (what was asked for) and tensorrt (whether
        TensorRT can use the zeros, or why not).

    Example:
        >>> print(keras_trt.report(quantized))
    """
    flavor, model, notes = accept(model)
    pruning = facts_by_layer(flavor, model)
    columns = ("pattern", "target", "sparsity", "tensorrt")
    rows = [row | (pruning.get(row["layer"]) or dict.fromkeys(columns)) for row in rows_of(flavor, model)]
    quantized = sum(bool(row["quantised"]) for row in rows)
    title = f"{model.name}: {quantized} of {len(rows)} layers quantised"
    if any(row["pattern"] or row["sparsity"] for row in rows):
        title += f", {total_sparsity(model):.1%} zeros"
    else:
        for row, column in product(rows, ("pattern", "target", "tensorrt")):
            del row[column]  # nothing to say about a model without zeros
    return Report(title, tuple(rows), notes)


def rows_of(flavor: Flavor, model: Model) -> list[dict[str, Any]]:
    """The rows of a report without what pruning did, which needs no look at the weights.

    Args:
        flavor: The model's Keras.
        model: A built model without wrappers of TF-MOT.
    """
    decisions = decide(flavor, model)
    rows = []
    twins = {path: layer for path, layer in flavor.walk(model) if is_quantized(layer)}
    for path, layer in flavor.walk(model):
        decision, twin = decisions[path], twins.get(path)
        ranges = [float(flavor.array(q.amax)) for q in quantizers_of(twin)] if twin is not None else []
        reason = decision.reason if twin is not None else left_float(flavor, layer, decision, bool(twins))
        rows.append(
            {
                "layer": path,
                "kind": decision.kind,
                "quantised": _quantised(twin) if twin is not None else "",
                "amax": ", ".join(f"{amax:.4g}" for amax in ranges if amax > 0),
                "scheme": twin.quantization.scheme.name if twin is not None else "",
                "reason": SWITCHED_OFF if is_silent(layer) else reason,
            }
        )
    return rows


def _quantised(twin: Twin) -> str:
    scheme = twin.quantization
    inputs = [f"input {i}" if len(scheme.inputs) > 1 or i else "input" for i in scheme.inputs]
    more = [*(["products inside"] if scheme.inner else []), *(["equalised"] if scheme.equalized else [])]
    return ", ".join([*inputs, *scheme.kernels, *more])
