"""What can be told of `export`'s arguments before there is a model to export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from keras_trt._base.arguments import check_boolean, check_verbose, wrong_argument
from keras_trt.bundle import PLAN_KINDS
from keras_trt.data.batches import check_data
from keras_trt.engine import EngineConfig, check_config
from keras_trt.engine.profile import sizes_of
from keras_trt.errors import InputError
from keras_trt.onnx_passes.opset import check_opset
from keras_trt.tensorrt_rules import precision as precisions

_ENGINES = ("auto", *PLAN_KINDS, None)
_SWITCHES = ("overwrite", "strict", "verify", "probe")


def checked(arguments: Mapping[str, Any]) -> EngineConfig:
    """The options of the builder, once no argument is wrong by itself.

    Args:
        arguments: Those of `export`, all of them, by name.

    Raises:
        InputError: A wrong argument.
    """
    switches = {name: arguments[name] for name in _SWITCHES}
    engine, capabilities = arguments["engine"], arguments["compute_capabilities"]
    _check_arguments(engine, arguments["opset"], arguments["external_data"], capabilities, switches)
    config = _engine_config(arguments["config"], engine, capabilities)
    check_verbose(arguments["verbose"])
    if arguments["calibration_data"] is not None:
        check_data(arguments["calibration_data"], name="calibration_data")
    sizes_of(arguments["batch"], "batch")
    precisions.resolve(arguments["precision"], quantized=False)
    return config


def _check_arguments(
    engine: str | None,
    opset: int | None,
    external_data: bool | None,
    capabilities: Sequence[str] | None,
    switches: dict[str, bool],
) -> None:
    if not any(engine is kind or (isinstance(engine, str) and engine == kind) for kind in _ENGINES):
        raise InputError(f"`engine` must be one of {list(_ENGINES)}. Received: engine={engine!r}")
    if opset is not None:
        check_opset(opset)
    if external_data is not None and not isinstance(external_data, bool):
        raise InputError(f"`external_data` must be None, True or False. Received: {external_data!r}")
    listed = isinstance(capabilities, list | tuple) and all(isinstance(name, str) for name in capabilities)
    if capabilities is not None and not listed:
        raise wrong_argument("compute_capabilities", "a list such as ['SM86', 'SM89']", capabilities)
    for name, value in switches.items():
        check_boolean(value, name)


def _engine_config(
    config: EngineConfig, engine: str | None, compute_capabilities: Sequence[str] | None
) -> EngineConfig:
    """The builder's options, with the GPU classes that `export` takes by themselves."""
    check_config(config)
    if config.differences() and engine is None:
        raise InputError(
            f"`config` is for a plan, and engine=None builds none. Received: {config.differences()}"
        )
    if compute_capabilities is None:
        return config
    if config.compute_capabilities not in (None, tuple(compute_capabilities)):
        raise InputError(
            "`compute_capabilities` and `config` name different GPU classes. Received: "
            f"{list(compute_capabilities)} and {list(config.compute_capabilities)}"
        )
    return config.with_targets(compute_capabilities)
