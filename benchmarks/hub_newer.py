"""Small models of keras-hub's younger families: several senses, recurrence, diffusion. See `hub_nets`."""

from __future__ import annotations

from typing import Any

from benchmarks.hub_nets import CLASSES, LENGTH, NETS, SIDE, VOCABULARY, _class, _task

TEXT = {"vocabulary_size": VOCABULARY, "num_layers": 2, "hidden_dim": 16, "intermediate_dim": 32}
HEADS = {"num_query_heads": 2, "num_key_value_heads": 1}
VISION = {"patch_size": 8, "hidden_dim": 16, "num_layers": 2, "num_heads": 2, "intermediate_dim": 32}

LEFT_OUT = {
    "BLIP2FlanT5": "not written down yet.",
    "BLIP2Seq2SeqLM": "not written down yet.",
    "FluxTextToImage": "not written down yet: its backbone needs encoders of texts and images.",
    "Gemma3TextEmbedder": "not written down yet: its backbone needs a pooling head.",
    "Gemma3VisionEncoder": "not written down yet.",
    "Gemma3nBackbone": "not written down yet: its attention mask has two open axes of one size.",
    "Gemma3nCausalLM": "not written down yet: as its backbone.",
    "Gemma4AssistantCausalLM": "drafts tokens for another model, and needs it.",
    "Gemma4AudioEncoder": "not written down yet.",
    "Gemma4VisionEncoder": "not written down yet.",
    "PARSeqCausalLM": "cannot be made without a tokenizer.",
    "SAM3PromptableConceptBackbone": "not written down yet: six parts with sizes of their own.",
    "SAM3PromptableConceptImageSegmenter": "not written down yet: as its backbone.",
}
"""The classes that are not made here, and why."""


def not_listed(models: Any) -> list[str]:
    """The model classes of `keras_hub.models` that neither `NETS` nor `LEFT_OUT` knows."""
    import keras

    found = {name: kind for name, kind in vars(models).items() if isinstance(kind, type)}
    listed = {found[name] for name in (*NETS, *LEFT_OUT) if name in found}  # some have two names
    return sorted(
        name
        for name, kind in found.items()
        if issubclass(kind, keras.Model) and kind not in listed and not _is_base(kind)
    )


def _is_base(kind: type) -> bool:
    """Whether a class is what the families build on: it lies beside their folders."""
    return kind.__module__.removeprefix("keras_hub.src.models.").count(".") == 0


def _languages() -> None:
    _class("Gemma3Backbone", image_size=SIDE, head_dim=8, use_sliding_window_attention=True,
           sliding_window_size=4, **HEADS, **TEXT)  # fmt: skip
    _class("Gemma4Backbone", image_size=SIDE, head_dim=8, sliding_window_size=4, **HEADS, **TEXT)
    linear = {"linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim": 8,
              "linear_value_head_dim": 8, "head_dim": 8}  # fmt: skip
    types = {"layer_types": ["linear_attention", "full_attention"]}
    _class("Qwen3_5Backbone", **linear, **types, **HEADS, **TEXT)
    experts = {"moe_intermediate_dim": 16, "shared_expert_intermediate_size": 16, "num_experts": 4,
               "top_k": 2}  # fmt: skip
    rest = {name: value for name, value in TEXT.items() if name != "intermediate_dim"}
    _class("Qwen3_5MoeBackbone", **linear, **types, **experts, **HEADS, **rest)
    _class("RWKV7Backbone", hidden_size=16, head_size=8, num_layers=2, vocabulary_size=VOCABULARY,
           intermediate_dim=32, gate_lora=8, mv_lora=8, aaa_lora=8, decay_lora=8)  # fmt: skip
    for family in ("Gemma3", "Gemma4", "Qwen3_5", "Qwen3_5Moe", "RWKV7"):
        _task(f"{family}CausalLM", f"{family}Backbone")
    for family in ("Qwen3", "XLMRoberta"):
        _task(f"{family}TextEmbedder", f"{family}Backbone")
    sides = {f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in (
        ("hidden_dim", 16), ("intermediate_dim", 32), ("num_layers", 2), ("num_attention_heads", 2),
        ("num_key_value_heads", 1), ("head_dim", 8), ("layer_types", ["full_attention"] * 2),
    )}  # fmt: skip
    _class("T5GemmaBackbone", vocabulary_size=VOCABULARY, **sides)
    _class("T5Gemma2Backbone", vocabulary_size=VOCABULARY, **sides)
    for family in ("T5Gemma", "T5Gemma2"):
        _task(f"{family}Seq2SeqLM", f"{family}Backbone")
    _class("EdRecBackbone", vocab_size=VOCABULARY, num_layers_enc=2, num_layers_dec=2, hidden_dim=16,
           intermediate_dim=32, num_heads=2)  # fmt: skip
    _task("EdRecSeq2SeqLM", "EdRecBackbone")


def _senses() -> None:
    _class("PaliGemmaBackbone", image_size=SIDE, head_dim=8, vit_patch_size=8, vit_num_heads=2,
           vit_hidden_dim=16, vit_num_layers=2, vit_intermediate_dim=32, **HEADS, **TEXT)  # fmt: skip
    _task("PaliGemmaCausalLM", "PaliGemmaBackbone")
    _class("MetaCLIP2VisionEncoder", image_shape=(SIDE, SIDE, 3), **VISION)
    _class("MetaCLIP2TextEncoder", embedding_dim=16, max_sequence_length=LENGTH, num_heads=2, **TEXT)
    NETS["MetaCLIP2Backbone"] = lambda models: models.MetaCLIP2Backbone(
        *(NETS[f"MetaCLIP2{part}Encoder"](models) for part in ("Vision", "Text")),
        projection_dim=16)  # fmt: skip
    _class("BLIP2VisionEncoder", image_size=SIDE, use_patch_bias=True, use_class_token=True,
           use_mha_bias=True, use_mlp_bias=True, dropout_rate=0.0, layer_norm_epsilon=1e-6,
           initializer_range=0.02, **VISION)  # fmt: skip
    _class("BLIP2QFormer", num_query_tokens=4, num_layers=2, num_heads=2, hidden_dim=16, intermediate_dim=32,
           vision_dim=16, cross_attention_frequency=2, dropout=0.0, layer_norm_epsilon=1e-6)  # fmt: skip
    _class("BLIP2CustomOPT", num_heads=2, num_query_tokens=4, dropout=0.0, max_sequence_length=LENGTH + 8,
           qformer_hidden_dim=16, **TEXT)  # fmt: skip
    NETS["BLIP2Backbone"] = lambda models: models.BLIP2Backbone(
        *(NETS[f"BLIP2{part}"](models) for part in ("VisionEncoder", "QFormer", "CustomOPT")))  # fmt: skip
    _task("BLIP2CausalLM", "BLIP2Backbone")
    _class("MoonshineBackbone", vocabulary_size=VOCABULARY, filter_dim=16, encoder_num_layers=2,
           decoder_num_layers=2, hidden_dim=16, intermediate_dim=32, encoder_num_heads=2,
           decoder_num_heads=2)  # fmt: skip
    _task("MoonshineAudioToText", "MoonshineBackbone")
    NETS["PARSeqBackbone"] = lambda models: models.PARSeqBackbone(
        image_encoder=NETS["ViTBackbone"](models), vocabulary_size=VOCABULARY, max_label_length=LENGTH,
        decoder_hidden_dim=16, num_decoder_layers=1, num_decoder_heads=2, decoder_mlp_dim=32)  # fmt: skip
    _class("VideoPrismBackbone", num_frames=2, patch_size=8, hidden_dim=16, intermediate_dim=32, num_heads=2,
           num_spatial_layers=1, num_temporal_layers=1, num_auxiliary_layers=0,
           image_shape=(SIDE, SIDE, 3))  # fmt: skip


def _images() -> None:
    stages = {"block_types": [["er"], ["uir", "uir"]], "num_blocks": [1, 2], "num_filters": [[24], [48, 48]],
              "strides": [[2], [2, 1]], "act_layers": [["relu"], ["relu", "relu"]],
              "exp_ratios": [[4.0], [6.0, 6.0]], "se_ratios": [[0.0], [0.0, 0.0]],
              "dw_kernel_sizes": [[0], [5, 5]], "dw_start_kernel_sizes": [[0], [0, 0]],
              "dw_end_kernel_sizes": [[0], [0, 0]], "exp_kernel_sizes": [[3], [0, 0]],
              "pw_kernel_sizes": [[1], [0, 0]], "num_heads": [[0], [0, 0]], "key_dims": [[0], [0, 0]],
              "value_dims": [[0], [0, 0]], "kv_strides": [[0], [0, 0]],
              "use_cpe": [[False], [False, False]]}  # fmt: skip
    _class("MobileNetV5Backbone", use_msfa=False, image_shape=(SIDE, SIDE, 3),
           **{f"stackwise_{name}": value for name, value in stages.items()})  # fmt: skip
    _task("MobileNetV5ImageClassifier", "MobileNetV5Backbone", num_classes=CLASSES)
    _class("FluxBackbone", input_channels=16, hidden_size=32, mlp_ratio=2.0, num_heads=2, depth=1,
           depth_single_blocks=1, axes_dim=[4, 6, 6], theta=10000, use_bias=True, guidance_embed=True,
           image_shape=(LENGTH, 16), text_shape=(LENGTH, 32), image_ids_shape=(LENGTH, 3),
           text_ids_shape=(LENGTH, 3), y_shape=(32,))  # fmt: skip
    for task in ("ImageToImage", "Inpaint"):
        _task(f"StableDiffusion3{task}", "StableDiffusion3Backbone")


for section in (_languages, _senses, _images):
    section()
