"""Attention computes two products of activations; their four operands are quantised, softmax is not."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from types import CodeType, ModuleType
from typing import Any

from keras_trt._base.private import private
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.kernels import is_keras_own
from keras_trt._keras.types import Tensor
from keras_trt.placement.layer_kinds import ATTENTION

OPERANDS = ("_query", "_key", "_probabilities", "_value")


def is_attention(layer_class: type) -> bool:
    """Whether a class is an attention layer of Keras's own, or one derived from it."""
    own = (cls for cls in layer_class.__mro__ if cls.__name__ in ATTENTION and is_keras_own(cls))
    base = next(own, None)
    if base is None:
        return False
    private(base, "_compute_attention", base.__module__.split(".")[0])
    return True


def computes_by_keras(layer_class: type) -> bool:
    """Whether the two products of an attention layer's class are Keras's own, which `attention` stands for.

    A subclass may have another `_compute_attention`, or a `call` that never comes to it.
    """
    for cls in layer_class.__mro__:
        if is_keras_own(cls):
            return True
        own = {name: set(_names(f)) for name, f in vars(cls).items() if inspect.isfunction(f)}
        if "_compute_attention" in own:
            return False
        leads_there = any("_compute_attention" in names for names in own.values())
        if "call" in own and not leads_there and "call" not in own["call"]:  # of `super().call`
            return False
    return False


def _names(function: Callable[..., object]) -> Iterator[str]:
    """The attributes and globals that a function's code names."""
    codes = [inspect.unwrap(function).__code__]
    for code in codes:
        yield from code.co_names
        codes.extend(constant for constant in code.co_consts if isinstance(constant, CodeType))


def attention(
    flavor: Flavor,
    layer: Any,
    query: Any,
    key: object,
    value: object,
    *,
    attention_mask: Any = None,
    training: object = None,
    use_causal_mask: bool = False,
    return_attention_scores: bool = True,
) -> tuple[Any, Any]:
    """What `_compute_attention` of an attention layer computes, with quantised operands.

    Args:
        flavor: The layer's Keras.
        layer: The twin of a MultiHeadAttention or GroupedQueryAttention.
        query: Projected queries, (batch, targets, heads, width).
        key: Projected keys, (batch, sources, heads, width).
        value: Projected values, (batch, sources, heads, width).
        attention_mask: Boolean, broadcast to (batch, heads, targets, sources); False is not attended to.
        training: Whether dropout is on.
        use_causal_mask: Whether a causal mask is wanted where none is given (Keras 3 builds it late).
        return_attention_scores: Whether the probabilities are wanted; Keras 3 fuses it all without them.

    Returns:
        The attended values, (batch, targets, heads, width), and the probabilities.
    """
    ops = flavor.ops
    quantize = dict(zip(OPERANDS, layer.inner_quantizers, strict=True))
    if use_causal_mask and attention_mask is None:
        attention_mask = layer._compute_causal_mask(query, value)
    q = quantize["_query"](query * ops.cast(_scale(flavor, layer), query.dtype))
    k, v = quantize["_key"](key), quantize["_value"](value)
    heads_first = len(q.shape) == 4  # plain matrix products: einsum's conversion to ONNX hides them
    if heads_first:
        q, k, v = (ops.transpose(x, (0, 2, 1, 3)) for x in (q, k, v))
        scores = ops.product_with_transposed(q, k)
    else:
        scores = ops.einsum(layer._dot_product_equation, k, q)
    fused = heads_first and not return_attention_scores and flavor.fuses_attention(layer)
    softmax = functools.partial(_fused_softmax, ops) if fused else layer._masked_softmax
    probabilities = softmax(scores, attention_mask)
    p = quantize["_probabilities"](layer._dropout_layer(probabilities, training=training))
    if heads_first:
        return ops.transpose(ops.matmul(p, v), (0, 2, 1, 3)), probabilities
    return ops.einsum(layer._combine_equation, p, v), probabilities


def _fused_softmax(ops: ModuleType, scores: Tensor, mask: Tensor | None) -> Tensor:
    """A row that is masked whole gets even probabilities here; Keras's Softmax layer would give it zeros."""
    if mask is not None:
        mask = ops.cast(mask if len(mask.shape) == 4 else mask[:, None], "bool")
        least = -3e4 if ops.dtype_name(scores) == "float16" else -1e9
        scores = ops.where(mask, scores, ops.cast(least, scores.dtype))
    return ops.softmax(scores)


def _scale(flavor: Flavor, layer: Any) -> float:
    """One over the square root of a head's width; the attribute that holds it differs."""
    if isinstance(layer, flavor.keras.layers.MultiHeadAttention):
        return float(private(layer, "_key_dim", flavor.keras.__name__)) ** -0.5
    return float(layer.head_dim) ** -0.5
