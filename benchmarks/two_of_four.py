"""Shows that the axis of our 2:4 zeros is the hardware's: cuSPARSELt multiplies the exported weights exactly.

    python -m benchmarks.two_of_four export matrices.npz    # anywhere: ResNet-50, 2:4, int8, exported
    python benchmarks/two_of_four.py check matrices.npz     # where PyTorch and an NVIDIA GPU are

The first step prunes and quantises a ResNet-50 (untrained; the pattern is what counts), exports it and takes
the int8 weights out of `model.onnx` as matrices (output channels, taps x input channels). The second
compresses each with PyTorch's semi-structured conversion (cuSPARSELt), multiplies it with random int8
activations on the sparse tensor cores, and compares with the dense product in exact integers. As a counter
check it does the same with zeros in groups of four output channels, which must not survive the compression.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np


def export(path: Path, size: int = 64) -> None:
    """Writes the int8 matrices of a 2:4-pruned ResNet-50, by node name."""
    import keras
    import onnx
    from onnx import numpy_helper

    import keras_trt

    model = keras.applications.ResNet50(weights=None, input_shape=(size, size, 3), classes=1000)
    x = np.random.default_rng(0).random((8, size, size, 3), dtype="float32")
    model = keras_trt.quantize_model(keras_trt.prune_model(model, pattern="2:4"), calibration_data=x)
    with tempfile.TemporaryDirectory() as folder:
        report = keras_trt.export(model, Path(folder) / "bundle", engine=None)
        graph = onnx.load(Path(folder) / "bundle" / "model.onnx").graph
    print(f"{len(report.sparse_layers)} layers with 2:4 in the manifest")
    arrays = {
        t.name: numpy_helper.to_array(t) for t in graph.initializer if t.data_type == onnx.TensorProto.INT8
    }
    matrices = {}
    for name, array in arrays.items():
        if array.ndim == 4:  # (out, in, h, w): taps outside, input channels inside
            matrices[name] = array.transpose(0, 2, 3, 1).reshape(len(array), -1)
        elif array.ndim == 2:  # MatMul (in, out)
            matrices[name] = array.T
    sparse = {n: m for n, m in matrices.items() if m.shape[1] % 4 == 0 and two_of_four(m)}
    print(f"{len(sparse)} of {len(matrices)} exported int8 matrices have at least 2 zeros in every 4")
    np.savez_compressed(path, **sparse)


def two_of_four(matrix: np.ndarray) -> bool:
    """Whether every 4 consecutive entries of each row hold at least 2 zeros."""
    return bool(((matrix.reshape(-1, 4) == 0).sum(1) >= 2).all())


def check(path: Path) -> None:
    """Multiplies every matrix on the sparse tensor cores and compares with the dense product."""
    import torch

    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}")
    matrices = np.load(path)
    exact = wrong_axis = taken = 0
    for name in matrices.files:
        matrix = matrices[name]
        if matrix.shape[0] % 32 or matrix.shape[1] % 32:  # cuSPARSELt's smallest int8 tile
            continue
        taken += 1
        exact += multiplies_exactly(torch, matrix)
        wrong_axis += multiplies_exactly(torch, across_outputs(matrix))
    print(f"{taken} of {len(matrices.files)} matrices have cuSPARSELt's int8 shapes (multiples of 32)")
    print(f"exact products: {exact} of {taken}; with zeros along the output channels instead: {wrong_axis}")


def across_outputs(matrix: np.ndarray) -> np.ndarray:
    """The same number of zeros in groups of four rows: what the wrong axis would give."""
    dense = np.random.default_rng(1).integers(1, 100, matrix.shape, dtype=np.int8)
    dense[0::4] = dense[1::4] = 0
    return dense


def multiplies_exactly(torch: Any, matrix: np.ndarray, columns: int = 64) -> bool:
    """Whether compressing loses nothing: sparse x dense equals dense x dense, in integers."""
    a = torch.from_numpy(np.ascontiguousarray(matrix)).cuda()
    b = torch.randint(-128, 128, (columns, matrix.shape[1]), dtype=torch.int8, device="cuda").t()
    got = torch._cslt_sparse_mm(torch._cslt_compress(a), b, out_dtype=torch.int32)
    expected = a.double() @ b.double()
    return bool((got.double() == expected).all())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=["export", "check"])
    parser.add_argument("file", type=Path)
    arguments = parser.parse_args()
    {"export": export, "check": check}[arguments.step](arguments.file)
