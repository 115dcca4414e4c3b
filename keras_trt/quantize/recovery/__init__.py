"""What is done, without training, about the accuracy that rounding costs."""

from keras_trt._arguments import check_names
from keras_trt._keras.flavor import Flavor
from keras_trt.errors import InputError
from keras_trt.quantize.recovery.correction import BIAS, GAIN
from keras_trt.quantize.recovery.equalization import EQUALIZATION, SMOOTH_QUANT

NAMES = (EQUALIZATION, SMOOTH_QUANT, BIAS, GAIN)


def recoveries(flavor: Flavor, recover: object) -> tuple[str, ...]:
    """The names that `quantize_model(recover=)` asks for; `"auto"` is all that the backend has.

    Raises:
        InputError: An unknown name, or one that reads TensorFlow's graph, of a model on another backend.
    """
    wanted = tuple(check_names(recover, NAMES, "recover"))
    if flavor.has_graphs:
        return wanted
    able = tuple(name for name in wanted if name not in (EQUALIZATION, SMOOTH_QUANT))
    if recover != "auto" and able != wanted:
        raise InputError(
            "Channels are equalised along TensorFlow's graph of the model. Received: a model on the "
            f"{flavor.keras.backend.backend()!r} backend, recover={recover!r}. Available: {(BIAS, GAIN)}"
        )
    return able
