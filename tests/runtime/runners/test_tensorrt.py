"""What the TensorRT runner does with device memory; stand-ins for the memory and the engine."""

from types import SimpleNamespace

import numpy as np
import pytest

from keras_trt.errors import RunnerError
from keras_trt.runtime.runners import tensorrt


class Memory:
    """A buffer of a card with 1000 bytes."""

    def __init__(self, size):
        if size > 1000:
            raise RunnerError("CUDA call cuMemAlloc_v2 failed: CUDA_ERROR_OUT_OF_MEMORY (2)")
        self.size, self.freed, self.pointer = size, 0, SimpleNamespace(value=id(self))

    def close(self):
        self.freed += 1


@pytest.fixture
def runner(monkeypatch):
    monkeypatch.setattr(tensorrt, "Buffer", Memory)
    made = object.__new__(tensorrt.TensorRTRunner)
    made._buffers, made._graphs, made.placed, made.accepts = {}, {}, {}, True

    def set_tensor_address(name, pointer):
        made.placed[name] = pointer
        return made.accepts

    made._context = SimpleNamespace(set_tensor_address=set_tensor_address)
    return made


def place(runner, size):
    runner._place({"x": np.zeros(size, "uint8")})


def test_memory_that_was_freed_for_a_refused_allocation_is_not_used_again(runner):
    place(runner, 100)
    first = runner._buffers["x"]
    with pytest.raises(RunnerError, match="OUT_OF_MEMORY"):
        place(runner, 5000)
    place(runner, 50)
    assert first.freed == 1
    assert not runner._buffers["x"].freed
    assert runner.placed["x"] == runner._buffers["x"].pointer.value


def test_memory_that_the_engine_refuses_is_given_back_and_not_kept(runner):
    runner.accepts = False
    with pytest.raises(RunnerError, match="refused the memory of tensor `x`"):
        place(runner, 100)
    assert runner._buffers == {}
    runner.accepts = True
    place(runner, 50)
    assert runner._buffers["x"].size == 50


def test_recorded_graphs_go_before_the_memory_that_they_use(runner):
    place(runner, 100)
    first, seen = runner._buffers["x"], []
    runner._graphs = {(): SimpleNamespace(close=lambda: seen.append(first.freed))}
    place(runner, 200)
    assert seen == [0]
    assert (first.freed, runner._graphs) == (1, {})
