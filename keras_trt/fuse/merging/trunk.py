"""Models with an equal beginning as one trunk, and what each computes behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from keras_trt._base.nests import Nest
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Model, Tensor
from keras_trt.fuse.merging.shared_prefix import Prefix, shared_prefix


@dataclass(frozen=True)
class Group:
    """Models that begin alike, or one that shares nothing.

    Attributes:
        places: Where they stand in the list of models.
        prefix: What they have in common; of one model, with no other or with the next best.
    """

    places: tuple[int, ...]
    prefix: Prefix | None


def groups_of(flavor: Flavor, models: Sequence[Any]) -> list[Group]:
    """Puts together the models that have layers with weights in common; each lies in one group."""
    remaining, groups = list(range(len(models))), list[Group]()
    while remaining:
        first, *others = remaining
        with_first = {i: shared_prefix(flavor, [models[first], models[i]]) for i in others}
        alike = [i for i, prefix in with_first.items() if prefix.weights()]
        prefix = next(iter(with_first.values()), None)
        if len(alike) == 1:
            prefix = with_first[alike[0]]
        elif alike:
            prefix = shared_prefix(flavor, [models[i] for i in (first, *alike)])
            if not prefix.weights():  # each shares something with the first, but not all of them the same
                alike, prefix = alike[:1], with_first[alike[0]]
        groups.append(Group((first, *alike), prefix))
        remaining = [i for i in others if i not in alike]
    return groups


def outputs_behind_trunk(
    flavor: Flavor, pairs: Sequence[tuple[Any, Any]], prefix: Prefix, inputs: Sequence[Tensor], name: str
) -> list[Nest]:
    """Calls a trunk once and each model's remainder on it.

    Args:
        flavor: The models' flavour.
        pairs: The models that `prefix` is about, and their copies, whose layers are called.
        prefix: What the models have in common.
        inputs: Tensors for their inputs, in order.
        name: The name of the trunk.

    Returns:
        The outputs of each model, in its own nest.
    """
    members = [_Member(flavor, *pair, numbers) for pair, numbers in zip(pairs, prefix.numbers, strict=True)]
    needed = sorted(set().union(*(member.reads | member.shown for member in members)))
    made = [number for number in needed if number >= len(inputs)]
    first = members[0]
    trunk = flavor.keras.Model(
        flavor.endpoints(first.copy)[0], [first.tensors[number] for number in made], name=name
    )
    values = dict(enumerate(inputs))
    values.update(zip(made, flavor.ops.nest.flatten(trunk(list(inputs))), strict=True))
    return [member.outputs(values) for member in members]


class _Member:
    """One model of a group: which tensors in common it needs, and what it makes of them."""

    def __init__(self, flavor: Flavor, model: Model, copy: Model, numbers: dict[int, int]) -> None:
        self.flavor, self.copy = flavor, copy
        self.tensors: dict[int, Tensor] = {}  # by number
        self.numbers: dict[int, int] = {}  # of the copy's tensors, by id
        calls, copied = flavor.calls(model), flavor.calls(copy)
        olds = [*flavor.endpoints(model)[0], *(tensor for call in calls for tensor in call[2])]
        news = [*flavor.endpoints(copy)[0], *(tensor for call in copied for tensor in call[2])]
        for old, new in zip(olds, news, strict=True):
            if id(old) in numbers:
                self.tensors[numbers[id(old)]] = new
                self.numbers[id(new)] = numbers[id(old)]
        own = [call for call in copied if id(call[2][0]) not in self.numbers]
        self.reads = {n for call in own for n in self._numbers(call[1])}
        self.shown = set(self._numbers(flavor.endpoints(copy)[1]))

    def _numbers(self, tensors: Sequence[Tensor]) -> list[int]:
        return [self.numbers[id(tensor)] for tensor in tensors if id(tensor) in self.numbers]

    def outputs(self, values: dict[int, Tensor]) -> Nest:
        """The model's outputs; what is not in common comes from a model of its name."""
        nest, ends = self.flavor.ops.nest, self.flavor.endpoints(self.copy)[1]
        own = list({id(tensor): tensor for tensor in ends if id(tensor) not in self.numbers}.values())
        made: dict[int, Tensor] = {}
        if own:
            needs = sorted(self.reads)
            remainder = self.flavor.keras.Model([self.tensors[n] for n in needs], own, name=self.copy.name)
            called = nest.flatten(remainder([values[n] for n in needs]))
            made = {id(tensor): new for tensor, new in zip(own, called, strict=True)}
        made |= {id(tensor): values[n] for n, tensor in self.tensors.items() if n in values}
        return nest.map_structure(lambda tensor: made[id(tensor)], self.flavor.nests(self.copy)[1])
