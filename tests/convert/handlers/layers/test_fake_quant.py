"""TensorFlow's fake quantisation in a user's own layer reaches TensorRT as symmetric int8."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from keras_trt.errors import ExportError
from keras_trt.exporting.export import export
from tests.onnx_tools import build, run


def fake_quant_net(k, low, high, *, narrow, learned=False, bits=8):
    import tensorflow as tf

    class Rounded(k.layers.Layer):
        def build(self, shape):
            for name, value in (("low", low), ("high", high)):
                start = k.initializers.Constant(value)
                setattr(self, name, self.add_weight(shape=(), initializer=start, name=name))
            super().build(shape)

        def call(self, x):
            limits = [tf.convert_to_tensor(v) for v in (self.low, self.high)] if learned else [low, high]
            function = tf.quantization.fake_quant_with_min_max_vars
            if not learned:
                function = tf.quantization.fake_quant_with_min_max_args
            return function(x, *limits, num_bits=bits, narrow_range=narrow)

        def compute_output_shape(self, shape):
            return shape

    return k.Sequential([k.Input((400,), name="x"), Rounded(name="rounded")])


@pytest.mark.parametrize("learned", [False, True], ids=["arguments", "variables"])
@pytest.mark.parametrize("narrow", [False, True], ids=["full", "narrow"])
def test_a_symmetric_range_becomes_int8_with_zero_point_0(k, narrow, learned, tmp_path):
    model = fake_quant_net(k, -1.0 if narrow else -128 / 127, 1.0, narrow=narrow, learned=learned)
    report = export(model, tmp_path / "net", engine=None, verbose=0)
    assert report.operators["QuantizeLinear"] == 1
    assert report.operators.get("Clip", 0) == int(narrow)
    proto = onnx.load(tmp_path / "net" / "model.onnx")
    arrays = {i.name: onnx.numpy_helper.to_array(i) for i in proto.graph.initializer}
    node = next(n for n in proto.graph.node if n.op_type == "QuantizeLinear")
    assert arrays[node.input[1]] == pytest.approx(1 / 127)
    assert (arrays[node.input[2]], arrays[node.input[2]].dtype) == (0, np.int8)
    x = np.linspace(-1.2, 1.2, 800, dtype=np.float32).reshape(2, 400)
    found = next(iter(run(proto, x=x).values()))
    np.testing.assert_allclose(found, model(x), atol=1e-6)
    build(tmp_path / "net" / "model.onnx")


@pytest.mark.parametrize(("low", "high", "narrow", "zero"), [(0.0, 6.0, True, -127), (-1.0, 1.0, False, -1)])
def test_a_range_that_is_not_symmetric_is_refused_with_the_reason(k, low, high, narrow, zero, tmp_path):
    model = fake_quant_net(k, low, high, narrow=narrow)
    reason = rf"Layer 'rounded'.*quantised asymmetrically \(zero point {zero}, int8\)"
    with pytest.raises(ExportError, match=reason):
        export(model, tmp_path / "net", engine=None, verbose=0)


def test_other_widths_than_8_bits_are_named(k, tmp_path):
    model = fake_quant_net(k, -1.0, 1.0, narrow=True, bits=4)
    with pytest.raises(ExportError, match="Layer 'rounded' uses the TensorFlow operator `FakeQuant"):
        export(model, tmp_path / "net", engine=None, verbose=0)
