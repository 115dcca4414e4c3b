"""Labels and metadata travel with a bundle."""

from __future__ import annotations

import numpy as np
import pytest

import keras_trt
from keras_trt._base.tensors import TensorSpec
from keras_trt.errors import BundleError, InputError
from keras_trt.exporting.labels import check_metadata, labels_of

SCORES = TensorSpec("scores", ("batch", 3), "float32")
CLASS = TensorSpec("class", ("batch",), "int64")


def net(k, outputs=1):
    inputs = k.Input((4,))
    made = [k.layers.Dense(3, name=f"scores_{i}")(inputs) for i in range(outputs)]
    return k.Model(inputs, made[0] if outputs == 1 else made)


def test_they_come_back_with_the_engine(k, tmp_path):
    metadata = {"trained": "2026-11-27", "classes": {"größe": [1, 2.5, None, True]}}
    keras_trt.export(
        net(k), tmp_path / "b", engine=None, verbose=0, labels=("Ä", "b", "c"), metadata=metadata
    )
    engine = keras_trt.load(tmp_path / "b", verbose=0)
    assert engine.labels == ["Ä", "b", "c"]
    assert engine.metadata == metadata
    engine.metadata["classes"].clear()  # a copy
    assert engine.metadata == metadata


def test_several_outputs_have_labels_by_name_and_none_are_none(k, tmp_path):
    keras_trt.export(net(k, 2), tmp_path / "b", engine=None, verbose=0, labels={"scores_1": list("abc")})
    assert keras_trt.load(tmp_path / "b", verbose=0).labels == {"scores_1": list("abc")}
    keras_trt.export(net(k), tmp_path / "n", engine=None, verbose=0)
    engine = keras_trt.load(tmp_path / "n", verbose=0)
    assert (engine.labels, engine.metadata) == (None, {})


def test_metadata_takes_the_texts_that_keras_gives_for_a_vocabulary(k, tmp_path):
    layer = k.layers.TextVectorization(8)
    layer.adapt(["a cat", "a dog"])
    words = layer.get_vocabulary()  # Keras 3: str, and np.str_ from the third on
    keras_trt.export(net(k), tmp_path / "b", engine=None, verbose=0, metadata={"words": words})
    assert keras_trt.load(tmp_path / "b", verbose=0).metadata == {"words": ["", "[UNK]", "a", "dog", "cat"]}


@pytest.mark.parametrize(
    ("outputs", "labels", "text"),
    [
        ([SCORES], ["a", "b"], r"has 3 classes on its last axis, `labels` names 2"),
        ([SCORES, CLASS], ["a", "b", "c"], r"has the outputs \['scores', 'class'\]: give `labels` as a dict"),
        ([SCORES], {"other": ["a"]}, r"labels name the output 'other'; there are \['scores'\]"),
        ([SCORES], [1, 2, 3], r"labels\['scores'\] is no list of texts"),
        ([SCORES], "abc", r"labels\['scores'\] is no list of texts"),
        ([SCORES], ["x" * 2**20, "b", "c"], "more than 1,048,576"),
    ],
)
def test_wrong_labels(outputs, labels, text):
    with pytest.raises(InputError, match=text):
        labels_of(labels, outputs)


def test_one_score_tells_two_classes_apart_and_an_integer_is_one_of_any():
    one = TensorSpec("p", ("batch", 1), "float32")
    assert labels_of(["no", "yes"], [one]) == {"p": ("no", "yes")}
    assert labels_of(["a", "b", "c", "d"], [CLASS]) == {"class": ("a", "b", "c", "d")}


def nested(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return {"deep": value}


@pytest.mark.parametrize(
    ("metadata", "text"),
    [
        ([1], "metadata is list, which is no dict"),
        ({"a": {1: 2}}, r"metadata\['a'\] has the key 1, which is no text"),
        ({"a": [np.float32(1)]}, r"metadata\['a'\]\[0\] is of type float32"),
        ({"a": float("nan")}, r"metadata\['a'\] is nan"),
        ({"a": "x" * 2**20}, "more than 1,048,576"),
        (nested(10_000), "goes deeper than 32 levels"),
    ],
)
def test_wrong_metadata(metadata, text):
    with pytest.raises(InputError, match=text):
        check_metadata(metadata)


def test_a_wrong_entry_of_a_manifest_is_an_error_with_its_path(k, tmp_path):
    keras_trt.export(net(k), tmp_path / "b", engine=None, verbose=0, labels=list("abc"))
    path = tmp_path / "b" / "manifest.json"
    path.write_text(path.read_text().replace('"scores_0": [', '"other": ['))
    with pytest.raises(BundleError, match=r"manifest.json`: .*labels name the output 'other'"):
        keras_trt.load(tmp_path / "b", verbose=0)
