"""What is done, without training, about the accuracy that rounding costs."""

from keras_trt._base.arguments import check_names
from keras_trt._keras.flavor import Flavor
from keras_trt.errors import InputError
from keras_trt.quantize.recovery.correction import BIAS, GAIN
from keras_trt.quantize.recovery.equalization import EQUALIZATION, SMOOTH_QUANT
from keras_trt.quantize.recovery.rounding.adaround import ADAROUND

AUTO = (EQUALIZATION, SMOOTH_QUANT, BIAS, GAIN)
"""What `"auto"` stands for: a few seconds each."""
NAMES = (*AUTO, ADAROUND)
_READ_GRAPHS = (EQUALIZATION, SMOOTH_QUANT, ADAROUND)


def recoveries(flavor: Flavor, recover: object) -> tuple[str, ...]:
    """The names that `quantize_model(recover=)` asks for; `"auto"` is all of `AUTO` that the backend has.

    Raises:
        InputError: An unknown name, or one that reads TensorFlow's graph, of a model on another backend.
    """
    wanted = AUTO if recover == "auto" else check_names(recover, NAMES, "recover")
    if flavor.has_graphs:
        return wanted
    able = tuple(name for name in wanted if name not in _READ_GRAPHS)
    if recover != "auto" and able != wanted:
        raise InputError(
            "Channels are equalised, and weights rounded by outputs, in TensorFlow's graphs of a model. "
            f"Received: a model on the {flavor.keras.backend.backend()!r} backend, recover={recover!r}. "
            f"Available: {(BIAS, GAIN)}"
        )
    return able
