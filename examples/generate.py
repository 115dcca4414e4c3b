"""A language model that generates outside of Keras: two engines, prefill and step, and a loop.

    pip install '.[keras]' keras-hub
    python examples/generate.py

The weights are random here. A pretrained model is made by
`keras_hub.models.CausalLM.from_preset("gpt2_base_en")`, and its `preprocessor` makes the tokens of a text:
`lm.preprocessor.generate_preprocess(["Keras is"], sequence_length=LENGTH)`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import keras_trt
from keras_trt import generation

LENGTH, VOCABULARY = 32, 500


def generate(prefill: Any, step: Any, token_ids: np.ndarray, padding_mask: np.ndarray) -> np.ndarray:
    """Writes the likeliest token behind each prompt, again and again until the rows are full.

    Args:
        prefill: `generation.prefill_model`, or an engine of it.
        step: `generation.step_model`, or an engine of it.
        token_ids: (batch, length), int32; each row begins with its prompt, of one token or more.
        padding_mask: (batch, length), int32: 1 for the prompt, 0 behind it.

    Returns:
        (batch, length), int32; prompts of different lengths are left as they are.
    """
    tokens, prompts, length = token_ids.copy(), padding_mask.sum(axis=1), token_ids.shape[1]
    first = prefill.predict_on_batch({"token_ids": token_ids, "padding_mask": padding_mask})
    cache, index = first["cache"], prompts.min()  # shorter rows generate while longer ones are still read
    for row in np.flatnonzero(prompts < length):
        tokens[row, prompts[row]] = np.argmax(first["logits"][row])
    for place in range(index, length - 1):
        found = step.predict_on_batch(
            {
                "token_ids": tokens[:, place : place + 1],
                "cache": cache,
                "cache_update_index": np.array([place], "int32"),
            }
        )
        cache, free = found["next_cache"], prompts <= place
        tokens[free, place + 1] = np.argmax(found["logits"][free], axis=-1)
    return tokens


def main() -> None:
    import keras_hub

    backbone = keras_hub.models.GPT2Backbone(
        vocabulary_size=VOCABULARY, num_layers=2, num_heads=4, hidden_dim=64, intermediate_dim=128,
        max_sequence_length=LENGTH,
    )  # fmt: skip
    lm = keras_hub.models.GPT2CausalLM(backbone, preprocessor=None)
    rng = np.random.default_rng(0)
    texts = rng.integers(1, VOCABULARY, (16, LENGTH)).astype("int32")
    data = {"token_ids": texts, "padding_mask": np.ones_like(texts)}
    lm = keras_trt.quantize_model(lm, calibration_data=data)

    mask = (np.arange(LENGTH) < np.array([[5], [9], [3]])).astype("int32")
    prompts = texts[:3] * mask
    with tempfile.TemporaryDirectory() as folder:
        models = generation.prefill_model(lm, LENGTH), generation.step_model(lm, LENGTH)
        paths = [Path(folder, model.name) for model in models]
        for model, path in zip(models, paths, strict=True):
            print(keras_trt.export(model, path, batch=(1, 1, 4)))
        answers = generate(*(keras_trt.load(path) for path in paths), prompts, mask)
    lm.compile(sampler="greedy")
    inputs = {"token_ids": prompts, "padding_mask": mask}
    expected = np.asarray(lm.generate(inputs, stop_token_ids=None)["token_ids"])
    print(answers)
    print(f"{(answers == expected).mean():.0%} of the tokens are those of `lm.generate`")


if __name__ == "__main__":
    main()
