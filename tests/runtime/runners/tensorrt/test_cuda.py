"""What we use of NVIDIA's bindings is in the package, where it is installed, and fails with its words."""

import ast
import inspect

import pytest

from keras_trt.errors import RunnerError
from keras_trt.runtime.runners.tensorrt import _cuda, device_array
from tests.runtime.runners.fake_cuda import FakeCuda


def calls():
    """(function of the driver, number of arguments) of every call."""
    for module in (_cuda, device_array):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            named = isinstance(node, ast.Call) and getattr(node.func, "id", None) in ("call", "give_back")
            if named and node.args and isinstance(node.args[0], ast.Constant):
                yield node.args[0].value, len(node.args) - 1


def test_the_driver_has_every_function_with_so_many_arguments():
    driver = pytest.importorskip("cuda.bindings.driver")
    assert len(set(calls())) > 20
    for name, count in calls():
        signature = getattr(driver, name).__doc__.splitlines()[0]
        assert signature.startswith(f"{name}(")
        inside = signature[len(name) + 1 : signature.rindex(")")]
        assert len([one for one in inside.split(",") if one.strip()]) == count, signature
    assert driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL == 1


def test_the_driver_of_the_tests_takes_the_same():
    assert len(set(calls())) > 20
    for name, count in calls():
        arguments = [p for p in inspect.signature(getattr(FakeCuda, name)).parameters if p != "self"]
        assert len(arguments) == count, name


def test_views_of_arrays_have_what_we_use():
    core = pytest.importorskip("cuda.core")
    views = pytest.importorskip("cuda.core.utils").StridedMemoryView
    for name in ("from_any_interface", "from_buffer", "shape", "strides", "dtype", "__dlpack__"):
        assert hasattr(views, name)
    assert hasattr(core.Buffer, "from_handle")


def test_an_error_names_the_call_and_what_cuda_says(monkeypatch):
    driver = FakeCuda(limit=10)
    driver.cuCtxPushCurrent(0)
    monkeypatch.setattr(_cuda, "bindings", lambda: driver)
    with pytest.raises(RunnerError, match=r"^CUDA call cuMemAlloc failed: CUDA_ERROR_OUT_OF_MEMORY \(2\)$"):
        _cuda.Buffer(11)


def test_without_a_driver_there_is_advice(monkeypatch):
    monkeypatch.setattr(_cuda, "driver", lambda: None)
    _cuda.bindings.cache_clear()
    with pytest.raises(RunnerError, match="No NVIDIA driver or no GPU was found. Use runner='openvino'"):
        _cuda.Device(0)
