"""Records of what was done, as tables and JSON."""

from keras_trt.reports.findings import Findings as Findings
from keras_trt.reports.findings import Report as Report
from keras_trt.reports.table import Table as Table
