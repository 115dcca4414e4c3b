"""Kinds of layers, by what TensorRT does with int8 at them: the tables behind `placement`."""

from __future__ import annotations

from keras_trt._keras.graph import IDLE

# Between a convolution and an addition these vanish at inference or fold into the convolution.
TRANSPARENT = {"Activation", "BatchNormalization", *IDLE} - {"ActivityRegularization"}
# The last is the public name of the second.
ATTENTION = {"MultiHeadAttention", "GroupedQueryAttention", "GroupQueryAttention"}
ATTENTION_REASON = "attention: both operands of its two products; softmax stays float"
CELLS = {"LSTMCell", "GRUCell", "SimpleRNNCell"}
CELL_REASON = "recurrent weights only: TensorRT's recurrent layers compute in float"
LOOP_REASON = "inside a recurrent layer's loop, which TensorRT computes in float"
AVERAGE_POOLING = {
    "AveragePooling1D", "AveragePooling2D", "AveragePooling3D",
    "GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalAveragePooling3D",
}  # fmt: skip
LAYOUT = {
    "MaxPooling1D", "MaxPooling2D", "MaxPooling3D", "GlobalMaxPooling1D", "GlobalMaxPooling2D",
    "GlobalMaxPooling3D", "ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D", "Cropping1D", "Cropping2D",
    "Cropping3D", "Flatten", "Reshape", "Permute", "RepeatVector", "UpSampling1D", "UpSampling2D",
    "UpSampling3D",
}  # fmt: skip
# Between a convolution and an addition these fuse with the first, as NVIDIA's quantiser has it.
FUSED_ACTIVATIONS = {"relu", "silu", "swish"}
# What int8 goes through between a layer and its reader, as layers and as operations of either Kerases.
PASSING = (TRANSPARENT | LAYOUT | {"Concatenate", "ReLU", "LeakyReLU", "PReLU", "ELU"}) - {
    "BatchNormalization"
}
PASSING_OPERATIONS = {
    "relu", "relu6", "leakyrelu", "elu", "selu", "silu", "swish", "sigmoid", "hardsigmoid", "hardswish",
    "hardsilu", "hardtanh", "tanh", "clip", "clipbyvalue", "reshape", "ravel", "transpose", "swapaxes",
    "moveaxis", "squeeze", "expanddims", "concatenate", "concat", "stack", "unstack", "split", "getitem",
    "slice", "stridedslice", "pad", "flip", "reverse", "repeat", "tile", "broadcastto", "identity", "cast",
    "maxpool", "maxpool1d", "maxpool2d", "maxpool3d",
}  # fmt: skip
UNREAD = "nothing that computes in int8 reads it: a grid would cost accuracy for nothing"
NORMALIZATION_REASON = "normalisation statistics need float range"
FLOAT = {
    "Softmax": "softmax needs float range",
    "RMSNormalization": NORMALIZATION_REASON,
    "GroupNormalization": NORMALIZATION_REASON,
    "UnitNormalization": NORMALIZATION_REASON,
    "Embedding": "a table look-up gains no speed from int8; name it in `only` to put its weights on the grid",
    "ReversibleEmbedding": "rows of its table are looked up and columns multiplied: no one scale fits both",
}
