"""Whether an error is about a value that was typed, which is wrong usage, or about what it led to."""

from __future__ import annotations

import argparse
import re

from keras_trt.errors import InputError

# How every error about an argument begins.
_RULE = re.compile(r"`(\w+)(?:\[[^`]*\])?` (?:must|matches no|names unknown) ")
_OTHERWISE = {  # arguments whose options have other names
    "compute_capabilities": ("classes", "--for"),
    "input_shapes": ("input_shape", "--input-shape"),
    "batch_sizes": ("batch", "--batch"),
    "bundles": ("bundles", "[NAME=]BUNDLE"),
    "ensembles": ("ensemble", "--ensemble"),
    "repo_id": ("repo", "--repo"),
}
# Errors about these are about what a file holds.
_FILES = ("data", "into", "path", "bundle", "model", "output", "recipe")
# Files of figures for the page about a bundle.
REPORTS = ("benchmark", "verification", "sensitivity", "activations")


def wrong_option(error: InputError, options: argparse.Namespace) -> str | None:
    """The option whose value breaks a rule that only the called function knows; None for other errors.

    Args:
        error: What the function has raised.
        options: What was typed.

    Example:
        >>> wrong_option(InputError("`opset` must be a number"), argparse.Namespace(opset=3))
        '--opset'
    """
    rule = _RULE.match(str(error))
    if rule is None or rule[1] in (*_FILES, *REPORTS):
        return None
    name = rule[1]
    dest, flag = _OTHERWISE.get(name, (name, f"--{name.replace('_', '-')}"))
    return flag if getattr(options, dest, None) is not None else None
