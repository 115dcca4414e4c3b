"""An optimizer that has been built takes in weights that its model has got since; what it knows stays.

Both Kerases build an optimizer once, for the weights that there are: it keeps its moments in lists beside the
list of them, and refuses a weight that it does not know. Here it is built once more for all of them, and
every number of its state is written to where its weight stands now.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from keras_trt._base.private import private
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Model
from keras_trt.errors import ModelError

Moved = tuple[Any, Any]
"""A variable of an optimizer's state, and the one that stands for it now."""


def take_in_new_weights(flavor: Flavor, model: Model) -> None:
    """Has the optimizer of a compiled model know all of the model's trainable weights.

    One that is not built yet, or that makes its slots as weights come (`tf_keras.optimizers.legacy`), is left
    alone.

    Args:
        flavor: The model's Keras.
        model: A model, compiled or not.

    Raises:
        ModelError: The optimizer keeps its state otherwise than Keras's own do; it is as it was then.
    """
    optimizer = getattr(model, "optimizer", None)
    inner = getattr(optimizer, "inner_optimizer", None)  # inside a loss scale
    for each in (inner, optimizer):
        if each is not None and vars(each).get(flavor.optimizer_built):
            flavor.bring_up_to_date(model)
            _take_in(flavor, each, model)


def _take_in(flavor: Flavor, optimizer: Any, model: Any) -> None:
    package = flavor.packages[0]
    index: Any = private(optimizer, flavor.optimizer_index, package)
    key: Any = private(optimizer, "_var_key", package)
    places = {key(variable): variable for variable in model.variables}
    wanted = {key(variable): variable for variable in model.trainable_variables}
    if wanted.keys() <= index.keys():
        return
    if strangers := [name for name in index if name not in places]:
        raise _refused(optimizer, f"it was built for {len(strangers)} weights of another model, too")
    wanted |= {each: places[each] for each in index if each not in wanted}
    before = {name: _copied(value) for name, value in vars(optimizer).items()}
    try:
        own = list(private(optimizer, "_variables", package))
        setattr(optimizer, flavor.optimizer_built, False)
        vars(optimizer)[flavor.optimizer_index] = {}
        optimizer.build(list(wanted.values()))
        order = [list(wanted).index(each) for each in index]
        state = {id(each) for each in own}
        pairs = _pairs(before, vars(optimizer), order, len(wanted))
        moved = [(was, now) for was, now in pairs if id(was) in state and now is not was]
        _put_in_order(optimizer, own, moved)
        for was, now in moved:
            now.assign(flavor.array(was))
    except Exception as e:
        _restore(optimizer, before)
        raise e if isinstance(e, ModelError) else _refused(optimizer, f"{type(e).__name__}: {e}") from e


def _pairs(
    before: Mapping[str, Any], after: Mapping[str, Any], order: list[int], count: int
) -> Iterator[Moved]:
    """What stood in the optimizer, and what stands there now; `order` says where a weight does."""
    for name, was in before.items():
        now = after.get(name)
        if isinstance(was, dict) and isinstance(now, dict):
            yield from ((value, now[key]) for key, value in was.items() if key in now)
        elif not (isinstance(was, list) and isinstance(now, list)):
            yield was, now
        elif (len(was), len(now)) == (len(order), count):
            yield from ((value, now[i]) for value, i in zip(was, order, strict=True))


def _put_in_order(optimizer: Any, own: list[Any], moved: list[Moved]) -> None:
    """Lists the state as an optimizer does that was built for all weights at once.

    Raises:
        ModelError: Some of what was there has no place now.
    """
    gone = {id(was) for was, _ in moved}
    stays = [each for each in own if id(each) not in gone]
    held = {id(value) for value in vars(optimizer).values()}
    if lost := [each.name for each in stays if id(each) not in held]:
        raise _refused(optimizer, f"nothing says which weights {', '.join(map(repr, lost[:3]))} belong to")
    _list(optimizer, stays + list(optimizer._variables)[len(own) :])


def _list(optimizer: Any, variables: list[Any]) -> None:
    """Makes the list of the state anew: TensorFlow stores no list in which something has been replaced."""
    tracker = vars(optimizer).pop("_tracker", None)  # of Keras 3, which adds to the list
    optimizer._variables = variables
    if tracker is not None:
        which, _ = tracker.config["variables"]
        tracker.config["variables"] = (which, optimizer._variables)
        tracker.stored_ids["variables"] = {id(variable) for variable in variables}
        vars(optimizer)["_tracker"] = tracker


def _restore(optimizer: Any, before: Mapping[str, Any]) -> None:
    for name in [name for name in vars(optimizer) if name not in before]:
        del vars(optimizer)[name]
    vars(optimizer).update(before)
    _list(optimizer, list(before["_variables"]))


def _copied(value: Any) -> Any:
    """A list or dict as it is now; building appends to some."""
    return value.copy() if isinstance(value, list | dict) else value


def _refused(optimizer: Any, why: str) -> ModelError:
    return ModelError(
        f"Learned ranges are new trainable weights, which the optimizer {type(optimizer).__name__} does not "
        f"take: {why}. Call `keras_trt.quantize_model(model, scheme)` before `compile` instead."
    )
