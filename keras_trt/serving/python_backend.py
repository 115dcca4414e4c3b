"""What Triton's Python backend runs in a repository that `keras_trt.triton` wrote, where it is `model.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb  # Triton's own, on its path

from keras_trt._base.tensors import free_batch
from keras_trt.runtime import load
from keras_trt.serving.contract import contract
from keras_trt.serving.served import Served


class TritonPythonModel:
    """One instance of a bundle."""

    def initialize(self, args: dict[str, str]) -> None:
        """Loads the bundle that lies beside this file."""
        folder = Path(args["model_repository"]) / args["model_version"]
        engine = load(folder / "bundle", verbose=0)
        manifest = engine.bundle.manifest
        outputs = [free_batch(spec, manifest.inputs) for spec in manifest.outputs]
        self.served = Served(engine, contract(manifest, engine.inputs, outputs))

    def execute(self, requests: list[Any]) -> None:
        """Answers requests through their senders: some servers lose outputs that are returned."""
        names = [port.name for port in self.served.agreed.inputs]
        try:
            arrays = [
                {name: pb.get_input_tensor_by_name(request, name).as_numpy() for name in names}
                for request in requests
            ]
            responses = [
                pb.InferenceResponse([pb.Tensor(name, array) for name, array in answer.items()])
                for answer in self.served(arrays)
            ]
        except Exception as e:  # the server goes on
            responses = [
                pb.InferenceResponse(error=pb.TritonError(f"{type(e).__name__}: {e}")) for _ in requests
            ]
        for request, response in zip(requests, responses, strict=True):
            sender = request.get_response_sender()
            sender.send(response, flags=pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def finalize(self) -> None:
        """Frees the engine."""
        self.served.engine.close()
