"""Language models leave as a prefill and a step, and a loop around the engines writes Keras's tokens."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

from keras_trt import export, generation, load, quantize_model, save_model
from keras_trt.errors import InputError, ModelError
from tests.decoders import LENGTH, VOCABULARY, decoder, empty_cache

generate = runpy.run_path(str(Path(__file__).parent.parent / "examples" / "generate.py"))["generate"]
RUNNERS = ("openvino", "onnxruntime")


def prompts(*lengths, vocabulary=VOCABULARY, length=LENGTH, seed=0):
    """Token ids and their mask, one row for each length of a prompt."""
    mask = (np.arange(length) < np.array(lengths)[:, None]).astype("int32")
    tokens = np.random.default_rng(seed).integers(1, vocabulary, mask.shape).astype("int32")
    return tokens * mask, mask


def without_cache(model, tokens, mask):
    """Greedy generation by calls of the whole model, one for each place."""
    tokens = tokens.copy()
    for place in range(1, tokens.shape[1]):
        logits = np.asarray(model(tokens, training=False))
        free = mask[:, place] == 0
        tokens[free, place] = logits[free, place - 1].argmax(-1)
    return tokens


def engines(models, folder):
    """Bundles with plans for SM89, loaded on each runner of the CPU."""
    for model in models:
        export(
            model, folder / model.name, batch=(1, 2, 4), engine="tensorrt_rtx", compute_capabilities=["SM89"],
            verbose=0,
        )  # fmt: skip
        assert (folder / model.name / "plans" / "tensorrt_rtx-SM89.plan").stat().st_size > 0
    for runner in RUNNERS:
        yield [load(folder / model.name, runner=runner, verbose=0) for model in models]


def pair(model, **options):
    return generation.prefill_model(model, LENGTH, **options), generation.step_model(model, LENGTH, **options)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_engines_generate_what_keras_generates(k, precision, tmp_path):
    model = decoder(k)
    if precision == "int8":
        texts, _ = prompts(*[LENGTH] * 8, seed=1)
        model = quantize_model(model, calibration_data=texts, min_sqnr=None, verbose=0)
    models = pair(model, cache=empty_cache())
    for prefill, step in engines(models, tmp_path):
        for lengths in [(4,), (2, LENGTH, 5)]:
            tokens, mask = prompts(*lengths)
            found = generate(prefill, step, tokens, mask)
            np.testing.assert_array_equal(found, without_cache(model, tokens, mask))
            assert len(np.unique(found[mask == 0])) > 2  # not one token over and over


def test_inputs_and_outputs_have_the_names_that_the_loop_uses(k, tmp_path):
    for model in pair(decoder(k), cache=empty_cache()):
        export(model, tmp_path / model.name, engine=None, verbose=0)
    cache = ("batch", *empty_cache().shape[1:])
    found = [load(tmp_path / name, verbose=0) for name in ("prefill", "step")]
    shapes = [{s.name: s.shape for s in (*e.inputs, *e.outputs)} for e in found]
    assert shapes[0] == {
        "token_ids": ("batch", LENGTH), "padding_mask": ("batch", LENGTH),
        "logits": ("batch", VOCABULARY), "cache": cache,
    }  # fmt: skip
    assert shapes[1] == {
        "token_ids": ("batch", 1), "cache": cache, "cache_update_index": (1,),
        "logits": ("batch", VOCABULARY), "next_cache": cache,
    }  # fmt: skip
    assert found[1].bundle.manifest.batch == (1, 8, 32)


HUB = ["GPT2CausalLM", "LlamaCausalLM"]
SLOW = [
    "BloomCausalLM", "FalconCausalLM", "GPTNeoXCausalLM", "GemmaCausalLM", "GptOssCausalLM", "Llama3CausalLM",
    "MistralCausalLM", "MixtralCausalLM", "OPTCausalLM", "Phi3CausalLM", "Qwen2CausalLM", "Qwen3CausalLM",
    "QwenCausalLM", "SmolLM3CausalLM",
]  # fmt: skip


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("name", [*HUB, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_engines_of_keras_hub_models_generate_what_generate_does(name, precision, tmp_path):
    pytest.importorskip("keras_hub")
    from benchmarks import hub_nets

    sizes = {"vocabulary": hub_nets.VOCABULARY, "length": LENGTH}
    model = hub_nets.build(name)
    for weight in model.trainable_weights:  # as they are made, all logits are close to each other
        weight.assign(weight * (3 if len(weight.shape) > 1 else 1))
    if precision == "int8":
        tokens, mask = prompts(*[LENGTH] * 4, **sizes, seed=1)
        data = {"token_ids": tokens, "padding_mask": mask}
        model = quantize_model(model, calibration_data=data, min_sqnr=None, verbose=0)
    model.compile(sampler="greedy", run_eagerly=True)
    for prefill, step in engines(pair(model), tmp_path):
        for lengths in [(5,), (3, 7, LENGTH)]:
            tokens, mask = prompts(*lengths, **sizes)
            inputs = {"token_ids": tokens, "padding_mask": mask}
            expected = model.generate(inputs, stop_token_ids=None)["token_ids"]
            np.testing.assert_array_equal(generate(prefill, step, tokens, mask), expected)


def test_layers_are_shared(k):
    model = decoder(k)
    prefill, step = pair(model, cache=empty_cache())
    weights = {id(weight) for weight in model.weights}
    assert {id(w) for w in prefill.weights} == {id(w) for w in step.weights} == weights


def test_a_cache_may_be_a_structure_of_tensors_and_the_policy_mixed(k, tmp_path):
    import tensorflow as tf

    class Sums(k.Model):
        """Adds up what it has seen in one tensor, and counts in another."""

        def __init__(self):
            super().__init__(name="sums", dtype="mixed_float16")
            self.table = k.layers.Embedding(VOCABULARY, 4, dtype="mixed_float16")

        def call_with_cache(self, token_ids, cache, cache_update_index, padding_mask=None):
            x = self.table(token_ids)
            if padding_mask is not None:
                x = x * tf.cast(padding_mask, x.dtype)[..., None]
            total = cache["sums"][0][:, None] + tf.cumsum(x, axis=1)
            return total, {"sums": (total[:, -1],), "count": cache["count"] + 1}

        def call(self, token_ids):
            return self.table(token_ids)

    model = Sums()
    model(np.zeros((1, LENGTH), "int32"))
    cache = {"sums": (np.zeros((1, 4), "float32"),), "count": np.zeros((1, 1), "int32")}
    tokens, mask = prompts(3, 6)
    table = np.asarray(model.table.embeddings)
    for prefill, step in engines(pair(model, cache=cache), tmp_path):
        first = prefill.predict_on_batch({"token_ids": tokens, "padding_mask": mask})
        sums = (table[tokens] * mask[..., None]).sum(1)
        assert first["logits"].dtype == np.float16  # as the model's own function gives them
        np.testing.assert_allclose(first["cache"]["sums"][0], sums, rtol=1e-3)
        np.testing.assert_allclose(first["logits"], sums, rtol=1e-3)
        inputs = {"token_ids": tokens[:, :1], "cache": first["cache"], "cache_update_index": [3]}
        second = step.predict_on_batch(inputs)
        np.testing.assert_array_equal(second["next_cache"]["count"], [[2], [2]])
        np.testing.assert_allclose(second["logits"], sums + table[tokens[:, 0]], rtol=2e-3, atol=1e-4)
        assert {spec.name for spec in step.inputs} >= {"cache_sums_0", "cache_count"}


def test_any_function_of_a_model_leaves_as_a_model(k, tmp_path):
    import tensorflow as tf

    x = k.Input((6,), name="x")
    hidden = k.layers.Dense(4, activation="relu", name="encoder")(x)
    model = k.Model(x, k.layers.Dense(6, name="decoder")(hidden), name="autoencoder")

    def decode(model, codes):
        return [model.get_layer("decoder")(codes), codes * 2.0]

    decoding = generation.function_model(model, decode, {"codes": tf.TensorSpec((None, 4), "float32")})
    assert decoding.name == "decode"
    export(decoding, tmp_path / "decoder", engine=None, verbose=0)
    codes = np.random.default_rng(0).random((3, 4), "float32")
    found = load(tmp_path / "decoder", verbose=0).predict({"codes": codes}, verbose=0)
    np.testing.assert_allclose(found[0], model.layers[-1](codes), atol=1e-6)
    np.testing.assert_allclose(found[1], codes * 2, atol=1e-6)


def test_a_model_without_a_cached_step_is_refused(k):
    model = k.Sequential([k.Input((3,)), k.layers.Dense(2)])
    with pytest.raises(
        ModelError, match=r"Sequential has no method `call_with_cache\(token_ids, cache, cache_u"
    ):
        generation.prefill_model(model, 8)
    model.call_with_cache = lambda token_ids, cache: None
    with pytest.raises(ModelError, match=r"its own takes \['token_ids', 'cache'\].*function_model"):
        generation.step_model(model, 8)


def test_a_cache_of_unknown_shape_is_refused(k):
    with pytest.raises(ModelError, match=r"Decoder has no method `_build_cache`.*one row as `cache`"):
        generation.step_model(decoder(k), LENGTH)
    with pytest.raises(InputError, match=r"`cache` must be an array or a nest of arrays.*Received: 3"):
        generation.step_model(decoder(k), LENGTH, cache=3)


@pytest.mark.parametrize("length", [None, 0, 2.5])
def test_a_length_is_a_whole_number(k, length):
    with pytest.raises(InputError, match="`max_length` must be"):
        generation.prefill_model(decoder(k), length, cache=empty_cache())


def test_what_is_given_for_a_function_is_checked(k):
    model = k.Sequential([k.Input((3,)), k.layers.Dense(2)])
    with pytest.raises(InputError, match="`function` must be a function"):
        generation.function_model(model, 3, {})
    with pytest.raises(InputError, match="`inputs` must be a dict of what has a shape and a dtype"):
        generation.function_model(model, lambda model, x: x, {"x": (None, 3)})


def test_saving_names_what_to_save(k, tmp_path):
    prefill, _ = pair(decoder(k), cache=empty_cache())
    with pytest.raises(ModelError, match="'prefill' computes a Python function of the model 'decoder'"):
        save_model(prefill, tmp_path / "prefill.keras")
