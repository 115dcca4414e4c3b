"""A bundle that predicts like the Keras model it was exported from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from copy import deepcopy
from dataclasses import replace
from types import TracebackType
from typing import Any

from keras_trt._base.arguments import check_boolean, check_count, check_function, check_text
from keras_trt._base.say import say
from keras_trt._base.tensors import free_batch
from keras_trt.bundle.probe import made_up
from keras_trt.bundle.read import Bundle
from keras_trt.errors import InputError
from keras_trt.runtime.feeds import Feeds, cast, name_arrays
from keras_trt.runtime.keras_layer import (
    Reopen,
    compile_arguments,
    engine_keras_model,
    engine_layer,
    flavor_named,
)
from keras_trt.runtime.predict import batches_of, fill, run_on_device, run_rows, run_told
from keras_trt.runtime.profile import EngineProfile, by_layer
from keras_trt.runtime.progress import PredictCallbacks, progress
from keras_trt.runtime.runners.runner import Runner


class EngineModel:
    """Predicts with a runner; arguments and results as those of the Keras model.

    Attributes:
        bundle: Where it came from.
        runner: What runs it, with `runner.name` and `runner.reason`.
        name: The Keras model's name.
        inputs: The inputs' names, shapes and dtypes.
        outputs: The outputs' names, shapes and dtypes, as `predict` returns them.
        labels: The names of the classes that `export` was given: a list, or by output a list where there are
            several outputs; None without any.
        metadata: What else `export` was given to travel along, as JSON.
        asked: The arguments of the `load` that made it; None for one that was made of a runner.
        reopen: How `load` makes it again of its bundle's path and hash and what was asked.

    It is pickled as its bundle's path and hash, and loaded again where it is unpickled. A forked process
    cannot use it.
    """

    asked: Mapping[str, Any] | None = None
    reopen: Reopen | None = None

    def __init__(self, bundle: Bundle, runner: Runner) -> None:
        manifest = bundle.manifest
        self.bundle, self.runner, self.name = bundle, runner, manifest.name
        self.inputs = tuple(free_batch(s, manifest.inputs) for s in manifest.inputs)
        predicted = manifest.predicted_dtypes
        self.outputs = tuple(
            replace(free_batch(s, manifest.inputs), dtype=predicted.get(s.name, s.dtype))
            for s in manifest.outputs
        )
        self._keras_model: Any = None

    @property
    def labels(self) -> list[str] | dict[str, list[str]] | None:
        """The names of classes, see `EngineModel`."""
        named = {name: list(names) for name, names in self.bundle.manifest.labels.items()}
        return named.get(self.outputs[0].name) if len(self.outputs) == 1 else named or None

    @property
    def metadata(self) -> dict[str, Any]:
        """A copy of what travels along, see `EngineModel`."""
        return deepcopy(self.bundle.manifest.metadata)

    def predict(
        self,
        x: object,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        steps: int | None = None,
        callbacks: object = None,
    ) -> Any:
        """Predicts batch by batch; arguments and result as `keras.Model.predict`.

        Args:
            x: An array, a list or dict of arrays, a `tf.data.Dataset`, a `PyDataset` or `Sequence`, or a
                generator of batches. float64 is cast to float32 as Keras does.
            batch_size: Rows at a time, 32 by default; of no effect on data that comes in batches. Sizes that
                the engine does not take are split or padded. With `steps` alone all rows are spread over
                the steps, as in Keras.
            verbose: 0 is quiet; "auto" and 1 draw a bar; 2 prints one line.
            steps: Stop after so many batches.
            callbacks: Keras callbacks; their `on_predict_*` methods are called, with the batch's result in
                `logs["outputs"]`.

        Returns:
            Arrays in the structure of the model's outputs.

        Raises:
            InputError: No data, or a wrong shape, dtype or name; names the input.
            RunnerError: The engine failed.
        """
        with self.runner.lifetime.use():
            items, count = batches_of(x, self._named, self.inputs, batch_size, steps)
            told = PredictCallbacks(callbacks, self, count, verbose)
            told("begin")
            with closing(progress(items, count, verbose)) as shown:  # an error below must take the bar down
                arrays = run_told(self.runner, shown, self.inputs, self.outputs, told, self._filled)
            told("end")
            return self._filled(arrays)

    def predict_on_batch(self, x: object, *, on_device: bool = False) -> Any:
        """Predicts one batch of any size in one go.

        Args:
            x: An array, or a list or dict of arrays. A TensorRT runner takes contiguous arrays on its GPU (of
                PyTorch, CuPy, JAX, TensorFlow) without a copy.
            on_device: Leave the results of a TensorRT runner on the GPU, as arrays that `torch.from_dlpack`
                and the like take over without a copy.

        Returns:
            Arrays in the structure of the model's outputs.

        Raises:
            InputError: A wrong shape, dtype or name; names the input.
            RunnerError: The engine failed, or `on_device` with a runner on the CPU.
        """
        check_boolean(on_device, "on_device")
        with self.runner.lifetime.use():
            if on_device:
                return self._filled(run_on_device(self.runner, self._named(x), self.inputs, self.outputs))
            return self._filled(run_rows(self.runner, self._named(x), self.inputs, self.outputs))

    def __call__(self, x: object, training: bool = False) -> Any:
        """The same as `predict_on_batch`; an engine cannot train."""
        if training is not None and check_boolean(training, "training"):
            raise InputError("An engine runs inference only. Received: training=True")
        return self.predict_on_batch(x)

    def compile(self, optimizer: object = None, loss: object = None, *more: object, **named: object) -> None:
        """Sets what `evaluate` measures. Needs Keras.

        Arguments are those of `compile` in the Keras that the model came from, in its order: after `loss`,
        Keras 3 has `loss_weights` and tf_keras `metrics`. What only training needs is accepted and ignored.

        Args:
            optimizer: Ignored: an engine does not train.
            loss: A Keras loss, or a structure of them.
            *more: What follows in that order.
            **named: `metrics`, `loss_weights`, `weighted_metrics`, and how Keras would run its own model.

        Raises:
            InputError: An argument that Keras's `compile` does not take.
        """
        flavor = flavor_named(self.bundle.manifest.keras)
        model = engine_keras_model(self, flavor)
        given = compile_arguments(flavor, optimizer, loss, *more, **named)
        measured = {name: given.get(name) for name in ("loss", "metrics", "loss_weights", "weighted_metrics")}
        model.compile(jit_compile=False, **measured)
        self._keras_model = model

    def evaluate(self, x: object = None, y: object = None, **options: object) -> Any:
        """Measures loss and metrics of the engine; arguments and result as `keras.Model.evaluate`.

        Args:
            x: Inputs as for `predict`, or a data set of (x, y).
            y: Targets, unless `x` is a data set.
            **options: `batch_size`, `verbose`, `sample_weight`, `steps`, `callbacks`, `return_dict`.

        Raises:
            InputError: `compile` was not called.
        """
        if self._keras_model is None:
            raise InputError(
                "`evaluate` needs to know what to measure. Call first: "
                "model.compile(loss='sparse_categorical_crossentropy', metrics=['accuracy'])"
            )
        return self._keras_model.evaluate(x, y, **options)

    def as_layer(self, name: str | None = None, keras: str | None = None) -> Any:
        """The engine as a layer for Keras models, e.g. a frozen backbone. Needs Keras.

        It has no weights and no gradient. A model is saved with the bundle's path and hash in its place: keep
        the bundle, and load the model with `keras_trt.load_model`.

        Args:
            name: The layer's name; the model's name by default.
            keras: `"keras3"` or `"legacy"`; by default the Keras the model was exported from.
        """
        if name is not None:
            check_text(name, "name")
        return engine_layer(self, flavor_named(keras or self.bundle.manifest.keras), name)

    def profile(self, x: object, calls: int = 20) -> EngineProfile:
        """Measures how long each Keras layer takes.

        The engine is made ready once more for this, with the runner's own profiler. Layers that the runner
        computes as one stand in one row.

        Args:
            x: One batch, as for `predict_on_batch`, of a size that the engine takes.
            calls: Of how many calls to take the median.

        Returns:
            A report, printable as a table; `layers` has the times in seconds.

        Raises:
            InputError: Wrong input.
            RunnerError: The runner does not tell, or it failed.

        Example:
            >>> print(model.profile(x))  # doctest: +SKIP
        """
        check_count(calls, "calls")
        feeds = cast(self._named(x), self.inputs)
        return by_layer(self.name, self.runner.name, self.runner.executed(feeds, calls), measured=True)

    def inspect(self) -> EngineProfile:
        """Tells which types each Keras layer really computes in, and which quantisers are left unfused.

        Returns:
            A report, printable as a table, without times.

        Raises:
            RunnerError: The runner does not tell, or it failed.
        """
        rows = self.runner.batch_for(min(2, self.runner.batch_range[1] or 2))
        feeds = cast(made_up(self.bundle.manifest, rows).inputs, self.inputs)
        return by_layer(self.name, self.runner.name, self.runner.executed(feeds, 1), measured=False)

    def summary(self, print_fn: Callable[[str], object] | None = None) -> None:
        """Prints what the bundle holds and what runs it."""
        manifest = self.bundle.manifest
        lines = [
            f'Engine "{self.name}" from {self.bundle.path}',
            f"  runner     {self.runner.name} ({self.runner.reason})",
            f"  precision  {manifest.precision}, opset {manifest.opset}",
            f"  batch      min {manifest.batch[0]}, opt {manifest.batch[1]}, max {manifest.batch[2]}",
            *(f"  input      {s.name}: {s.dtype} {s.shape}" for s in self.inputs),
            *(f"  output     {s.name}: {s.dtype} {s.shape}" for s in self.outputs),
            *(f"  plan       {p.file}: {p.built_by}, {p.bytes:,} bytes" for p in manifest.plans),
        ]
        check_function(print_fn, "print_fn")
        text = "\n".join(lines)
        if print_fn is None:
            say(text, verbose=1)
        else:
            print_fn(text)

    def close(self) -> None:
        """Waits for predictions under way in other threads, then frees what the runner holds.

        Raises:
            RunnerError: Called from inside a prediction of this engine, e.g. by a callback.
        """
        self.runner.close()

    def __reduce__(self) -> tuple[Any, ...]:
        if self.asked is None or self.reopen is None:
            raise InputError(
                f"{self!r} was made of a runner, so it cannot be pickled. Make it with keras_trt.load(path)."
            )
        return self.reopen, (
            str(self.bundle.path.resolve()),
            self.bundle.manifest.onnx_sha256,
            dict(self.asked),
        )

    def __enter__(self) -> EngineModel:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"EngineModel(name={self.name!r}, runner={self.runner.name!r}, path={str(self.bundle.path)!r})"

    def _named(self, x: object) -> Feeds:
        return name_arrays(x, self.bundle.manifest.input_structure, self.inputs, self.runner.device_array)

    def _filled(self, arrays: Feeds) -> Any:
        return fill(self.bundle.manifest.output_structure, arrays)
