"""The model card of a bundle, as the Hub's own package reads it."""

from __future__ import annotations

import json

import pytest

import keras_trt
from keras_trt.errors import InputError
from tests.small_onnx import conv_model, save_bundle

NAMES = tuple(f"class {i}" for i in range(30))


def metadata(text):
    """What the Hub reads: YAML between two lines, which is JSON here."""
    head = text.split("---\n")[1]
    return {key: value for key, _, value in (line.partition(": ") for line in head.splitlines())}


def test_a_card_says_how_the_bundle_is_loaded_and_what_it_takes(tmp_path):
    path = save_bundle(tmp_path / "b", conv_model(), precision="int8+fp16", labels={"y": NAMES})
    text = keras_trt.inspect(path).to_card(path / "README.md", repo_id="me/net")
    assert (path / "README.md").read_text(encoding="utf-8") == text
    assert metadata(text)["library_name"] == "keras-trt"
    assert json.loads(metadata(text)["tags"]) == ["keras", "onnx", "tensorrt", "int8", "fp16"]
    assert 'keras_trt.load(huggingface_hub.snapshot_download("me/net"))' in text
    assert "| input | x | (batch, 4, 8, 8) | float32 |" in text
    assert "class 19 and 10 more." in text
    assert "class 20" not in text
    assert keras_trt.inspect(path).intact  # a card is no part of the bundle
    assert keras_trt.load(path, verbose=0).labels == list(NAMES)


def test_nothing_in_a_bundle_becomes_markup(tmp_path):
    evil = "a|b\n# title <script> `x` [y](z)"
    text = keras_trt.inspect(save_bundle(tmp_path / "b", conv_model(), name=evil)).to_card()
    assert "# a\\|b \\# title \\<script\\> \\`x\\` \\[y\\](z)" in text.splitlines()


def test_the_hubs_own_package_reads_it(tmp_path):
    hub = pytest.importorskip("huggingface_hub")
    text = keras_trt.inspect(save_bundle(tmp_path / "b", conv_model())).to_card()
    data = hub.ModelCard(text).data
    assert (data.library_name, data.tags) == ("keras-trt", ["keras", "onnx", "tensorrt", "float32"])


def test_it_is_written_where_it_can_be(tmp_path):
    report = keras_trt.inspect(save_bundle(tmp_path / "b", conv_model()))
    with pytest.raises(InputError, match="There is no folder"):
        report.to_card(tmp_path / "no" / "README.md")
    with pytest.raises(InputError, match="`repo_id` must be a text"):
        report.to_card(repo_id="")
