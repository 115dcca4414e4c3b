"""The artifact on disk: a folder with manifest.json, model.onnx and plans/."""

from keras_trt._base.tensors import TensorSpec as TensorSpec
from keras_trt.bundle.checksum import sha256_of as sha256_of
from keras_trt.bundle.manifest import Manifest as Manifest
from keras_trt.bundle.plan_stamp import PLAN_KINDS as PLAN_KINDS
from keras_trt.bundle.plan_stamp import PlanStamp as PlanStamp
from keras_trt.bundle.plan_stamp import plan_file as plan_file
from keras_trt.bundle.read import Bundle as Bundle
from keras_trt.bundle.read import read_bundle as read_bundle
from keras_trt.bundle.write import check_target as check_target
from keras_trt.bundle.write import write_bundle as write_bundle
from keras_trt.bundle.write import write_manifest as write_manifest
