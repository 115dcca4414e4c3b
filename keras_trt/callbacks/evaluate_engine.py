"""`EvaluateEngine`: what the exported model is worth, epoch by epoch, beside what the trained one is."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_trt._base.arguments import check_count, check_text, check_verbose
from keras_trt._base.say import say
from keras_trt._keras.flavor_of import flavor_of
from keras_trt._keras.types import Model
from keras_trt._machine.process import attributes_replaced
from keras_trt.callbacks.base import Callback
from keras_trt.callbacks.exported import check_options, exported, warn_of_failure
from keras_trt.data.batches import check_data
from keras_trt.data.source import is_arrays
from keras_trt.errors import InputError, ModelError

if TYPE_CHECKING:
    from keras_trt.runtime.engine_model import EngineModel


class EvaluateEngine(Callback):
    """Exports the model, evaluates the engine and logs `val_engine_<metric>` beside Keras's `val_<metric>`.

    The metrics are those that the model was compiled with, its loss included. So the gap between fake
    quantisation and engine is a curve in `history` and in TensorBoard. Callbacks that read these values
    (TensorBoard, CSVLogger, `ExportBest(monitor="val_engine_accuracy")`) must come later in the list; what
    changes the model at the end of an epoch, earlier. Keras's own that pick the best need `mode="min"` or
    `mode="max"`: they do not know the names.

    The bundle is temporary and deleted after each measurement. The model, its optimizer and what Keras has
    compiled of it stay as they are. A model that cannot be exported or run is a warning with the reason, and
    training goes on: the metrics are NaN, and `history["val_engine_failed"]` is 1 instead of 0.

    Args:
        data: (inputs, targets) or (inputs, targets, sample weights), or a data set that `evaluate` takes.
        every: After how many epochs to measure; as with `validation_freq`, the others have no value.
        batch_size: As in `evaluate`.
        runner: What runs the engine, see `load`.
        name: What is logged is `val_<name>_<metric>`; two of these callbacks in one training, say of
            fp16 and of int8, need two names.
        verbose: 1 prints the values.
        **options: Options of `export`, such as `precision` or `calibration_data`. No plan is built for the
            bundle by itself (engine=None); `load` builds one where there is a GPU.

    Raises:
        InputError: A wrong argument, or data without targets.

    Warns:
        UserWarning: The model could not be exported, or the engine could not be run.

    Example:
        >>> engine = keras_trt.callbacks.EvaluateEngine((x_val, y_val), every=2)
        >>> quantize = keras_trt.callbacks.Quantize()
        >>> data, callbacks = (x_val, y_val), [quantize, engine]
        >>> history = model.fit(x, y, epochs=4, validation_data=data, callbacks=callbacks)
        >>> len(history.history["val_engine_accuracy"])
        2
    """

    def __init__(
        self,
        data: object,
        every: int = 1,
        *,
        batch_size: int | None = None,
        runner: str = "auto",
        name: str = "engine",
        verbose: int = 0,
        **options: object,
    ) -> None:
        from keras_trt.runtime.choosing.select import check_runner

        super().__init__()
        if isinstance(data, tuple | list) and not 2 <= len(data) <= 3:
            raise InputError(
                "`data` must be (inputs, targets) or (inputs, targets, sample weights), or a data set of "
                f"them. Received: {type(data).__name__} of {len(data)}"
            )
        if is_arrays(data) and not isinstance(data, tuple | list):
            raise InputError(f"`data` must hold targets: (inputs, targets). Received: {type(data).__name__}")
        check_data(data[0] if isinstance(data, tuple | list) else data)
        check_count(every, "every")
        check_count(batch_size, "batch_size")
        check_runner(runner)
        check_verbose(verbose)
        self.name = check_text(name, "name")
        self.data, self.every, self.batch_size = data, every or 1, batch_size
        self.runner, self.verbose = runner, verbose
        self.options = check_options({"engine": None, **options}, "EvaluateEngine")
        self._names: tuple[str, ...] = ()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Measures when it is time to."""
        if (epoch + 1) % self.every:
            return
        mark = f"val_{self.name}_failed"
        try:
            values = self._evaluated()
            self._names, failed = tuple(values), 0.0
        except Exception as e:  # whatever it is, hours of training are worth more
            warn_of_failure("EvaluateEngine", epoch, e, mark)
            values, failed = dict.fromkeys(self._names, float("nan")), 1.0
        shown = ", ".join(f"{name} {value:.5f}" for name, value in values.items())
        say(f"EvaluateEngine: epoch {epoch + 1}: {shown or 'failed'}", self.verbose)
        if logs is not None:
            logs.update({**values, mark: failed})

    def _evaluated(self) -> dict[str, float]:
        from keras_trt.runtime import load

        given = self.data if isinstance(self.data, tuple | list) else (self.data,)
        named = dict(zip(("x", "y", "sample_weight"), given, strict=False))
        with tempfile.TemporaryDirectory(prefix="keras_trt") as folder:
            path = Path(folder) / "bundle"
            exported(self.model, path, self.options)
            with load(path, self.runner, cache=False, verbose=0) as engine, _computed_by(engine, self.model):
                values = self.model.evaluate(**named, batch_size=self.batch_size, verbose=0, return_dict=True)
        return {f"val_{self.name}_{metric}": float(value) for metric, value in values.items()}


@contextmanager
def _computed_by(engine: EngineModel, model: Any) -> Iterator[None]:
    """Has a model compute by its engine: eagerly, so that nothing is traced or compiled of it.

    Raises:
        ModelError: Nothing asked the engine.
    """
    layer, eager, history = _as_layer(engine, model), model.run_eagerly, getattr(model, "history", None)
    calls: list[None] = []

    def call(inputs: object, *_: object, **__: object) -> Any:
        calls.append(None)
        return layer(inputs)

    with attributes_replaced() as replace:
        replace(model, "call", call)
        replace(model, "test_function", None)
        replace(model, "_jit_compile", False)  # tf_keras compiles an eager step, too
        try:
            model.run_eagerly = True
            yield
        finally:
            model.run_eagerly, model.history = eager, history  # tf_keras gives each `evaluate` a history
    if not calls:
        raise ModelError(
            f"`test_step` of {type(model).__name__} does not call the model as a whole, so its metrics are "
            "not those of the engine. Have it compute its predictions with `self(x, training=False)`."
        )


def _as_layer(engine: EngineModel, model: Model) -> Callable[[Any], Any]:
    """What computes with an engine on tensors of the model's backend."""
    flavor = flavor_of(model)
    if flavor.has_graphs:
        layer: Callable[[Any], Any] = engine.as_layer()
        return layer
    ops = flavor.ops

    def call(inputs: Any) -> Any:
        outputs = engine(ops.nest.map_structure(ops.to_numpy, inputs))
        return ops.nest.map_structure(ops.convert_to_tensor, outputs)

    return call
