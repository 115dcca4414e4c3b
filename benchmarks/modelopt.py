"""tf2onnx, then NVIDIA's ModelOpt on its file, beside this library: one trained network.

    python3 -m venv modelopt && modelopt/bin/pip install 'nvidia-modelopt[onnx]'   # pins releases of its own
    python -m benchmarks.modelopt modelopt/bin/python

All files are computed by ONNX Runtime on the CPU, and given to TensorRT-RTX's builder. Counted are the
Conv, MatMul and Gemm nodes that take int8 on both sides.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from examples import digits

QUANTIZE = """
import sys, numpy
from importlib.metadata import version
from modelopt.onnx.quantization import quantize
source, rows, target = sys.argv[1:]
quantize(onnx_path=source, quantize_mode="int8", calibration_data={"image": numpy.load(rows)},
         calibration_method="entropy", calibration_eps=["cpu"], high_precision_dtype="fp32",
         output_path=target)
print("ModelOpt", version("nvidia-modelopt"))
"""


def weighted(path: Path) -> tuple[int, int]:
    """How many nodes with weights take int8 on both sides, and how many there are."""
    import onnx

    graph = onnx.load(path).graph
    made = {output: node for node in graph.node for output in node.output}

    def dequantised(name: str) -> bool:
        node = made.get(name)
        while node is not None and node.op_type in ("Transpose", "Reshape"):
            node = made.get(node.input[0])
        return node is not None and node.op_type == "DequantizeLinear"

    nodes = [node for node in graph.node if node.op_type in ("Conv", "MatMul", "Gemm")]
    return sum(all(map(dequantised, node.input[:2])) for node in nodes), len(nodes)


def builds(path: Path) -> str:
    """Whether TensorRT-RTX makes an engine of a file, or why not."""
    import onnx

    from tests.onnx_tools import build

    rows = onnx.load(path).graph.input[0].type.tensor_type.shape.dim[0].dim_param
    try:
        build(path, input_shapes={rows: (1, 8, 32)})
    except Exception as error:
        return str(error).splitlines()[0][:60]
    return "yes"


def accuracy(path: Path, x: np.ndarray, y: np.ndarray) -> float:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (name,) = [each.name for each in session.get_inputs()]
    return float((session.run(None, {name: x})[0].argmax(-1) == y).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("python", type=Path, help="the Python of an environment that has ModelOpt")
    options = parser.parse_args()
    import tensorflow as tf
    import tf2onnx
    import tf_keras

    import keras_trt

    tf_keras.utils.set_random_seed(0)
    x, x_test, y, y_test = digits.data()
    model = digits.network(tf_keras)
    digits.train(tf_keras, model, x, y, epochs=12, learning_rate=2e-3)
    table = Table("", "accuracy", "in int8", "TensorRT-RTX builds", "KB")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        signature = [tf.TensorSpec((None, 8, 8, 1), tf.float32, name="image")]
        tf2onnx.convert.from_keras(model, signature, opset=17, output_path=str(out / "float.onnx"))
        np.save(out / "rows.npy", x[:256])
        files = [str(out / name) for name in ("float.onnx", "rows.npy", "modelopt.onnx")]
        command = [options.python, "-c", QUANTIZE, *files]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
        quantized = keras_trt.quantize_model(model, calibration_data=x[:256], verbose=0)
        for name in ("ptq", "qat"):
            if name == "qat":
                digits.train(tf_keras, quantized, x, y, epochs=3, learning_rate=1e-4)
            keras_trt.export(quantized, out / name, engine=None, verbose=0)
        for name, file in (
            ("tf2onnx, float", "float.onnx"),
            (done.stdout.splitlines()[-1], "modelopt.onnx"),
            ("keras_trt, calibrated", "ptq/model.onnx"),
            ("keras_trt, trained", "qat/model.onnx"),
        ):
            path = out / file
            cells = f"{accuracy(path, x_test, y_test):.2%}", "{} of {}".format(*weighted(path)), builds(path)
            table.add_row(name, *cells, f"{path.stat().st_size / 1000:.0f}")
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
