"""What a plan depends on, as text: plans with equal keys do the same."""

from __future__ import annotations

import hashlib
import json

from keras_trt.bundle.manifest import Manifest
from keras_trt.bundle.plan_stamp import PlanStamp
from keras_trt.engine.config import EngineConfig

_DIGITS = 20  # 80 bits: of a SHA-256, and short enough for a file name


def graph_key(manifest: Manifest) -> str:
    """Of the graph, its weights and the sizes that its plans are built for.

    Weights beside the ONNX file are not in that file's SHA-256, so theirs count, too.
    """
    facts = [manifest.onnx_sha256, manifest.external_data, manifest.batch, manifest.axis_sizes]
    return _digest(facts)


def plan_key(stamp: PlanStamp) -> str:
    """Of one plan of a graph: builder, version, operating system, GPU classes, options, precision."""
    facts: list[object] = [
        stamp.kind,
        stamp.version,
        stamp.os,
        list(stamp.compute_capabilities),
        stamp.config,
    ]
    if stamp.precision is not None:  # keys from before that was there stay
        facts.append(stamp.precision)
    return _digest(facts)


def same_build(
    stamp: PlanStamp,
    manifest: Manifest,
    kind: str,
    version: str,
    os: str,
    config: EngineConfig,
    precision: str | None = None,
) -> bool:
    """Whether a plan is what a build with these would make, whatever its GPU classes."""
    asked = (manifest.onnx_sha256, kind, version, os, config.stamped(), precision)
    made = (stamp.onnx_sha256, stamp.kind, stamp.version, stamp.os, stamp.config, stamp.precision)
    return asked == made


def _digest(facts: object) -> str:
    text = json.dumps(facts, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
