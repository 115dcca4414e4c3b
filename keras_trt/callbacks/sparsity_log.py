"""`SparsityLog`: writes a model's sparsity to the training history and to TensorBoard."""

from __future__ import annotations

from typing import Any

from keras_trt._base.arguments import check_boolean, check_path
from keras_trt._machine.deps import require
from keras_trt.callbacks.base import Callback, Logs
from keras_trt.prune.facts import sparsity_report, total_sparsity
from keras_trt.tfmot.accept import accept


class SparsityLog(Callback):
    """Logs sparsity after each epoch.

    `history.history["sparsity"]` holds the fraction of zeros over the pruned weights; the progress bar and
    callbacks that come later in the list (CSVLogger, TensorBoard) see it, too.

    Args:
        log_dir: Folder for TensorBoard; one scalar per weight variable and one for the model.
        per_layer: Whether the history gets `sparsity/<path>.<kernel>` as well.

    Example:
        >>> log = keras_trt.callbacks.SparsityLog("logs")
        >>> model.fit(x, y, callbacks=[keras_trt.callbacks.Prune(0.8), log])
    """

    def __init__(self, log_dir: object = None, *, per_layer: bool = False) -> None:
        super().__init__()
        self.log_dir = None if log_dir is None else check_path(log_dir, "log_dir")
        self.per_layer = check_boolean(per_layer, "per_layer")
        self._writer: Any = None

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Writes the sparsity reached."""
        _, model, _ = accept(self.model)
        total = total_sparsity(model)
        layers = {}
        if self.per_layer or self.log_dir is not None:
            layers = {f"sparsity/{r['weight']}": r["sparsity"] for r in sparsity_report(model).rows}
        if logs is not None:
            logs["sparsity"] = total
            logs.update(layers if self.per_layer else {})
        if self.log_dir is not None:
            self._write(epoch, {"sparsity": total, **layers})

    def on_train_end(self, logs: Logs = None) -> None:
        """Closes the file for TensorBoard."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _write(self, epoch: int, scalars: dict[str, float]) -> None:
        tf: Any = require("tensorflow", install="tensorflow", why="files for TensorBoard")
        if self._writer is None:
            self._writer = tf.summary.create_file_writer(str(self.log_dir))
        # tf.summary.scalar would need the tensorboard package; a tensor with its metadata is the same to it.
        metadata = tf.compat.v1.SummaryMetadata()
        metadata.plugin_data.plugin_name = "scalars"
        with self._writer.as_default():
            for name, value in scalars.items():
                tf.summary.write(name, tf.constant(value, tf.float32), step=epoch, metadata=metadata)
        self._writer.flush()
