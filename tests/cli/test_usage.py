"""Which errors are about what was typed."""

import argparse

import pytest

from keras_trt.cli.commands import benchmark, build, export, plan, report, serve, triton, verify
from keras_trt.cli.usage import _OTHERWISE, wrong_option
from keras_trt.errors import InputError

OPTIONS = argparse.Namespace(opset=3, classes=("89",), max_delay_us=-1, runner=None, data="rows.npz")
OPTIONS.skip, OPTIONS.input_shape = ("stam",), [("y", [1])]
OPTIONS.bundles, OPTIONS.ensemble = ["net.bundle"], ["x y=a,b"]


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("`opset` must be a number from 17 to 24. Received: opset=3", "--opset"),
        ("`max_delay_us` must be a whole number", "--max-delay-us"),
        ("`compute_capabilities` must be GPU classes", "--for"),
        ("`runner` must be one of", None),  # it was not typed
        ("`data` must be (inputs, targets)", None),  # the file has no targets
        ("`bundles` must have a name each", "[NAME=]BUNDLE"),
        ("`ensembles['x y']` must be a list", "--ensemble"),
        ("`skip` matches no layer. Received: ['stam']", "--skip"),
        ("`input_shapes` names unknown inputs ['y']", "--input-shape"),
        ("`opset` is fine, but the model is not", None),
        ("The model's `opset` must be 19", None),
        ("`quantile` must be a share", None),  # nothing that can be typed
    ],
)
def test_an_error_about_a_typed_value_names_its_option(text, option):
    assert wrong_option(InputError(text), OPTIONS) == option


def test_options_of_other_names_are_those_of_the_subcommands():
    parser = argparse.ArgumentParser(conflict_handler="resolve")
    for command in (benchmark, build, export, plan, report, serve, triton, verify):
        command.add_arguments(parser)
    flags = {action.dest: action.option_strings or [action.metavar] for action in parser._actions}
    for dest, flag in _OTHERWISE.values():
        assert flag in flags[dest]
