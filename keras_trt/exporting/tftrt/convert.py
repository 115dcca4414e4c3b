"""Runs TF-TRT's converter, `TrtGraphConverterV2`, and writes what it makes."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from keras_trt._keras.types import Model
from keras_trt.bundle.manifest import MANIFEST_FILE
from keras_trt.bundle.write import write_bundle
from keras_trt.compare.numbers import compare
from keras_trt.compare.probes.probe import ask_keras, made_up, rows_of
from keras_trt.errors import ExportError, InputError, MissingDependencyError
from keras_trt.exporting.tftrt.options import TFTRTOptions, precision_mode
from keras_trt.exporting.tftrt.saved_model import write_saved_model
from keras_trt.reports import Findings, Table
from keras_trt.trace.trace import Trace

if TYPE_CHECKING:
    from keras_trt.quantize.inventory import QuantizedTensor

FOLDER = "saved_model"


@dataclass(frozen=True)
class TFTRTReport(Findings):
    """What `export(..., route="tf-trt")` wrote.

    Attributes:
        path: The folder; the SavedModel is `path / "saved_model"`.
        name: The Keras model's name.
        keras: `"keras3"` or `"legacy"`.
        precision_mode: TF-TRT's: `"FP32"`, `"FP16"` or `"INT8"`.
        engines: How many parts of the graph became engines.
        built: Whether engines were built for this GPU; else TensorFlow builds them at the first run.
        tensorflow_ops: How often each op occurs that stayed with TensorFlow.
        differences: Per output, worst first, how far it is from Keras; empty with `verify=False`.
        notes: Sentences worth reading.
    """

    path: Path
    name: str
    keras: str
    precision_mode: str
    engines: int
    built: bool
    tensorflow_ops: dict[str, int]
    differences: tuple[dict[str, Any], ...] = ()
    notes: tuple[str, ...] = ()

    def tables(self) -> Iterable[Table]:
        """One line."""
        engines = f"{self.engines} engines, {'built' if self.built else 'to be built at the first run'}"
        yield Table(f"{self.name} -> {self.path / FOLDER}: {self.precision_mode}, {engines}", (), ())


def check_usable(options: TFTRTOptions, **given: object) -> None:
    """Tells before any work whether TF-TRT can be used.

    Args:
        options: For TF-TRT.
        **given: Arguments of export that only the other route has; each must be None.

    Raises:
        InputError: One of them was given.
        MissingDependencyError: See `open_converter`.
    """
    for name, value in given.items():
        if value is not None:
            raise InputError(
                f'`{name}` is for route="onnx" only. Received: {name}={value!r} with route="tf-trt"'
            )
    open_converter(options)


def open_converter(options: TFTRTOptions, mode: str = "FP32", folder: Path | None = None) -> Any:
    """The `TrtGraphConverterV2` for a SavedModel, or, without a folder, the check that there can be one.

    Raises:
        MissingDependencyError: This TensorFlow has no TF-TRT, finds no TensorRT, or sees no GPU.
    """
    import tensorflow as tf

    try:
        from tensorflow.python.compiler.tensorrt import trt_convert

        converter = trt_convert.TrtGraphConverterV2(
            input_saved_model_dir=None if folder is None else str(folder),
            precision_mode=mode,
            minimum_segment_size=options.minimum_segment_size,
            max_workspace_size_bytes=options.max_workspace_size_bytes,
            maximum_cached_engines=options.maximum_cached_engines,
            use_calibration=False,  # ranges are in the model, as Q/DQ
            use_dynamic_shape=options.use_dynamic_shape,
            dynamic_shape_profile_strategy=options.profile_strategy if options.use_dynamic_shape else None,
        )
    except (ImportError, RuntimeError) as e:
        raise MissingDependencyError(_needs(tf, str(e).rstrip("."))) from e
    if not tf.config.list_physical_devices("GPU"):
        raise MissingDependencyError(_needs(tf, "TensorFlow sees no GPU"))
    return converter


def _needs(tf: ModuleType, reason: str) -> str:
    has = "with" if tf.sysconfig.get_build_info().get("is_tensorrt_build") else "without"
    return (
        f'route="tf-trt" cannot be used here: {reason}. Installed: TensorFlow {tf.__version__}, built {has} '
        "TensorRT. It needs a TensorFlow built with TensorRT, 2.17 or older, the TensorRT libraries it was "
        "built for (pip's TensorFlow 2.17: TensorRT 8.6.1) where the loader finds them, and an NVIDIA GPU. "
        'route="onnx" works with this TensorFlow today: keras_trt.export(model, path, route="onnx").'
    )


def export_tftrt(
    model: Model,
    traced: Trace,
    tensors: list[QuantizedTensor],
    target: Path,
    *,
    options: TFTRTOptions,
    precision: str,
    batch: tuple[int, int, int],
    build: bool = True,
    verify: bool = True,
    overwrite: bool = False,
    notes: Iterable[str] = (),
) -> TFTRTReport:
    """Writes `target / "saved_model"`, whole or not at all.

    Args:
        model: The model that was traced.
        traced: Its trace.
        tensors: What is quantised in it.
        target: The folder to write.
        options: For TF-TRT.
        precision: As resolved by export.
        batch: (min, opt, max) of the representative inputs.
        build: Build the engines now, for this machine's GPU.
        verify: Run the saved model and compare it with Keras.
        overwrite: Replace an older export at `target`.
        notes: For the report.

    Raises:
        MissingDependencyError: TF-TRT cannot be used here.
        InputError: TF-TRT does not know the precision or the number formats.
        ExportError: TF-TRT failed, or its model differs from Keras.
    """
    mode = precision_mode(precision)
    with write_bundle(target, overwrite, check=_check_written) as folder:
        with tempfile.TemporaryDirectory() as plain:
            notes = [*notes, *write_saved_model(traced, tensors, Path(plain))]
            converter = open_converter(options, mode, Path(plain))
            with _reported(traced.name):
                function = converter.convert()
                if build:
                    converter.build(options.input_fn or _probes(model, traced, batch))
                converter.save(str(folder / FOLDER))
        ops = Counter(node.op for node in function.graph.as_graph_def().node)
        engines = ops.pop("TRTEngineOp", 0)
        if not engines:
            notes.append('TF-TRT made no engine: every op stays with TensorFlow. Try route="onnx".')
        report = TFTRTReport(
            path=target,
            name=traced.name,
            keras=traced.flavor,
            precision_mode=mode,
            engines=engines,
            built=build,
            tensorflow_ops=dict(ops.most_common()),
            differences=_verified(model, traced, folder, precision, batch) if verify else (),
            notes=tuple(notes),
        )
        facts = {**asdict(report), "route": "tf-trt", "path": FOLDER}
        (folder / MANIFEST_FILE).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return report


def _probes(
    model: Model, traced: Trace, batch: tuple[int, int, int]
) -> Callable[[], Iterator[dict[str, Any]]]:
    return lambda: (made_up(model, traced, size) for size in sorted(set(batch)))


def _verified(
    model: Model, traced: Trace, folder: Path, precision: str, batch: tuple[int, int, int]
) -> tuple[dict[str, Any], ...]:
    import tensorflow as tf

    answers = ask_keras(model, traced, precision, rows_of(traced.inputs, batch))
    serve = tf.saved_model.load(str(folder / FOLDER)).signatures["serving_default"]
    outputs = serve(**{name: tf.constant(value) for name, value in answers.feeds.items()})
    actual = {name: value.numpy() for name, value in outputs.items()}
    differences = compare(answers.expected, actual, answers.allowed)
    if differences[0].diverges:
        raise ExportError(
            f"The exported model differs from Keras: {differences[0]}. If the difference is known and "
            "wanted, pass verify=False."
        )
    return tuple(asdict(d) for d in differences)


@contextmanager
def _reported(name: str) -> Iterator[None]:
    """TF-TRT raises what comes up: its own ValueErrors and AssertionErrors, and TensorFlow's errors."""
    try:
        yield
    except Exception as e:
        raise ExportError(
            f"TF-TRT could not convert model {name!r}: {type(e).__name__}: {e}. "
            'Try keras_trt.export(model, path, route="onnx").'
        ) from e


def _check_written(folder: Path) -> None:
    if not (folder / FOLDER / "saved_model.pb").is_file():
        raise ExportError(
            f"TF-TRT wrote no SavedModel. The folder holds: {sorted(p.name for p in folder.iterdir())}"
        )
