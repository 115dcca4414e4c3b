"""Records of what was done, as tables and JSON."""

from keras_trt.reports.table import Report as Report
from keras_trt.reports.table import render as render
