"""The range of shapes an engine accepts: optimization profiles from the graph's named dynamic axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from keras_trt._base.tensors import BATCH_AXIS
from keras_trt.bundle.manifest import LARGEST
from keras_trt.errors import EngineError, InputError

if TYPE_CHECKING:
    from tensorrt import Builder, IBuilderConfig, INetworkDefinition

Sizes = tuple[int, int, int]
Axes = tuple[int | str, ...]
"""A shape with names for its dynamic axes."""


def sizes_of(value: object, name: str) -> Sizes:
    """A number or (min, opt, max) as three ordered sizes.

    Raises:
        InputError: Not whole numbers with 1 <= min <= opt <= max, or more than runners can hold.

    Example:
        >>> sizes_of(8, "batch")
        (8, 8, 8)
    """
    sizes = (value,) * 3 if isinstance(value, int) else tuple(value) if isinstance(value, Sequence) else ()
    whole = len(sizes) == 3 and all(isinstance(n, int) and not isinstance(n, bool) for n in sizes)
    if not whole or not 1 <= sizes[0] <= sizes[1] <= sizes[2] <= LARGEST:
        raise InputError(
            f"`{name}` must be a whole number or (min, opt, max) with 1 <= min <= opt <= max < 2**31. "
            f"Received: {value!r}"
        )
    return (sizes[0], sizes[1], sizes[2])


def axis_sizes(
    inputs: Mapping[str, Axes], batch: object, input_shapes: Mapping[str, object] | None
) -> dict[str, Sizes]:
    """The sizes of every dynamic axis.

    Args:
        inputs: The graph's inputs with their axes.
        batch: Size of the axis `"batch"`: a number or (min, opt, max).
        input_shapes: Sizes of other dynamic axes, by axis (`{"time": (1, 64, 256)}`) or by input
            (`{"image": (None, (128, 224, 512), (128, 224, 512), 3)}`, None where nothing is to be said).

    Raises:
        InputError: A dynamic axis has no size, or a name, rank or size is wrong.
    """
    sizes = {BATCH_AXIS: sizes_of(batch, "batch")}
    dynamic = sorted({a for axes in inputs.values() for a in axes if isinstance(a, str)})
    for name, value in (input_shapes or {}).items():
        if name in inputs:
            sizes |= _by_axis(name, inputs[name], value)
        elif name in dynamic:
            sizes[name] = sizes_of(value, f"input_shapes[{name!r}]")
        else:
            raise InputError(
                "`input_shapes` must name an input or a dynamic axis. "
                f"Received: {name!r}, inputs: {dict(inputs)}, dynamic axes: {dynamic}"
            )
    missing = [a for a in dynamic if a not in sizes]
    if missing:
        raise InputError(
            f"The dynamic axes {missing} of the inputs {dict(inputs)} need sizes. "
            f"Pass input_shapes={{{missing[0]!r}: (min, opt, max)}}."
        )
    return sizes


def _by_axis(name: str, axes: Axes, shape: object) -> dict[str, Sizes]:
    if not isinstance(shape, Sequence) or len(shape) != len(axes):
        raise InputError(
            f"`input_shapes[{name!r}]` must have {len(axes)} axes, as {axes}. Received: {shape!r}"
        )
    sizes = {}
    for axis, value in zip(axes, shape, strict=True):
        if value is None:
            continue
        if isinstance(axis, str):
            sizes[axis] = sizes_of(value, f"input_shapes[{name!r}]")
        elif value != axis:
            raise InputError(
                f"`input_shapes[{name!r}]` cannot change a fixed axis of {axes}. Received: {shape!r}"
            )
    return sizes


def add_profiles(
    builder: Builder,
    network: INetworkDefinition,
    config: IBuilderConfig,
    batch: object,
    input_shapes: Mapping[str, object] | None,
    profiles: Sequence[Mapping[str, object]] | None = None,
) -> None:
    """Adds a profile with every input of `network`, or each of several; a static network needs none.

    Args:
        builder: Makes the profiles.
        network: The parsed network.
        config: The builder's config that takes them.
        batch: Size of the axis `"batch"` where a profile does not say it.
        input_shapes: Sizes of other dynamic axes where a profile does not say them.
        profiles: See `EngineConfig`.

    Raises:
        InputError: See `axis_sizes`; or a profile names an axis that is fixed.
        EngineError: TensorRT refused the profile.
    """
    inputs = {t.name: _axes(t) for t in (network.get_input(i) for i in range(network.num_inputs))}
    dynamic = {a for axes in inputs.values() for a in axes if isinstance(a, str)}
    for one in profiles or ({},):
        if BATCH_AXIS in one and BATCH_AXIS not in {*dynamic, *inputs}:
            raise InputError(
                f"`profiles`: no input has a batch of open size. Received: {dict(one)}, inputs: {inputs}"
            )
        others = {name: sizes for name, sizes in one.items() if name != BATCH_AXIS}
        sizes = axis_sizes(inputs, one.get(BATCH_AXIS, batch), {**(input_shapes or {}), **others})
        if dynamic:
            _add(builder, config, inputs, sizes)


def _add(builder: Builder, config: IBuilderConfig, inputs: dict[str, Axes], sizes: dict[str, Sizes]) -> None:
    profile = builder.create_optimization_profile()
    for name, axes in inputs.items():
        low, usual, high = (tuple(a if isinstance(a, int) else sizes[a][i] for a in axes) for i in range(3))
        profile.set_shape(name, low, usual, high)
    if config.add_optimization_profile(profile) < 0:
        raise EngineError(f"TensorRT refused the optimization profile. Inputs: {inputs}, sizes: {sizes}")


def _axes(tensor: Any) -> Axes:
    return tuple(
        int(size) if size >= 0 else tensor.get_dimension_name(i) or f"{tensor.name}_axis{i}"
        for i, size in enumerate(tensor.shape)
    )
