"""Whole models: what was done to them, their plain form, and their way to disk and back."""

from keras_trt.models.load_model import load_model as load_model
from keras_trt.models.report import report as report
from keras_trt.models.save_model import save_model as save_model
from keras_trt.models.strip import strip as strip
