"""Plans that are built once and kept: in their bundle, or in the user's cache."""

from keras_trt.plans.cache import PlanCache as PlanCache
from keras_trt.plans.cache import cache_of as cache_of
from keras_trt.plans.key import same_build as same_build
