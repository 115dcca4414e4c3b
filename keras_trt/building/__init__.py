"""`build`: plans of a bundle on the machine that will run them."""

from keras_trt.building.build import build as build
from keras_trt.building.build_report import BuildReport as BuildReport
from keras_trt.building.build_report import BuiltPlan as BuiltPlan
