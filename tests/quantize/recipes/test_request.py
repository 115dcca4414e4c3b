"""What arguments and a recipe ask for, and of which of two models."""

from __future__ import annotations

from keras_trt import Recipe, quantize_model
from keras_trt._keras.flavor_of import flavor_of
from keras_trt._keras.select import selected
from keras_trt.quantize.recipes.request import Request
from tests.nets import images, residual_net

ASKED = {"only": None, "placement": "tensorrt", "ranges": {}, "method": "auto", "recover": (), "goal": 30.0}


def test_layers_that_are_named_by_themselves_are_those_of_the_copy(k):
    model = residual_net(k)
    flavor, copy = flavor_of(model), k.models.clone_model(model)
    conv = next(layer for layer in model.layers if type(layer).__name__ == "Conv2D")
    request = Request({conv: "int8"}, skip=[conv], **ASKED).to(flavor, model, copy)
    for choice in (request.skip, *request.scheme):
        chosen = [layer for path, layer in flavor.walk(copy) if selected(path, layer, choice)]
        assert chosen == [copy.get_layer(conv.name)]


def test_a_recipe_takes_the_place_of_arguments_and_recovers_only_with_data(k):
    model = quantize_model(residual_net(k), calibration_data=images(8), skip="probabilities", verbose=0)
    recipe = Recipe.of(model)
    asked = Request("int8", skip=(), **ASKED)
    with_data, without = (asked.by_recipe(recipe, has_data) for has_data in (True, False))
    assert with_data.placement == "all" and with_data.goal is None and with_data.skip == recipe.in_float
    assert with_data.recover == recipe.recover and without.recover == ()
