"""Puts the page together."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib import resources

from keras_trt.bundle.read import Bundle
from keras_trt.inspection.files import BundleFile
from keras_trt.inspection.page import measured, sections
from keras_trt.inspection.weights import histograms, weight_names

_NOTHING_ELSE = (
    "default-src 'none'; style-src 'unsafe-inline'"  # no script, no request, whatever a name holds
)


def page(
    bundle: Bundle,
    files: Sequence[BundleFile],
    notes: Sequence[str] = (),
    *,
    benchmark: measured.Source | None = None,
    verification: measured.Source | None = None,
    sensitivity: measured.Source | None = None,
    activations: measured.Source | None = None,
) -> str:
    """The page of a bundle, as HTML.

    Args:
        bundle: What the page is about.
        files: Its files, compared with the manifest.
        notes: Sentences to show, too.
        benchmark: A report of `keras_trt.benchmark`, or its JSON.
        verification: A report of `keras_trt.verify`, or its JSON.
        sensitivity: A report of `quantize.sensitivity` or `prune.sensitivity`, or its JSON.
        activations: Statistics of `quantize.observe`, or their JSON.

    Raises:
        BundleError: The weights cannot be read.
        InputError: Something else than such a report.
    """
    manifest = bundle.manifest
    style = resources.files(__package__).joinpath("style.css").read_text(encoding="utf-8")
    layer_of = weight_names(manifest.record)
    stored = histograms(bundle, set(layer_of))
    body = [
        f"<h1>{escape(manifest.name)}</h1>",
        f'<p class="soft">A keras_trt bundle, {escape(bundle.path.name)}</p>',
        sections.facts(manifest, files),
        "" if benchmark is None else measured.benchmark(benchmark),
        "" if verification is None else measured.verification(verification),
        sections.at_export(manifest),
        sections.interface(manifest),
        sections.layers(manifest),
        "" if sensitivity is None else measured.sensitivity(sensitivity),
        sections.ranges(manifest),
        "" if activations is None else measured.activations(activations),
        sections.weights(stored, layer_of),
        sections.sparsity(manifest),
        sections.notes(manifest, notes),
        sections.provenance(manifest, files),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_NOTHING_ELSE}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(manifest.name)}</title><style>{style}</style></head>\n"
        f"<body><main>{''.join(body)}</main></body></html>\n"
    )
