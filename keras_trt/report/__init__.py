"""Records of what was done, as tables and JSON."""

from keras_trt.report.table import Report as Report
from keras_trt.report.table import render as render
