"""tf2onnx handlers for the TensorFlow ops it leaves in the graph or gets wrong: one file a kind of op.

They hold for one conversion only. A handler that cannot do its work leaves the node as it is;
`tensorrt_rules.importable` then names the Keras layer.
"""

from __future__ import annotations

from typing import Any

from keras_trt.convert.handlers.indexing.broadcasting import broadcast_args
from keras_trt.convert.handlers.indexing.diagonal import diagonal_matrix, diagonal_part, set_diagonal
from keras_trt.convert.handlers.indexing.einsum import einsum
from keras_trt.convert.handlers.indexing.gather import gather
from keras_trt.convert.handlers.indexing.mirrored import mirror_pad, reverse, roll
from keras_trt.convert.handlers.indexing.one_hot import one_hot
from keras_trt.convert.handlers.indexing.patches import extract_patches
from keras_trt.convert.handlers.indexing.scatter import scatter_nd
from keras_trt.convert.handlers.indexing.segments import unsorted_segments
from keras_trt.convert.handlers.indexing.slices import dynamic_update_slice, sliced
from keras_trt.convert.handlers.layers.convolution import convolution_3d
from keras_trt.convert.handlers.layers.fake_quant import fake_quant
from keras_trt.convert.handlers.layers.recurrent import recurrent
from keras_trt.convert.handlers.layers.resizing import resize, resize_linear, resize_nearest
from keras_trt.convert.handlers.layers.sparse_weights import sparse_dense_product, sparse_product
from keras_trt.convert.handlers.numbers.arctan2 import arctan2
from keras_trt.convert.handlers.numbers.cast import cast
from keras_trt.convert.handlers.numbers.complex_numbers import complex_numbers, real_numbers
from keras_trt.convert.handlers.numbers.counting import bucketize, dense_bincount, lower_bound, upper_bound
from keras_trt.convert.handlers.numbers.cumulative import cumulative_product
from keras_trt.convert.handlers.numbers.error_function import erfc, erfinv
from keras_trt.convert.handlers.numbers.exponential import expm1, log1p
from keras_trt.convert.handlers.numbers.integers import floor_divide, floor_modulo
from keras_trt.convert.handlers.numbers.select import select
from keras_trt.convert.handlers.numbers.spectrum import TRANSFORMS
from keras_trt.convert.handlers.numbers.vectors import cross, euclidean_norm
from keras_trt.convert.handlers.numbers.zero_times import zero_times
from keras_trt.convert.tf2onnx_seam import Handler

HANDLERS: dict[str, tuple[Handler, list[Any]]] = {
    "Atan2": (arctan2, []),
    "BroadcastArgs": (broadcast_args, []),
    "Bucketize": (bucketize, []),
    "Cast": (cast, []),
    "Conv3D": (convolution_3d, []),
    "Cross": (cross, []),
    "Cumprod": (cumulative_product, []),
    "CudnnRNNV3": (recurrent, []),
    "DenseBincount": (dense_bincount, []),
    "Einsum": (einsum, []),
    "Erfc": (erfc, []),
    "Erfinv": (erfinv, []),
    "EuclideanNorm": (euclidean_norm, []),
    "Expm1": (expm1, []),
    "ExtractImagePatches": (extract_patches, []),
    "FakeQuantWithMinMaxArgs": (fake_quant, []),
    "FakeQuantWithMinMaxVars": (fake_quant, []),
    "FloorDiv": (floor_divide, []),
    "FloorMod": (floor_modulo, []),
    "GatherV2": (gather, []),
    "Log1p": (log1p, []),
    "LowerBound": (lower_bound, []),
    "MatrixDiag": (diagonal_matrix, []),
    "MatrixDiagPart": (diagonal_part, []),
    "MatrixDiagPartV2": (diagonal_part, []),
    "MatrixDiagPartV3": (diagonal_part, []),
    "MatrixDiagV2": (diagonal_matrix, []),
    "MatrixDiagV3": (diagonal_matrix, []),
    "MatrixSetDiag": (set_diagonal, []),
    "MatrixSetDiagV2": (set_diagonal, []),
    "MatrixSetDiagV3": (set_diagonal, []),
    "MirrorPad": (mirror_pad, []),
    "OneHot": (one_hot, []),
    "ResizeArea": (resize, []),
    "ResizeBicubic": (resize, []),
    "ResizeBilinear": (resize_linear, []),
    "ResizeNearestNeighbor": (resize_nearest, []),
    **dict.fromkeys(("Complex", "Conj", "RFFT", *TRANSFORMS), (complex_numbers, [])),
    **dict.fromkeys(("Real", "Imag", "ComplexAbs", "IRFFT"), (real_numbers, [])),
    "ReverseV2": (reverse, []),
    "Roll": (roll, []),
    "ScaleAndTranslate": (resize, []),
    "ScatterNd": (scatter_nd, []),
    "Select": (select, []),
    "SelectV2": (select, []),
    "Slice": (sliced, []),
    "SparseMatMul": (sparse_product, []),
    "SparseTensorDenseMatMul": (sparse_dense_product, []),
    **dict.fromkeys(
        (f"UnsortedSegment{kind}" for kind in ("Max", "Min", "Prod", "Sum")), (unsorted_segments, [])
    ),
    "UpperBound": (upper_bound, []),
    "XlaDynamicUpdateSlice": (dynamic_update_slice, []),
    **dict.fromkeys(("MulNoNan", "Xdivy", "Xlog1py", "Xlogy"), (zero_times, [])),
}
