"""What can be measured on the command line: metrics by name, or a function as `module:function`."""

from __future__ import annotations

from keras_trt.cli.values import imported

HELP = (
    "accuracy, mae, mse, another name that Keras knows, or module:function of your own, called as "
    "function(targets, predictions)"
)


def metric_named(text: str | None) -> object:
    """A metric as public functions take it; None where none is named.

    Raises:
        InputError: There is no such module or function.
    """
    return imported(text) if text is not None and ":" in text else text
