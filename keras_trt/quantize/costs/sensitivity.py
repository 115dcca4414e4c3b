"""How much a model suffers from quantising each layer alone: which ones to leave float."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from keras_trt._base.arguments import check_verbose
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.flavor_of import check_model
from keras_trt._keras.kernels import kernel_of
from keras_trt._keras.masks.masking import value_of, variable_of
from keras_trt._keras.types import Choices, Model
from keras_trt.data.batches import check_data, input_count
from keras_trt.data.cache import Cache, chunks_of
from keras_trt.data.measure import inputs_and_targets, loss_against, score_or_change
from keras_trt.placement.schemes import schemes_by_choice
from keras_trt.placement.shape_rules import DEFAULT
from keras_trt.quantize.calibrators import calibrator
from keras_trt.quantize.inventory import quantizers_of, twins
from keras_trt.quantize.quantize_model import quantize_model
from keras_trt.reports import Report, Table
from keras_trt.reports.plot import Drawable, Figure, new_figure
from keras_trt.twins.fake_quant import quantize_weights


@dataclass(frozen=True)
class SensitivityReport(Drawable):
    """The measured loss of each layer, quantised alone; `plot` draws it, worst first.

    Attributes:
        losses: {layer path: loss}, worst first; 0 means no harm.
        scheme: The scheme they were measured with.

    Example:
        >>> worst = keras_trt.sensitivity(model, x_val).worst(1)
        >>> quantized = keras_trt.quantize_model(model, calibration_data=x, skip=worst)
    """

    losses: dict[str, float]
    scheme: str

    def worst(self, n: int) -> list[str]:
        """The `n` layers that suffer most, to be given to `skip`."""
        return list(self.losses)[:n]

    def report(self) -> Report:
        """One row per layer, worst first."""
        rows = tuple({"layer": path, "loss": loss} for path, loss in self.losses.items())
        return Report(f"Loss by layer, quantised alone ({self.scheme})", rows)

    def _figure(self) -> Figure:
        """The loss of each layer, worst first."""
        figure = new_figure("SensitivityReport.plot", figsize=(7, 0.22 * len(self.losses) + 1.2))
        axes = figure.subplots()
        axes.barh(list(self.losses), list(self.losses.values()))
        axes.invert_yaxis()
        axes.set(xlabel=f"loss with this layer alone quantised ({self.scheme})")
        return figure

    def tables(self) -> Iterable[Table]:
        """The table of `report`."""
        return self.report().tables()


def sensitivity(
    model: Model,
    data: object,
    *,
    metric: object = None,
    scheme: object = "int8",
    method: object = "auto",
    only: Choices | None = None,
    skip: Choices = (),
    placement: str = DEFAULT,
    cache: str | Path | None = None,
    batch_size: int = 32,
    verbose: int = 1,
) -> SensitivityReport:
    """Measures how much a model suffers when each layer alone is quantised.

    Args:
        model: A built float Keras 3 or tf_keras model; it is not changed.
        data: Inputs, or (inputs, targets), as arrays; also used to calibrate.
        metric: `"accuracy"`, another name that Keras knows, a metric or loss of Keras's, or a function of
            (targets, predictions), larger being better; the loss is by how much it gets worse. Without one,
            the loss is the mean squared change of the first output over its variance; `"kl"`: its mean
            divergence in nats.
        scheme: As in `quantize_model`.
        method: As in `calibrate`.
        only: As in `quantize_model`.
        skip: As in `quantize_model`.
        placement: As in `quantize_model`.
        cache: A JSON file; what it holds for this model, data and options is not measured again. The data
            must be arrays.
        batch_size: For calibration and prediction.
        verbose: 1 shows progress.

    Returns:
        The layers, worst first.

    Raises:
        InputError: A metric without targets, or an argument that does not fit.

    Example:
        >>> found = keras_trt.sensitivity(model, x_val[:256])
        >>> quantized = keras_trt.quantize_model(model, calibration_data=x_val, skip=found.worst(2))
    """
    flavor = check_model(model)
    check_verbose(verbose)
    score = score_or_change(metric, flavor)
    check_data(data, batch_size)
    x, y = inputs_and_targets(data, score, input_count(flavor, model))
    copy = quantize_model(
        model,
        scheme,
        calibration_data=x,
        method=method,
        only=only,
        skip=skip,
        placement=placement,
        min_sqnr=None,
        verbose=verbose,
    )
    layers = [(path, _Switch(flavor, layer)) for path, layer in twins(flavor, copy) if layer.quantization.own]
    loss = loss_against(copy, x, y, score, batch_size)  # every layer is float by now
    options = (schemes_by_choice(scheme), calibrator(method), only, skip, placement)
    known = Cache(cache, chunks_of(flavor, model, (x, y), metric, options))
    bar = flavor.keras.utils.Progbar(len(layers), verbose=verbose, unit_name="layer")
    losses = {}
    for done, (path, switch) in enumerate(layers, start=1):
        losses[path] = known.measured(path, partial(switch.alone, loss))
        bar.update(done, finalize=done == len(layers))
    ranked = dict(sorted(losses.items(), key=lambda item: -item[1]))
    return SensitivityReport(ranked, str(getattr(scheme, "name", scheme)))


class _Switch:
    """Turns one twin's quantisation on and off by its variables, so that no step is traced again."""

    def __init__(self, flavor: Flavor, layer: Any) -> None:
        ops, formats = flavor.ops, layer.quantization.scheme
        self.ranges = [(q, float(flavor.array(q.amax))) for q in quantizers_of(layer)]
        self.weights = []
        rounded = () if layer.quantization.self_rounding else layer.quantization.kernels
        for name in rounded:
            row = kernel_of(layer, name)
            variable = variable_of(layer, row)
            float_values = value_of(variable)
            tensor = ops.convert_to_tensor(float_values)
            if layer.quantization.gain and name == layer.quantization.kernels[-1]:
                tensor = tensor * flavor.value(layer.quantization_switch.gain)
            rounded = quantize_weights(ops, tensor, row.channel_axes, formats.weights, formats.block)
            self.weights.append((variable, float_values, ops.to_numpy(rounded)))
        if layer.quantization.shift:
            shift = layer.quantization_switch.shift
            value = flavor.array(shift)
            self.weights.append((shift, np.zeros_like(value), value))
        layer.quantization = replace(layer.quantization, kernels=())  # the values carry it from now on
        self.off()

    def alone(self, loss: Callable[[], float]) -> float:
        """The loss with this layer quantised."""
        self.on()
        try:
            return loss()
        finally:
            self.off()

    def on(self) -> None:
        for quantizer, amax in self.ranges:
            quantizer.amax.assign(amax)
        for variable, _, rounded in self.weights:
            variable.assign(rounded)

    def off(self) -> None:
        for quantizer, _ in self.ranges:
            quantizer.amax.assign(0.0)  # lets floats through
        for variable, float_values, _ in self.weights:
            variable.assign(float_values)
