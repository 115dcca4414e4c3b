"""Functions of a model as models of their own, such as the two that a loop needs to generate text.

The models made here hold the very layers of the given one, quantisers included. They go the normal road:
`export`, `load`, `predict`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from types import ModuleType
from typing import Any

from keras_trt._base.arguments import check_count, check_function, check_mapping, check_text, wrong_argument
from keras_trt._base.nests import Nest, leaves_of, map_nest
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.flavor_of import check_model
from keras_trt._keras.rebuilding import function_model as functions
from keras_trt._keras.types import Model, Tensor
from keras_trt.errors import ModelError

__all__ = ["function_model", "prefill_model", "step_model"]

_STEP = ("token_ids", "cache", "cache_update_index")


def function_model(
    model: Model, function: Callable[..., object], inputs: Mapping[str, object], *, name: str | None = None
) -> Model:
    """A model that computes another function of a model than its `call`: an encoder, a step of a decoder.

    Args:
        model: A built Keras 3 or tf_keras model, quantised or not; its layers are shared, not copied.
        function: Called as `function(model, **inputs)`, with tensors. Returns a tensor, or a list, tuple or
            dict of tensors; the keys of a dict name the outputs.
        inputs: By argument, what has a `.shape` (first axis None where it is the batch) and a `.dtype`, as a
            `tf.TensorSpec` has, or a list, tuple or dict of these.
        name: Of the new model; by default the function's.

    Returns:
        A functional model of the same Keras. It cannot be saved as a `.keras` file: save `model`.

    Raises:
        ModelError: Not a built model.
        InputError: A wrong argument.

    Example:
        >>> encoder = keras_trt.generation.function_model(
        ...     vae, lambda vae, image: vae.encoder(image), {"image": tf.TensorSpec((None, 8, 8, 1))}
        ... )
        >>> report = keras_trt.export(encoder, "encoder.bundle")
    """
    flavor = check_model(model)
    check_function(function, "function", optional=False)
    specs = check_mapping(inputs, "inputs")
    leaves = list(leaves_of(specs))
    if not leaves or not all(hasattr(leaf, "shape") and hasattr(leaf, "dtype") for leaf in leaves):
        raise wrong_argument("inputs", "a dict of what has a shape and a dtype, as tf.TensorSpec", inputs)
    if name is None:
        name = getattr(function, "__name__", "function").strip("<>_")
    return functions.function_model(flavor, model, function, specs, check_text(name, "name"))


def prefill_model(model: Model, max_length: int, *, cache: object = None) -> Model:
    """The first step of generating: a prompt in, the first new token's logits and a filled cache out.

    Args:
        model: A built causal language model with a method `call_with_cache(token_ids, cache,
            cache_update_index)` that returns the logits first and the cache last, as keras-hub's have it.
            Quantise it before.
        max_length: The tokens of a prompt and its answer together.
        cache: The cache of one row, an array or a nest of arrays, (1, ...): its shapes and types are taken.
            None asks the method `_build_cache` of keras-hub's models.

    Returns:
        A model that shares the layers. Inputs: `token_ids` and `padding_mask`, both int32 (batch,
        max_length), the mask 1 for the prompt, which comes first, and 0 behind it. Outputs: `logits`, float
        (batch, vocabulary), those of the token behind each prompt, and `cache`, as `step_model` takes it.

    Raises:
        ModelError: Not a built model, or without such methods.
        InputError: A wrong argument.

    Example:
        >>> prefill = keras_trt.generation.prefill_model(lm, 128)
        >>> report = keras_trt.export(prefill, "prefill.bundle", batch=1)
    """
    flavor, specs = _checked(model, max_length, cache)
    text = flavor.tf.TensorSpec((None, max_length), "int32")
    function = partial(_prefill, flavor.tf, specs)
    inputs = {"token_ids": text, "padding_mask": text}
    return functions.function_model(flavor, model, function, inputs, "prefill")


def step_model(model: Model, max_length: int, *, cache: object = None) -> Model:
    """One step of generating: the newest token and the cache in, the next token's logits and the cache out.

    Args:
        model: See `prefill_model`.
        max_length: See `prefill_model`.
        cache: See `prefill_model`.

    Returns:
        A model that shares the layers. Inputs: `token_ids`, int32 (batch, 1); `cache`; `cache_update_index`,
        int32 (1,), the place of these tokens in the text, the same for all rows. Outputs: `logits`, float
        (batch, vocabulary), of the token behind it, and `next_cache`, for the next step.

    Raises:
        ModelError: Not a built model, or without such methods.
        InputError: A wrong argument.

    Example:
        >>> step = keras_trt.generation.step_model(lm, 128)
        >>> report = keras_trt.export(step, "step.bundle", batch=1)
    """
    flavor, specs = _checked(model, max_length, cache)
    spec = flavor.tf.TensorSpec
    inputs = {
        "token_ids": spec((None, 1), "int32"),
        "cache": specs,
        "cache_update_index": spec((1,), "int32"),
    }
    return functions.function_model(flavor, model, partial(_step, flavor.tf, specs), inputs, "step")


def _prefill(tf: ModuleType, specs: Nest, model: Any, token_ids: object, padding_mask: Any) -> dict[str, Any]:
    rows, given = tf.shape(token_ids)[0], tf.not_equal(padding_mask, 0)
    empty = map_nest(lambda spec, _: tf.zeros([rows, *spec.shape[1:]], spec.dtype), specs)
    takes_mask = "padding_mask" in inspect.signature(model.call_with_cache).parameters
    options = {"padding_mask": given} if takes_mask else {}
    logits, cache = _call(tf, specs, model, token_ids, empty, 0, **options)
    last = tf.maximum(tf.reduce_sum(tf.cast(given, "int32"), axis=-1) - 1, 0)
    return {"logits": tf.gather(logits, last, batch_dims=1), "cache": cache}


def _step(
    tf: ModuleType, specs: Nest, model: Model, token_ids: Any, cache: object, cache_update_index: Any
) -> dict[str, Any]:
    logits, cache = _call(tf, specs, model, token_ids, cache, cache_update_index[0])
    return {"logits": logits[:, 0], "next_cache": cache}


def _call(
    tf: Any, specs: Nest, model: Any, token_ids: Any, cache: object, index: Any, **options: object
) -> tuple[Any, Any]:
    """Logits and cache; the cache leaves as it comes, in mixed precision too."""
    mixed = model.compute_dtype != model.variable_dtype

    def computed(tensor: Any, _: object) -> Any:
        usual = mixed and tensor.dtype == model.variable_dtype
        return tf.cast(tensor, model.compute_dtype) if usual else tensor

    logits, *_, written = model.call_with_cache(token_ids, map_nest(computed, cache), index, **options)
    types = iter(spec.dtype for spec in leaves_of(specs))
    return logits, map_nest(lambda tensor, _: tf.cast(tensor, next(types)), written)


def _checked(model: Model, max_length: Any, cache: object) -> tuple[Flavor, Nest]:
    """The model's Keras, and the specs of its cache with an open batch."""
    flavor = check_model(model)
    if max_length is None:
        raise wrong_argument("max_length", "a whole number >= 1", max_length)
    check_count(max_length, "max_length")
    method = getattr(model, "call_with_cache", None)
    takes = list(inspect.signature(method).parameters) if callable(method) else None
    if takes is None or takes[:3] != list(_STEP):
        raise ModelError(
            f"{type(model).__name__} has no method `call_with_cache({', '.join(_STEP)})`: "
            + ("none at all." if takes is None else f"its own takes {takes}.")
            + " Write the step as a function of the model and pass it to `generation.function_model`."
        )
    template = _built(flavor, model, max_length) if cache is None else cache
    return flavor, map_nest(partial(_spec, flavor, model), template)


def _spec(flavor: Flavor, model: Any, tensor: Tensor, _: str | None) -> Any:
    if not (hasattr(tensor, "shape") and hasattr(tensor, "dtype") and len(tensor.shape)):
        raise wrong_argument("cache", "an array or a nest of arrays, (1, ...) each", tensor)
    dtype = flavor.tf.as_dtype(tensor.dtype).name
    dtype = model.variable_dtype if dtype == model.compute_dtype else dtype
    return flavor.tf.TensorSpec((None, *tensor.shape[1:]), dtype)


def _built(flavor: Flavor, model: Model, max_length: int) -> Nest:
    """The cache that keras-hub's `_build_cache` would fill, for one row; traced only, nothing is computed."""
    build = getattr(model, "_build_cache", None)
    if not callable(build):
        raise ModelError(
            f"{type(model).__name__} has no method `_build_cache` that says the shape of its cache. Pass an "
            "empty cache of one row as `cache`."
        )
    takes = inspect.signature(build).parameters.values()
    needed = [p.name for p in takes if p.default is p.empty]
    text = flavor.tf.TensorSpec((1, max_length), "int32")
    given = {name: text for name in needed if name in ("token_ids", "padding_mask")}
    # Images and the like are None in keras-hub where there is text alone.
    absent = dict.fromkeys(name for name in needed if name not in given)
    function = flavor.tf.function(lambda **texts: build(**texts, **absent)[-1], autograph=False)
    return function.get_concrete_function(**given).structured_outputs
