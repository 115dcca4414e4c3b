"""What `quantize_model` is asked to do with the layers of a model, by its arguments or by a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from keras_trt._keras.flavor import Flavor
from keras_trt._keras.select import located
from keras_trt._keras.types import Choices, Model
from keras_trt.placement.schemes import schemes_by_choice
from keras_trt.quantize.calibrators import calibrator
from keras_trt.quantize.costs.budget import Budget
from keras_trt.quantize.recipes.follow import choices
from keras_trt.quantize.recipes.recipe import Recipe


@dataclass(frozen=True)
class Request:
    """Which layers are quantised and how, checked.

    Attributes:
        scheme, only, skip, placement, ranges, method: As in `quantize_model`.
        recover: The names of the recoveries.
        goal: A budget, the least ratio of signal to noise in dB, or None for neither.
        recipe: A recipe with the paths of the model.
    """

    scheme: object
    only: Choices | None
    skip: Choices
    placement: str
    ranges: Mapping[str, float]
    method: object
    recover: Sequence[str]
    goal: Budget | float | None
    recipe: Recipe | None = None

    @property
    def options(self) -> tuple[object, ...]:
        """All of it that changes what a budget measures."""
        formats = schemes_by_choice(self.scheme)
        return (
            formats,
            calibrator(self.method),
            self.only,
            self.skip,
            self.placement,
            self.ranges,
            self.recover,
        )

    def by_recipe(self, recipe: Recipe, has_data: bool) -> Request:
        """The same with what a recipe says; what it recovered takes data."""
        return replace(
            self,
            scheme=recipe.schemes,
            skip=recipe.in_float,
            placement="all",  # which are in float, it says itself
            recover=recipe.recover if has_data else (),
            goal=None,
            recipe=recipe,
        )

    def to(self, flavor: Flavor, model: Model, copy: Model) -> Request:
        """The same to a copy of the model, of which the choices name the layers."""
        if self.recipe is not None:
            scheme, skip = choices(flavor, copy, self.recipe)
            return replace(self, scheme=scheme, skip=skip)
        only, skip = (located(flavor, model, choice, copy) for choice in (self.only, self.skip))
        if not isinstance(self.scheme, Mapping):
            return replace(self, only=only, skip=skip)
        formats = {located(flavor, model, choice, copy): named for choice, named in self.scheme.items()}
        return replace(self, scheme=formats, only=only, skip=skip)
