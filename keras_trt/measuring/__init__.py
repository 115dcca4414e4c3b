"""How fast bundles and models are here, beside each other."""

from keras_trt.measuring.benchmark import benchmark as benchmark
from keras_trt.measuring.benchmark_report import BenchmarkReport as BenchmarkReport
from keras_trt.measuring.benchmark_report import Contender as Contender
from keras_trt.measuring.benchmark_report import Timing as Timing
