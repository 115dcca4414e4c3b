"""An engine that launches small kernels of ours where TensorRT would launch its own.

y = 4 x, by way of the shared memory for activations. All below the execution context is the runner's own.
"""

import ctypes
from types import ModuleType, SimpleNamespace

import numpy as np
from onnx import helper

from keras_trt.bundle import read_bundle
from keras_trt.engine import _trt
from keras_trt.runtime.runners.tensorrt._cuda import call
from tests.small_onnx import model_of, save_bundle

LARGEST = 1 << 16
PTX = b"""
.version 6.0
.target sm_50
.address_size 64
.visible .entry add(.param .u64 a, .param .u64 b, .param .u64 y, .param .u32 n, .param .u32 spin)
{
    .reg .pred %p, %q; .reg .f32 %f<5>; .reg .b32 %r<7>; .reg .b64 %d<6>;
    ld.param.u64 %d1, [a]; ld.param.u64 %d2, [b]; ld.param.u64 %d3, [y];
    ld.param.u32 %r1, [n]; ld.param.u32 %r5, [spin];
    mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x; mov.u32 %r4, %tid.x;
    mad.lo.u32 %r2, %r2, %r3, %r4;
    setp.ge.u32 %p, %r2, %r1;
    @%p bra DONE;
    mul.wide.u32 %d4, %r2, 4;
    add.u64 %d1, %d1, %d4; add.u64 %d2, %d2, %d4; add.u64 %d3, %d3, %d4;
    ld.global.f32 %f1, [%d1]; ld.global.f32 %f2, [%d2];
    mov.f32 %f3, 0f3F800000;
LOOP:
    setp.eq.u32 %q, %r5, 0;
    @%q bra STORE;
    fma.rn.f32 %f3, %f3, 0f3F000000, 0f3F000000;
    sub.u32 %r5, %r5, 1;
    bra LOOP;
STORE:
    add.f32 %f1, %f1, %f2;
    mul.f32 %f3, %f3, 0f00000000;
    add.f32 %f1, %f1, %f3;
    st.global.f32 [%d3], %f1;
DONE:
    ret;
}
"""


class Kernel:
    """y = a + b, on the current GPU."""

    def __init__(self):
        self.function = call("cuModuleGetFunction", call("cuModuleLoadData", PTX + b"\0"), b"add")

    def __call__(self, stream, a, b, y, n, spin=0):
        types = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32)
        blocks = max(-(-n // 128), 1)
        values = (a, b, y, n, spin)
        call("cuLaunchKernel", self.function, blocks, 1, 1, 128, 1, 1, 0, stream, (values, types), 0)


class Context:
    """The methods of `IExecutionContext` that the runner calls."""

    def __init__(self, engine):
        self.engine, self.active_optimization_profile = engine, 0
        self.address, self.shape, self.allocators, self.memory = {}, None, {}, None
        self.told = []
        self.profiler = None

    def set_optimization_profile_async(self, profile, stream):
        self.active_optimization_profile = profile
        return True

    def set_device_memory(self, memory, size):
        assert size >= self.engine.device_memory_size_v2
        self.memory = memory

    def set_input_shape(self, name, shape):
        low, _, high = self.engine.profiles[self.active_optimization_profile]
        self.shape = shape
        self.told.append(shape)
        return low <= shape[0] <= high

    def infer_shapes(self):
        return []

    def get_tensor_shape(self, name):
        return (-1, self.shape[1]) if name == "z" else self.shape

    def set_tensor_address(self, name, address):
        assert address
        self.address[name] = address
        return True

    def set_output_allocator(self, name, allocator):
        self.allocators[name] = allocator
        return True

    def execute_async_v3(self, stream):
        self.engine.enqueued.append(self.shape)
        if self.engine.fails(self.shape):
            return False
        n, kernel, half = int(np.prod(self.shape)), self.engine.kernel, self.memory
        for _ in range(self.engine.layers):
            kernel(stream, self.address["x"], self.address["x"], half, n, self.engine.spin)
        kernel(stream, half, half, self.address["y"], n)
        for name, ms in self.engine.layer_times if self.profiler is not None else ():
            self.profiler.report_layer_time(name, ms)
        return all(self.find(stream, allocator) for allocator in self.allocators.values())

    def find(self, stream, allocator):
        """z: the rows of x that begin with a positive number."""
        call("cuStreamSynchronize", stream)
        x = np.empty(self.shape, np.float32)
        call("cuMemcpyDtoH", x.ctypes.data, self.address["x"], x.nbytes)
        found = np.ascontiguousarray(x[x[:, 0] > 0])
        memory = allocator.reallocate_output_async("z", 0, found.nbytes, 256, stream)
        if not memory:
            return False
        if found.nbytes:
            call("cuMemcpyHtoD", memory, found.ctypes.data, found.nbytes)
        allocator.notify_shape("z", found.shape)
        return True


class Engine:
    """The attributes of `ICudaEngine` that the runner reads."""

    def __init__(self, names="xy", profiles=((1, 8, LARGEST),), width=3, layers=1, spin=0):
        self.names, self.profiles, self.width = names, profiles, width
        self.layers, self.spin = layers, spin
        self.kernel, self.enqueued, self.contexts = Kernel(), [], []
        self.fails = lambda shape: False
        self.layer_times, self.information = [("x/Add", 0.25), ("y/Add", 0.5)], {True: "", False: ""}
        self.num_io_tensors, self.num_optimization_profiles = len(names), len(profiles)
        self.device_memory_size_v2 = max(high for _, _, high in profiles) * width * 4

    def get_tensor_name(self, index):
        return self.names[index]

    def get_tensor_dtype(self, name):
        return SimpleNamespace(name="FLOAT")

    def get_tensor_profile_shape(self, name, profile):
        return [(size, self.width) for size in self.profiles[profile]]

    def create_engine_inspector(self):
        return Inspector(self)

    def create_execution_context(self, strategy):
        assert strategy == "shared"
        self.contexts.append(Context(self))
        return self.contexts[-1]


class Inspector:
    """Tells `information` of the engine, which is another text with a context than without."""

    execution_context = None

    def __init__(self, engine):
        self.engine = engine

    def get_engine_information(self, form):
        assert form == "json"
        return self.engine.information[self.execution_context is not None]


class OutputAllocator:
    pass


class Profiler:
    pass


class ExecutionContext:
    set_device_memory = None


def stand_in(**options):
    """The names of the module `tensorrt` that the runner uses; `plan` is the only plan that it takes."""

    class Runtime:
        engine_host_code_allowed = True

        def __init__(self, logger):
            self.logger = logger

        def deserialize_cuda_engine(self, plan):
            assert self.engine_host_code_allowed is False
            if plan != b"plan":
                self.logger.log(SimpleNamespace(name="ERROR"), "the plan is broken")
                return None
            trt.engine = Engine(**options)
            return trt.engine

    trt = ModuleType("tensorrt")
    trt.__version__, trt.ILogger, trt.Runtime = "0", object, Runtime
    trt.IOutputAllocator, trt.IExecutionContext = OutputAllocator, ExecutionContext
    trt.IProfiler, trt.EngineInspector = Profiler, Inspector
    trt.LayerInformationFormat = SimpleNamespace(JSON="json")
    trt.ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED="shared")
    return trt


def use(monkeypatch, trt):
    """Makes `trt` the TensorRT that is loaded."""
    monkeypatch.setattr(_trt, "load", lambda module, why: trt)
    monkeypatch.setattr(_trt, "logger", lambda trt: SimpleNamespace(log=_log))
    return trt


def _log(severity, text):
    for capture in _trt._captures:
        capture.append((severity.name, text))


def bundle_of(folder, outputs="y"):
    """A bundle with the names of the stand-in; its ONNX file is never run."""
    nodes = [helper.make_node("Add", ["x", "x"], [name]) for name in outputs]
    shapes = {name: ["batch" if name == "y" else "found", 3] for name in outputs}
    return read_bundle(save_bundle(folder, model_of(nodes, {"x": ["batch", 3]}, shapes, {})))
