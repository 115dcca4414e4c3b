"""docs/layers.md, from the results of the layer sweep."""

from __future__ import annotations

from typing import Any

from benchmarks.layer_cases import CASES, SECTIONS
from benchmarks.layer_nets import KERASES, layer_of

Results = dict[tuple[str, str], dict[str, Any]]


def document(results: Results) -> str:
    """The whole page."""
    head = ["layer", *(f"{title}{road}" for title in ("Keras 3", "tf_keras") for road in ("", ", int8"))]
    lines = [_HEAD.format(**_counts(results))]
    for title, cases in SECTIONS.items():
        lines += ["", f"## {title}", "", f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
        lines += [f"| {' | '.join(_cells(name, results))} |" for name in cases if _rows(name, results)]
    return "\n".join([*lines, *_reasons(results), *_aliases(results)]) + "\n"


def _rows(name: str, results: Results) -> list[dict[str, Any]]:
    return [results[keras, name] for keras in KERASES if (keras, name) in results]


def _cells(name: str, results: Results) -> list[str]:
    layer, _, special = name.partition(":")
    cells = [f"`{layer}`{':' if special else ''}{special}"]
    for keras in KERASES:
        row = results.get((keras, name))
        cells += ["", ""] if row is None else [row["float"], _INT8[row["int8"]]]
    return cells


_INT8 = {"": "", "passes": "passes", "fails": "fails", "nothing to quantise": "-"}


def _counts(results: Results) -> dict[str, str]:
    """How many layers pass and so on; a layer passes if its plain case does."""
    lines = []
    for keras, title in zip(KERASES, ("Keras 3", "tf_keras"), strict=True):
        plain = [row for (k, name), row in results.items() if k == keras and name == layer_of(name)]
        total = len(plain)
        by = {
            kind: sum(row["float"] == kind for row in plain) for kind in ("passes", "impossible", "not run")
        }
        failed = sum("fails" in (row["float"], row["int8"]) for row in plain)
        cases = sum(k == keras for k, _ in results)
        int8 = sum(row["int8"] == "passes" for row in plain)
        lines.append(
            f"* **{title}**: of {total} layers {by['passes']} pass ({int8} of them have something to "
            f"quantise), {by['impossible']} are impossible, {by['not run']} were not run, {failed} fail; "
            f"{cases} cases."
        )
    return {"counts": "\n".join(lines)}


def _reasons(results: Results) -> list[str]:
    """Everything that does not pass, with the reason, and with what `export` says about it."""
    found: dict[str, list[str]] = {"impossible": [], "not run": [], "fails": []}
    for name in CASES:
        for row in _rows(name, results):
            kind = "fails" if "fails" in (row["float"], row["int8"]) else row["float"]
            if kind == "passes":
                continue
            reason = CASES[name].why_impossible(row["keras"])
            entry = f"* `{name}`: {reason}. *{row['error']}*" if reason else f"* `{name}`: *{row['error']}*"
            if entry not in found[kind]:
                found[kind].append(entry)
    titles = {"impossible": "Impossible", "not run": "Not run", "fails": "Fails"}
    return [
        line
        for kind, entries in found.items()
        if entries
        for line in ("", f"## {titles[kind]}, and why", "", _MEANING[kind], "", *entries)
    ]


_MEANING = {
    "impossible": "The reason, then what `export` (or Keras) says.",
    "not run": "The package that the layer wraps was not installed.",
    "fails": "Not solved yet.",
}


def _aliases(results: Results) -> list[str]:
    names = {name: row["aliases"] for (_, name), row in results.items() if "aliases" in row}
    text = ", ".join(f"`{alias}` is `{name}`" for name, aliases in sorted(names.items()) for alias in aliases)
    return ["", "## Other names", "", f"{text}."]


_HEAD = """# Every layer of Keras 3 and tf_keras

`python -m benchmarks.layers --write` writes this page. `tox -e layers` runs the same, and fails where a
result is not the one shown here or a layer has no case yet.

{counts}

Each row is a small model around the layer as named, with an open batch axis. *passes*: `export` writes it,
OpenVINO (ONNX Runtime where OpenVINO cannot load the file) computes what Keras does to a relative 0.001, and
TensorRT-RTX builds a plan for SM89 from it (built, not run: that needs such a GPU). *int8*: the same model
after `quantize_model` with calibration data; *-* where it holds nothing that TensorRT computes in int8.
An empty cell: this Keras has no such layer or option.

Layers that only act in training (dropout, noise, random augmentation) vanish from the exported graph."""
