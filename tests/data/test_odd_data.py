"""Data that looks like arrays and cannot be cut into batches is refused with the way out."""

from __future__ import annotations

import numpy as np
import pytest

from keras_trt.errors import InputError
from keras_trt.quantize import calibrate, quantize_model

ROWS = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")


def model(k):
    a, b = k.Input((4,), name="a"), k.Input((4,), name="b")
    return k.Model([a, b], k.layers.Dense(2)(k.layers.Concatenate()([k.layers.Dense(4)(a), b])))


def ragged():
    import tensorflow as tf

    return tf.RaggedTensor.from_row_lengths(tf.constant(ROWS), [3, 1, 4])


def test_ragged_and_sparse_tensors_are_named(k):
    import tensorflow as tf

    net = model(k)
    for data in (ragged(), [ragged(), ragged()], {"a": ROWS, "b": ragged()}):
        with pytest.raises(InputError, match=r"`calibration_data` must be dense.*RaggedTensor.*to_tensor"):
            quantize_model(net, calibration_data=data)
    with pytest.raises(InputError, match=r"must be dense.*SparseTensor of shape \(8, 4\).*to_dense"):
        quantize_model(net, calibration_data=tf.sparse.from_dense(ROWS))
    batches = tf.data.Dataset.from_tensor_slices((ROWS, ROWS)).batch(4)
    data = batches.map(lambda a, b: ((a, tf.RaggedTensor.from_tensor(b)),))
    with pytest.raises(InputError, match=r"`data` must be dense.*RaggedTensor"):
        calibrate(quantize_model(net), data)


def test_models_with_ragged_inputs_say_so():
    import tf_keras

    inputs = tf_keras.Input((None, 4), ragged=True)
    net = tf_keras.Model(inputs, tf_keras.layers.LSTM(3)(tf_keras.layers.Dense(4)(inputs)))
    with pytest.raises(InputError, match="a model with ragged or sparse inputs needs dense ones"):
        quantize_model(net, calibration_data=ragged())


def test_entries_of_a_dict_are_arrays(k):
    for odd, kind in ((ROWS.tolist(), "list"), (None, "NoneType"), ("rows", "str")):
        with pytest.raises(InputError, match=f"an array for each input. Received: 'b' is of type {kind}"):
            quantize_model(model(k), calibration_data={"a": ROWS, "b": odd})
    quantize_model(model(k), calibration_data={"a": ROWS, "b": ROWS}, verbose=0)


def test_a_number_has_no_rows(k):
    with pytest.raises(InputError, match="`calibration_data` has no rows. Received: one number"):
        quantize_model(model(k), calibration_data=np.array(3.0))
