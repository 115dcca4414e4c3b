"""tf2onnx handlers for the TensorFlow ops it leaves in the graph or gets wrong: one file a kind of op.

They hold for one conversion only. A handler that cannot do its work leaves the node as it is;
`check.check_graph` then names the Keras layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from keras_trt.export.handlers.convolution import convolution_3d
from keras_trt.export.handlers.counting import bucketize, dense_bincount
from keras_trt.export.handlers.exponential import expm1, log1p
from keras_trt.export.handlers.fake_quant import fake_quant
from keras_trt.export.handlers.gelu import erfc
from keras_trt.export.handlers.integers import floor_divide, floor_modulo
from keras_trt.export.handlers.one_hot import one_hot
from keras_trt.export.handlers.recurrent import recurrent
from keras_trt.export.handlers.resizing import resize, resize_linear, resize_nearest
from keras_trt.export.handlers.scatter import scatter_nd
from keras_trt.export.handlers.sparse_weights import sparse_dense_product, sparse_product
from keras_trt.export.handlers.spectrum import real_spectrum

Handler = Callable[[Any, Any, str, list[Any]], Any]

HANDLERS: dict[str, tuple[Handler, list[Any]]] = {
    "Bucketize": (bucketize, []),
    "Conv3D": (convolution_3d, []),
    "CudnnRNNV3": (recurrent, []),
    "DenseBincount": (dense_bincount, []),
    "Erfc": (erfc, []),
    "Expm1": (expm1, []),
    "FakeQuantWithMinMaxArgs": (fake_quant, []),
    "FakeQuantWithMinMaxVars": (fake_quant, []),
    "FloorDiv": (floor_divide, []),
    "FloorMod": (floor_modulo, []),
    "Log1p": (log1p, []),
    "OneHot": (one_hot, []),
    "ResizeArea": (resize, []),
    "ResizeBicubic": (resize, []),
    "ResizeBilinear": (resize_linear, []),
    "ResizeNearestNeighbor": (resize_nearest, []),
    "RFFT": (real_spectrum, []),
    "ScaleAndTranslate": (resize, []),
    "ScatterNd": (scatter_nd, []),
    "SparseMatMul": (sparse_product, []),
    "SparseTensorDenseMatMul": (sparse_dense_product, []),
}


@contextmanager
def handlers() -> Iterator[dict[str, tuple[Handler, list[Any]]]]:
    """Yields the `custom_op_handlers` of one conversion and undoes what tf2onnx registers of them."""
    from tf2onnx import constants
    from tf2onnx.handler import tf_op

    opsets = tf_op.get_opsets()
    domain = constants.TENSORFLOW_OPSET.domain
    before = [dict(version) for version in opsets[domain]] if domain in opsets else None
    try:
        yield dict(HANDLERS)
    finally:
        if before is None:
            opsets.pop(domain, None)
        else:
            opsets[domain] = before
