"""Einsums of many letters: attention over the places of images and videos."""

import itertools

import pytest

import keras_trt
from keras_trt.convert.einsum_orders import orders


def test_few_letters_are_tried_in_all_orders():
    letters = sorted("abcde")
    assert set(orders("aecd,abcd->acbe", letters)) == set(itertools.permutations(letters))


def test_of_many_letters_those_that_are_treated_alike_stay_together():
    equation = "abcdef,abghef->abcdgh"
    tried = list(orders(equation, sorted("abcdefgh")))
    assert len(tried) == len(set(tried)) == 24
    for order in tried:
        assert set(order) == set("abcdefgh")
        for group in ("ab", "cd", "ef", "gh"):
            places = [order.index(letter) for letter in group]
            assert max(places) - min(places) == 1


@pytest.mark.parametrize("shape", [(3, 4, 8), (2, 3, 2, 8)], ids=["image", "video"])
def test_attention_over_many_axes_is_exported_at_once(k, shape, rng, tmp_path):
    inputs = k.Input(shape)
    model = k.Model(inputs, k.layers.MultiHeadAttention(2, 4, name="attention")(inputs, inputs))
    x = rng.standard_normal((4, *shape)).astype("float32")
    report = keras_trt.export(model, tmp_path / "net", engine=None, calibration_data=x, verbose=0)
    assert report.verified_with
