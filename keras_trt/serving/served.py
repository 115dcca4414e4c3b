"""An engine as what Triton calls: a list of requests in, a list of answers out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keras_trt.bundle import Bundle
from keras_trt.runtime.by_name import predict_by_name
from keras_trt.runtime.engine_model import EngineModel
from keras_trt.serving.contract import Contract, warm_up_rows

Arrays = dict[str, np.ndarray]


class Served:
    """One instance of a model.

    Args:
        engine: What computes; its own, for each instance is called by a thread of its own.
        agreed: What Triton was told.
    """

    def __init__(self, engine: EngineModel, agreed: Contract) -> None:
        self.engine, self.agreed = engine, agreed

    def __call__(self, requests: Sequence[Arrays]) -> list[Arrays]:
        """Computes requests, together where they are rows of one batch."""
        names = [port.name for port in self.agreed.inputs]
        if not self.agreed.largest_batch:
            return [self.compute({name: request[name] for name in names}) for request in requests]
        if len(requests) == 1:
            return [self.compute({name: requests[0][name] for name in names})]
        together = self.compute({name: np.concatenate([r[name] for r in requests]) for name in names})
        ends = np.cumsum([len(request[names[0]]) for request in requests])[:-1]
        parted = {name: np.split(array, ends) for name, array in together.items()}
        return [{name: parted[name][i] for name in parted} for i in range(len(requests))]

    def compute(self, arrays: Arrays) -> Arrays:
        """The outputs by name, in the types and ranks that Triton was told."""
        fed = {port.name: arrays[port.name] for port in self.agreed.inputs}
        for port in self.agreed.inputs:
            if port.is_scalar:
                fed[port.name] = fed[port.name].reshape(fed[port.name].shape[:-1])
        answer = predict_by_name(self.engine, fed)
        for port in self.agreed.outputs:
            if port.is_scalar:
                answer[port.name] = answer[port.name][..., np.newaxis]
        return answer

    def warm_up(self, bundle: Bundle) -> None:
        """Computes the probe's rows, in the smallest and the largest batch that requests will make."""
        for rows in {1, self.agreed.largest_batch or 1}:
            predict_by_name(self.engine, warm_up_rows(bundle, rows if self.agreed.largest_batch else None))
