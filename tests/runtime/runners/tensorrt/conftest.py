"""The TensorRT runner around a stand-in engine, on a driver without a GPU."""

import numpy as np
import pytest

from keras_trt.runtime.runners.tensorrt import _cuda, slot
from keras_trt.runtime.runners.tensorrt.runner import TensorRTOptions, TensorRTRunner
from tests.runtime.runners.fake_cuda import FakeCuda
from tests.runtime.runners.stand_in import bundle_of, stand_in, use


@pytest.fixture
def cuda(monkeypatch):
    made = FakeCuda()
    monkeypatch.setattr(_cuda, "bindings", lambda: made)
    monkeypatch.setattr(_cuda, "driver", lambda: made)
    return made


@pytest.fixture(params=[0, 1 << 16], ids=["three streams", "one stream"])
def make(request, cuda, monkeypatch, tmp_path):
    """Makes runners, which must leave nothing behind; small batches are copied on one stream or on three."""
    monkeypatch.setattr(slot, "_SMALL", request.param)
    made = []

    def make(outputs="y", *, cuda_graph=True, device=0, **options):
        make.trt = use(monkeypatch, stand_in(names="x" + outputs, **options))
        make.bundle = bundle_of(tmp_path / str(len(made)), outputs)
        options = TensorRTOptions(cuda_graph=cuda_graph, device=device)
        made.append(TensorRTRunner(b"plan", make.bundle.manifest, options=options))
        return made[-1]

    yield make
    for runner in made:
        runner.close()
    assert (cuda.used, cuda.pinned, cuda.retained) == (0, 0, 0)
    assert not any((cuda.events, cuda.memory, cuda.streams, cuda.graphs))


@pytest.fixture
def rows(rng):
    return lambda count: rng.normal(size=(count, 3)).astype(np.float32)
