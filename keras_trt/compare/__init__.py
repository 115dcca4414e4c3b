"""Keras beside a runner: on probe rows, layer by layer, and on a user's data."""

from keras_trt.compare.verify import verify as verify
from keras_trt.compare.verify_report import VerifyReport as VerifyReport
