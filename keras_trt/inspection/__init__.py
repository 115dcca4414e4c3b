"""What a bundle holds, for people."""

from keras_trt.inspection.bundle_report import BundleReport as BundleReport
from keras_trt.inspection.files import BundleFile as BundleFile
from keras_trt.inspection.inspect import inspect as inspect
