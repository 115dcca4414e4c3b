"""`keras-trt report`: a bundle as one page of HTML."""

from __future__ import annotations

import argparse

from keras_trt.cli.result import Result, UsageError
from keras_trt.cli.usage import REPORTS

SUMMARY = "write a page about a bundle: layers and why, ranges, weights, sparsity, checks, speed, provenance"
EXAMPLE = "keras-trt report digits.bundle -o report.html --benchmark benchmark.json"

_PAGES = (".html", ".htm", ".xhtml", "")  # devices and pipes have none


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what `report` takes."""
    parser.add_argument("bundle", metavar="BUNDLE", help="the folder that `export` wrote")
    add = parser.add_argument
    add(
        "-o",
        "--output",
        required=True,
        metavar="FILE",
        help="the page to write, e.g. report.html, or README.md for the Hugging Face Hub",
    )
    add("--repo", metavar="NAME", help="the repository that a README.md speaks of, e.g. me/digits")
    add("--benchmark", metavar="FILE", help="figures that `benchmark --save FILE` has written")
    add("--verification", metavar="FILE", help="the result of `verify --json`")
    add("--sensitivity", metavar="FILE", help="the `to_json` of a sensitivity report")
    add("--activations", metavar="FILE", help="the `to_json` of what `quantize.observe` gives")


def run(options: argparse.Namespace) -> Result:
    """Writes the page, or the card."""
    from keras_trt.reports.files import check_file

    measured = {name: getattr(options, name) for name in REPORTS}
    suffix = check_file(options.output).suffix.lower()
    is_card = suffix == ".md"
    if suffix not in (*_PAGES, ".md"):
        raise UsageError(
            f"--output: a page is an .html file, a card for the Hub an .md file. Received: '{options.output}'"
        )
    for name, file in measured.items():
        if is_card and file is not None:
            raise UsageError(f"--{name} is shown on a page, e.g. -o report.html; a card has no place for it.")
    if options.repo is not None and not is_card:
        raise UsageError("--repo is for a card: -o README.md.")
    import keras_trt

    report = keras_trt.inspect(options.bundle)
    if is_card:
        report.to_card(options.output, **({} if options.repo is None else {"repo_id": options.repo}))
    else:
        report.to_html(options.output, **measured)
    return Result(report, told=not options.json)
