"""Small models of keras-hub's classes, made from random weights without a download, and data for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

VOCABULARY, LENGTH, SIDE, CLASSES, STEPS, SOUND = 48, 12, 32, 3, 2, 2048

FIXED = ("Qwen3_5", "RWKV7")
"""Families that loop over a text in Python, and so need its length."""

Make = Callable[[Any], Any]
NETS: dict[str, Make] = {}
"""How to build a model of a class, given `keras_hub.models`."""


def build(name: str) -> Any:
    """A model of the class, always the same."""
    import keras
    import keras_hub

    keras.utils.set_random_seed(0)
    return NETS[name](keras_hub.models)


def data(model: Any, count: int, seed: int) -> Any:
    """Values in the structure of the model's inputs: token ids, masks with padding, images, features."""
    import keras

    rng = np.random.default_rng(seed)
    heard = {"encoder_input_values", "encoder_padding_mask"}  # samples of sound, and which of them count
    names = heard if any(tensor.name == "encoder_input_values" for tensor in model.inputs) else set()
    return keras.tree.map_structure(
        lambda tensor: _values(tensor, count, rng, SOUND if tensor.name in names else LENGTH), model.input
    )


def shapes(model: Any) -> dict[str, Any] | None:
    """Names and sizes of the open axes that the model's inputs have beside the batch, for `export`."""
    import keras

    found: dict[str, Any] = {}
    for tensor, values in zip(model.inputs, keras.tree.flatten(data(model, 1, 0)), strict=True):
        axes = [_axis(a, b) for a, b in zip(tensor.shape[1:], values.shape[1:], strict=True)]
        if any(axes):
            found[tensor._keras_history.operation.name] = (None, *axes)
    if type(model).__name__.startswith(FIXED):
        return {name: tuple(LENGTH if axis == "length" else axis for axis in a) for name, a in found.items()}
    texts = any("length" in axes for axes in found.values())
    return {**found, **({"length": (1, LENGTH, LENGTH + 4)} if texts else {})} or None


def _axis(axis: int | None, size: int) -> Any:
    return None if axis is not None else "length" if size == LENGTH else size


def _values(tensor: Any, count: int, rng: np.random.Generator, length: int = LENGTH) -> np.ndarray:
    name = tensor.name
    open_sizes = [length] if len(tensor.shape) < 4 else [SIDE, SIDE]
    if name in ("points", "labels", "boxes"):
        open_sizes = [1]
    elif name == "masks":
        open_sizes = [1, SIDE // 2, SIDE // 2]
    sizes = iter(open_sizes)
    shape = (count, *(next(sizes) if size is None else size for size in tensor.shape[1:]))
    if name.endswith("padding_mask"):
        mask = np.ones(shape, tensor.dtype)
        mask[0, -3:] = 0
        return mask
    if name == "num_steps":
        return np.full(shape, STEPS, np.int32)
    if "int" in tensor.dtype:
        highest = {"segment_ids": 2, "mask_positions": LENGTH}.get(name, VOCABULARY)
        return rng.integers(0 if highest == 2 else 1, highest, shape).astype("int32")
    if name == "labels":
        return np.ones(shape, "float32")
    return rng.normal(size=shape).astype("float32")


def _class(name: str, **options: Any) -> None:
    NETS[name] = lambda models: getattr(models, name)(**options)


def _task(name: str, backbone: str, **options: Any) -> None:
    def make(models: Any) -> Any:
        return getattr(models, name)(backbone=NETS[backbone](models), preprocessor=None, **options)

    NETS[name] = make


def _classifiers() -> None:
    image = {"image_shape": (SIDE, SIDE, 3)}
    _class("ResNetBackbone", input_conv_filters=[8], input_conv_kernel_sizes=[3],
           block_type="bottleneck_block", stackwise_num_filters=[64, 16, 16], stackwise_num_blocks=[1, 1, 1],
           stackwise_num_strides=[1, 2, 2],
           **image)  # fmt: skip
    _class("DenseNetBackbone", stackwise_num_repeats=[2, 2], growth_rate=8, **image)
    _class("VGGBackbone", stackwise_num_repeats=[1, 1], stackwise_num_filters=[8, 16], **image)
    _class("XceptionBackbone", stackwise_conv_filters=[[8, 16], [32, 32], [32, 32]],
           stackwise_pooling=[True, True, False], **image)  # fmt: skip
    _class("CSPNetBackbone", stem_filters=8, stem_kernel_size=3, stem_strides=1, stackwise_depth=[1, 1],
           stackwise_strides=[1, 2], stackwise_num_filters=[16, 32], block_type="dark_block",
           stage_type="csp", expand_ratio=[2.0, 1.0], bottle_ratio=[0.5, 1.0], block_ratio=[1.0, 0.5],
           **image)  # fmt: skip
    _class("EfficientNetBackbone", stackwise_kernel_sizes=[3, 3], stackwise_num_repeats=[1, 1],
           stackwise_input_filters=[16, 16], stackwise_output_filters=[16, 24], stackwise_strides=[1, 2],
           stackwise_expansion_ratios=[1, 2], stackwise_squeeze_and_excite_ratios=[0.0, 0.25],
           stackwise_block_types=["fused", "unfused"], stackwise_width_coefficients=[1.0, 1.0],
           stackwise_depth_coefficients=[1.0, 1.0], input_shape=(SIDE, SIDE, 3))  # fmt: skip
    _class("MobileNetBackbone", stackwise_expansion=[[16, 24], [32, 32]], stackwise_num_blocks=[2, 2],
           stackwise_num_filters=[[8, 8], [16, 16]], stackwise_kernel_size=[[3, 3], [5, 5]],
           stackwise_num_strides=[[2, 1], [2, 1]], stackwise_se_ratio=[[None, None], [0.25, 0.25]],
           stackwise_activation=[["relu", "relu"], ["hard_swish", "hard_swish"]],
           stackwise_padding=[[1, 1], [2, 2]], output_num_filters=32, depthwise_filters=8, depthwise_stride=2,
           depthwise_residual=False, last_layer_filter=32, squeeze_and_excite=0.5, **image)  # fmt: skip
    _class("HGNetV2Backbone", depths=[1, 1], embedding_size=8, hidden_sizes=[16, 32], stem_channels=[3, 8, 8],
           hidden_act="relu", use_learnable_affine_block=True,
           stackwise_stage_filters=[(8, 8, 16, 1, 1, 3), (16, 8, 32, 1, 1, 3)],
           apply_downsample=[False, True],
           use_lightweight_conv_block=[False, True], **image)  # fmt: skip
    vit = {"num_layers": 2, "num_heads": 2, "hidden_dim": 16, **image}
    _class("ViTBackbone", patch_size=8, mlp_dim=32, **vit)
    _class("DeiTBackbone", patch_size=8, intermediate_dim=32, **vit)
    _class("DINOV2Backbone", patch_size=8, intermediate_dim=32, position_embedding_shape=(64, 64),
           num_register_tokens=2, **vit)  # fmt: skip
    _class("DINOV3Backbone", patch_size=8, intermediate_dim=32, **vit)
    _class("SwinTransformerBackbone", embed_dim=8, depths=(2, 2), num_heads=(1, 2), window_size=4,
           patch_size=2, **image)  # fmt: skip
    _class("MiTBackbone", layerwise_depths=[1, 1], num_layers=2, layerwise_num_heads=[1, 2],
           layerwise_sr_ratios=[4, 2], max_drop_path_rate=0.1, layerwise_patch_sizes=[7, 3],
           layerwise_strides=[4, 2], hidden_dims=[16, 32], **image)  # fmt: skip
    for family in ("ResNet", "DenseNet", "Xception", "CSPNet", "EfficientNet", "MobileNet", "HGNetV2", "ViT",
                   "DeiT", "SwinTransformer", "MiT", "VGG"):  # fmt: skip
        _task(
            f"{family}ImageClassifier",
            f"{family}Backbone",
            num_classes=CLASSES,
            **({"pooling_hidden_dim": 32} if family == "VGG" else {}),
        )


def _images() -> None:
    _class("ViTDetBackbone", hidden_size=16, num_layers=2, intermediate_dim=32, num_heads=2, patch_size=8,
           global_attention_layer_indices=[1], num_output_channels=8, window_size=2,
           image_shape=(SIDE, SIDE, 3))  # fmt: skip
    NETS["VAEBackbone"] = _vae
    NETS["RetinaNetBackbone"] = lambda models: models.RetinaNetBackbone(
        image_encoder=NETS["ResNetBackbone"](models), min_level=3, max_level=4, use_p5=False,
        image_shape=(SIDE, SIDE, 3))  # fmt: skip
    NETS["RetinaNetObjectDetector"] = _retinanet
    NETS["DeepLabV3Backbone"] = lambda models: models.DeepLabV3Backbone(
        image_encoder=NETS["ResNetBackbone"](models), low_level_feature_key="P2",
        spatial_pyramid_pooling_key="P4", dilation_rates=[2, 4], upsampling_size=4, projection_filters=8,
        image_shape=(SIDE, SIDE, 3))  # fmt: skip
    _task("DeepLabV3ImageSegmenter", "DeepLabV3Backbone", num_classes=CLASSES)
    NETS["SegFormerBackbone"] = lambda models: models.SegFormerBackbone(
        image_encoder=NETS["MiTBackbone"](models), projection_filters=16)  # fmt: skip
    _task("SegFormerImageSegmenter", "SegFormerBackbone", num_classes=CLASSES)
    NETS["BASNetBackbone"] = _basnet
    _task("BASNetImageSegmenter", "BASNetBackbone")
    NETS["DepthAnythingBackbone"] = _depth_anything
    _task("DepthAnythingDepthEstimator", "DepthAnythingBackbone", depth_estimation_type="relative")
    NETS["DFineBackbone"] = _d_fine
    _task("DFineObjectDetector", "DFineBackbone", num_classes=CLASSES)
    NETS["SAMBackbone"] = _sam
    _task("SAMImageSegmenter", "SAMBackbone")


def _retinanet(models: Any) -> Any:
    from keras_hub.layers import AnchorGenerator

    anchors = AnchorGenerator(bounding_box_format="yxyx", min_level=3, max_level=4, num_scales=1,
                              aspect_ratios=[0.5, 1.0, 2.0], anchor_size=4.0)  # fmt: skip
    return models.RetinaNetObjectDetector(backbone=NETS["RetinaNetBackbone"](models), num_classes=CLASSES,
                                          anchor_generator=anchors, preprocessor=None,
                                          pre_logits_num_conv_layers=1)  # fmt: skip


def _basnet(models: Any) -> Any:
    encoder = models.ResNetBackbone(
        input_conv_filters=[64], input_conv_kernel_sizes=[3], stackwise_num_filters=[64, 64, 64, 64],
        stackwise_num_blocks=[1, 1, 1, 1], stackwise_num_strides=[1, 2, 2, 2], block_type="basic_block",
    )  # fmt: skip
    return models.BASNetBackbone(
        image_encoder=encoder, num_classes=1, projection_filters=64, image_shape=(64, 64, 3)
    )


def _depth_anything(models: Any) -> Any:
    encoder = models.DINOV2Backbone(patch_size=8, num_layers=4, hidden_dim=16, num_heads=2,
                                    intermediate_dim=32,
                                    position_embedding_shape=(64, 64), image_shape=(64, 64, 3),
                                    apply_layernorm=True)  # fmt: skip
    keys = [f"stage{i}" for i in range(1, 5)]
    return models.DepthAnythingBackbone(image_encoder=encoder, reassemble_factors=[4, 2, 1, 0.5],
                                        neck_hidden_dims=[8, 8, 16, 16], fusion_hidden_dim=16,
                                        head_hidden_dim=8, head_in_index=-1, feature_keys=keys)  # fmt: skip


def _d_fine(models: Any) -> Any:
    encoder = models.HGNetV2Backbone(
        depths=[1, 1], embedding_size=8, hidden_sizes=[16, 32], stem_channels=[3, 8, 8], hidden_act="relu",
        use_learnable_affine_block=True, apply_downsample=[False, True],
        stackwise_stage_filters=[[8, 8, 16, 1, 1, 3], [16, 8, 32, 1, 1, 3]],
        use_lightweight_conv_block=[False, False], image_shape=(SIDE, SIDE, 3),
        out_features=["stage1", "stage2"],
    )  # fmt: skip
    return models.DFineBackbone(
        backbone=encoder, decoder_in_channels=[16, 16], encoder_hidden_dim=16, num_denoising=10, num_labels=4,
        hidden_dim=16, learn_initial_query=False, num_queries=10, anchor_image_size=(SIDE, SIDE),
        feat_strides=[4, 8], num_feature_levels=2, encoder_in_channels=[16, 32], encode_proj_layers=[1],
        num_attention_heads=2, encoder_ffn_dim=32, num_encoder_layers=1, hidden_expansion=0.5,
        depth_multiplier=0.5, eval_idx=-1, num_decoder_layers=1, decoder_attention_heads=2,
        decoder_ffn_dim=32, decoder_n_points=[2, 2], lqe_hidden_dim=16, num_lqe_layers=1, seed=0,
        out_features=["stage1", "stage2"], image_shape=(SIDE, SIDE, 3),
    )  # fmt: skip


def _sam(models: Any) -> Any:
    from keras_hub.layers import SAMMaskDecoder, SAMPromptEncoder

    grid = (SIDE // 8, SIDE // 8)
    return models.SAMBackbone(
        image_encoder=NETS["ViTDetBackbone"](models),
        prompt_encoder=SAMPromptEncoder(hidden_size=8, image_embedding_size=grid,
                                        input_image_size=(SIDE, SIDE), mask_in_channels=8),
        mask_decoder=SAMMaskDecoder(num_layers=2, hidden_size=8, intermediate_dim=16, num_heads=2,
                                    embedding_dim=8, num_multimask_outputs=3, iou_head_depth=2,
                                    iou_head_hidden_dim=8),
    )  # fmt: skip


def _encoders() -> None:
    size = {"num_layers": 2, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32}
    text = {"vocabulary_size": VOCABULARY, **size}
    short = {"max_sequence_length": LENGTH + 4}
    for family in ("Bert", "DistilBert", "Roberta", "XLMRoberta", "Bart", "GPT2", "OPT"):
        _class(f"{family}Backbone", **text, **short)
    _class("AlbertBackbone", embedding_dim=8, **text, **short)
    _class("DebertaV3Backbone", bucket_size=4, **text, **short)
    _class("ElectraBackbone", vocab_size=VOCABULARY, embedding_dim=8, **size, **short)
    _class("FNetBackbone", **{k: v for k, v in text.items() if k != "num_heads"}, **short)
    _class("RoformerV2Backbone", head_size=8, **text)
    _class("ESMBackbone", **text)
    _class("XLNetBackbone", **text)
    for family in (
        "Albert",
        "Bert",
        "DebertaV3",
        "DistilBert",
        "FNet",
        "Roberta",
        "XLMRoberta",
        "RoformerV2",
    ):
        _task(f"{family}TextClassifier", f"{family}Backbone", num_classes=CLASSES)
        _task(f"{family}MaskedLM", f"{family}Backbone")
    _task("BertTextEmbedder", "BertBackbone")
    _task("ESMMaskedPLM", "ESMBackbone")
    _task("ESMProteinClassifier", "ESMBackbone", num_classes=CLASSES)


def _decoders() -> None:
    text = {"vocabulary_size": VOCABULARY, "num_layers": 2, "hidden_dim": 16, "intermediate_dim": 32}
    heads = {"num_query_heads": 2, "num_key_value_heads": 1}
    experts = {"num_experts": 4, "top_k": 2}
    moe = {"moe_intermediate_dim": 16}
    _class("BloomBackbone", num_heads=2, **text)
    _class("FalconBackbone", num_attention_heads=2, **text)
    _class("GPTNeoXBackbone", num_heads=2, max_sequence_length=LENGTH + 4, **text)
    _class("GemmaBackbone", head_dim=8, **heads, **text)
    for family in ("Llama", "Llama3", "Mistral", "Phi3", "Qwen", "Qwen2"):
        _class(f"{family}Backbone", **heads, **text)
    _class("Qwen3Backbone", head_dim=8, **heads, **text)
    _class("MixtralBackbone", **experts, **heads, **text)
    _class("QwenMoeBackbone", shared_expert_intermediate_dim=16, **moe, **experts, **heads, **text)
    _class("Qwen3MoeBackbone", head_dim=8, **moe, **experts, **heads, **text)
    _class("GptOssBackbone", head_dim=8, **experts, **heads, **text)
    _class("SmolLM3Backbone", num_attention_heads=2, num_key_value_heads=1, attention_bias=False,
           attention_dropout=0.0, rope_layer_enabled_list=[True] * 2, layer_types=["attention"] * 2,
           mlp_bias=False, layer_norm_epsilon=1e-5, max_position_embeddings=32, rope_theta=10000.0,
           partial_rotary_factor=1.0, **text)  # fmt: skip
    for family in ("GPT2", "OPT", "Bloom", "Falcon", "GPTNeoX", "Gemma", "Llama", "Llama3", "Mistral", "Phi3",
                   "Qwen", "Qwen2", "Qwen3", "Mixtral", "QwenMoe", "Qwen3Moe", "GptOss",
                   "SmolLM3"):  # fmt: skip
        _task(f"{family}CausalLM", f"{family}Backbone")


def _pairs() -> None:
    text = {"vocabulary_size": VOCABULARY, "num_layers": 2, "num_heads": 2, "hidden_dim": 16,
            "intermediate_dim": 32}  # fmt: skip
    _class("T5Backbone", **text)
    _task("BartSeq2SeqLM", "BartBackbone")
    _task("T5Seq2SeqLM", "T5Backbone")
    _class("WhisperBackbone", num_mels=8, max_encoder_sequence_length=2 * LENGTH,
           max_decoder_sequence_length=LENGTH + 4, **text)  # fmt: skip
    vision = {"patch_size": 8, "hidden_dim": 16, "num_layers": 2, "num_heads": 2, "intermediate_dim": 32,
              "image_shape": (SIDE, SIDE, 3)}  # fmt: skip
    words = {"embedding_dim": 16, "max_sequence_length": LENGTH, **text}
    for family in ("CLIP", "SigLIP"):
        more = {"projection_dim": 16} if family == "SigLIP" else {}
        _class(f"{family}VisionEncoder", **vision)
        _class(f"{family}TextEncoder", **words, **more)
    NETS["CLIPBackbone"] = lambda models: models.CLIPBackbone(
        NETS["CLIPVisionEncoder"](models), NETS["CLIPTextEncoder"](models), projection_dim=16)  # fmt: skip
    NETS["SigLIPBackbone"] = lambda models: models.SigLIPBackbone(
        NETS["SigLIPVisionEncoder"](models), NETS["SigLIPTextEncoder"](models))  # fmt: skip
    NETS["StableDiffusion3Backbone"] = _stable_diffusion
    _task("StableDiffusion3TextToImage", "StableDiffusion3Backbone")


def _vae(models: Any) -> Any:
    from keras_hub.src.models.vae.vae_backbone import VAEBackbone

    sizes = {f"{part}_num_{what}": [n] * 4 for part in ("encoder", "decoder")
             for what, n in (("filters", 32), ("blocks", 1))}  # fmt: skip
    return VAEBackbone(**sizes, sampler_method="mode", name="vae")


def _stable_diffusion(models: Any) -> Any:
    text = {"vocabulary_size": VOCABULARY, "num_layers": 2, "num_heads": 2, "intermediate_dim": 32,
            "intermediate_output_index": -2, "max_sequence_length": LENGTH}  # fmt: skip
    model = models.StableDiffusion3Backbone(
        mmdit_patch_size=2, mmdit_hidden_dim=32, mmdit_num_layers=2, mmdit_num_heads=2,
        mmdit_position_size=16,
        mmdit_qk_norm=None, mmdit_dual_attention_indices=None, vae=_vae(models), image_shape=(64, 64, 3),
        clip_l=models.CLIPTextEncoder(embedding_dim=16, hidden_dim=16, name="clip_l", **text),
        clip_g=models.CLIPTextEncoder(embedding_dim=16, hidden_dim=16, name="clip_g", **text),
    )  # fmt: skip
    model.configure_scheduler(STEPS)  # as `generate` does
    return model


for section in (_classifiers, _images, _encoders, _decoders, _pairs):
    section()
