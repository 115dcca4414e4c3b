"""The page of real bundles; and in a real browser, where one is installed."""

import json
import re
import shutil
import struct
import subprocess
from dataclasses import replace

import numpy as np
import pytest

import keras_trt
from keras_trt.bundle.read import read_bundle
from keras_trt.bundle.write import write_manifest
from keras_trt.errors import BundleError, InputError
from tests.nets import dense_net, images, residual_net
from tests.small_onnx import conv_model, save_bundle

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
LONG = "a_layer_with_a_name_that_is_longer_than_a_phone_is_wide_" * 4


@pytest.fixture
def exported(k, tmp_path):
    """A pruned and quantised network, exported."""
    x, _ = images()
    model = keras_trt.prune_model(residual_net(k), sparsity=0.5)
    model = keras_trt.quantize_model(model, calibration_data=x, skip=["strided"], min_sqnr=None, verbose=0)
    keras_trt.export(model, tmp_path / "net.bundle", engine=None, calibration_data=x, verbose=0)
    return tmp_path / "net.bundle"


def words(html):
    whole = html.replace("<wbr>", "")
    return " ".join(re.sub(r"<style>.*</style>|<[^>]*>", " ", whole, flags=re.DOTALL).split())


def test_it_says_what_was_done_and_why(exported, tmp_path):
    html = keras_trt.inspect(exported).to_html(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == html
    text = words(html)
    manifest = read_bundle(exported).manifest
    assert "strided Conv2D float" in text
    assert "left out by `only` or `skip`" in text
    assert "folds into stem" in text
    assert "not in the graph" in text
    for name in manifest.quantization["ranges"]:
        assert name in text
    for name in manifest.sparsity["zeros"]:
        assert name in text
    assert html.count("<svg") == len(manifest.record["products"])
    assert manifest.onnx_sha256 in text
    assert manifest.record["calibration_data"]["sha256"] in text
    assert f"tensorflow {manifest.record['versions']['tensorflow']}" in text
    assert "✓ equal" in text
    assert "✓ as written" in text


def test_it_shows_what_was_measured(exported, tmp_path, k):
    x, _ = images()
    model = residual_net(k)
    benchmark = keras_trt.benchmark(exported, batch_sizes=(1,), against=(), seconds=0.02, verbose=0)
    verification = keras_trt.verify(model, exported, x, verbose=0)
    sensitivity = keras_trt.prune.sensitivity(model, x, levels=(0.5, 0.9), verbose=0)
    (tmp_path / "benchmark.json").write_text(benchmark.to_json())
    text = words(
        keras_trt.inspect(exported).to_html(
            benchmark=tmp_path / "benchmark.json",
            verification=verification,
            sensitivity=sensitivity.to_dict(),
        )
    )
    assert "Size and speed" in text
    assert benchmark.machine.processor in text
    assert "Verified on data" in text
    assert "✗ off" in text
    assert f"Sensitivity The loss by the share of zeros ({sensitivity.pattern})" in text


def test_it_shows_how_activations_were_spread_in_data(k, tmp_path):
    x = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")
    model = keras_trt.quantize_model(dense_net(k, 8, 12, 4), calibration_data=x, recover=None, verbose=0)
    keras_trt.export(model, tmp_path / "net.bundle", engine=None, verify=False, verbose=0)
    report = keras_trt.inspect(tmp_path / "net.bundle")
    seen = keras_trt.quantize.observe(model, x, verbose=0)
    seen.to_json(tmp_path / "seen.json")
    html = report.to_html(activations=tmp_path / "seen.json")
    assert report.to_html(activations=seen) == html
    assert html.count("<svg") == report.to_html().count("<svg") + len(seen.names)
    text = words(html)
    assert "Activations Magnitudes of quantised activations in data" in text
    for name, one in zip(seen.names, seen.histograms, strict=True):
        assert f"{name} (int8, at most {one.largest:.3g}, " in text
    assert len(html) - len(report.to_html()) < 5000 * len(seen.names)
    with pytest.raises(InputError, match=r"`activations` must be the report of keras_trt.quantize.observe"):
        report.to_html(activations={"activations": [{"tensor": "x"}]})


def test_it_loads_nothing_and_runs_nothing(exported):
    html = keras_trt.inspect(exported).to_html()
    assert re.findall(r"\b(?:src|href)\s*=|url\(|@import|<script", html) == []
    assert "default-src 'none'" in html


def test_it_shows_what_travels_along(tmp_path):
    path = save_bundle(tmp_path / "net", conv_model())
    manifest = read_bundle(path).manifest
    output = manifest.outputs[0]
    classes = tuple(f"<class {i}>" for i in range(output.shape[-1] or 25))
    write_manifest(
        path, replace(manifest, labels={output.name: classes}, metadata={"run": 7, "by": {"team": "<eyes>"}})
    )
    text = words(keras_trt.inspect(path).to_html())
    assert f"Classes of {output.name}: &lt;class 0&gt;, &lt;class 1&gt;" in text
    assert "run 7" in text
    assert "by {&quot;team&quot;: &quot;&lt;eyes&gt;&quot;}" in text


def hostile(tmp_path):
    """A bundle whose manifest holds other things than an export writes."""
    evil = '<script>alert("1")</script>'
    path = save_bundle(tmp_path / "evil.bundle", conv_model(), name=evil)
    manifest = read_bundle(path).manifest
    record = {
        "layers": [{"layer": evil, "kind": 3, "reason": None, "scheme": evil, "quantised": evil}, 7],
        "products": [{"layer": evil, "macs": "many", "computes": evil, "weights": [evil, 3]}, None],
        "verification": {"outputs": [{"output": evil, "relative": "far"}], "runner": evil},
        "versions": [1],
        "notes": evil,
        "kept_float32": {evil: evil},
        "calibration_data": {"sha256": evil, "arrays": evil},
    }
    quantization = {"ranges": {evil: -1, "b": True, "c": "x"}, "int8_mac_share": evil}
    changed = replace(manifest, record=record, quantization=quantization, sparsity={"zeros": [1], "2:4": 3})
    write_manifest(path, changed)
    return path


def test_names_are_text_and_odd_facts_are_left_out(tmp_path):
    html = keras_trt.inspect(hostile(tmp_path)).to_html()
    assert "<script" not in html
    assert "&lt;script&gt;" in html


def test_a_bundle_without_a_record_has_a_page(tmp_path):
    html = keras_trt.inspect(save_bundle(tmp_path / "old", conv_model())).to_html()
    assert "did not record its layers" in html


@pytest.mark.parametrize("name", ["benchmark", "verification", "sensitivity"])
def test_what_is_no_such_report_is_refused(tmp_path, name):
    report = keras_trt.inspect(save_bundle(tmp_path / "net", conv_model()))
    with pytest.raises(InputError, match=rf"`{name}` must be the report of keras_trt\."):
        report.to_html(**{name: {"losses": 3, "timings": [], "differences": None}})
    (tmp_path / "x.json").write_text("[")
    with pytest.raises(InputError, match=rf"`{name}` must be the report of .*x\.json"):
        report.to_html(**{name: tmp_path / "x.json"})
    with pytest.raises(InputError, match="cannot be read"):
        report.to_html(**{name: tmp_path / "absent.json"})


def test_a_page_is_written_whole_or_not_at_all(tmp_path):
    path = save_bundle(tmp_path / "net", conv_model())
    report = keras_trt.inspect(path)
    with pytest.raises(InputError, match="There is no folder"):
        report.to_html(tmp_path / "absent" / "report.html")
    (path / "model.onnx").write_bytes(b"\xff\xff")
    with pytest.raises(BundleError, match="The weights of"):
        report.to_html(tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def browse(page, *options):
    return subprocess.run(
        [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            f"--user-data-dir={page.parent / 'profile'}", *options, page.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    ).stdout  # fmt: skip


def long_names(path):
    """The bundle with names that are too long for any screen."""
    manifest = read_bundle(path).manifest
    record = json.loads(json.dumps(manifest.record).replace('"stem"', f'"{LONG}"'))
    ranges = {f"{LONG}/{name}": amax for name, amax in manifest.quantization["ranges"].items()}
    changed = replace(
        manifest, name=LONG, record=record, quantization=manifest.quantization | {"ranges": ranges}
    )
    write_manifest(path, changed)
    return path


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on PATH: apt-get install chromium")
def test_in_a_browser_nothing_overflows_in_either_colour_scheme(exported, tmp_path):
    measured = keras_trt.benchmark(
        {LONG: exported}, batch_sizes=(1,), against=("onnxruntime",), seconds=0.02, verbose=0
    )
    page = tmp_path / "report.html"
    html = keras_trt.inspect(long_names(exported)).to_html(page, benchmark=measured)
    for width in (390, 1280):
        frame = tmp_path / f"frame_{width}.html"
        # In a frame: the page itself forbids scripts. What a table scrolls within itself is not the page's.
        frame.write_text(
            f"<iframe width={width} height=900 frameborder=0></iframe><script>"
            f"const frame = document.querySelector('iframe'); frame.onload = () => {{"
            "const page = frame.contentDocument, root = page.documentElement;"
            "const wide = [...page.querySelectorAll('body *')].filter(e => !e.closest('svg, .scroll') &&"
            " e.getBoundingClientRect().right > root.clientWidth + 1).map(e => e.outerHTML.slice(0, 80));"
            "const shown = page.querySelectorAll('tr').length;"
            "const seen = {page: root.scrollWidth, frame: root.clientWidth, wide, shown};"
            "document.body.textContent = JSON.stringify(seen)"
            f"}}; frame.srcdoc = {json.dumps(html).replace('</', '<' + chr(92) + '/')};</script>",
            encoding="utf-8",
        )
        dumped = browse(frame, "--dump-dom", "--virtual-time-budget=5000")
        seen = json.loads(re.search(r"\{.*\}", re.sub(r"<[^>]*>", "", dumped))[0].replace("&lt;", "<"))
        assert seen["frame"] <= width
        assert seen["page"] <= seen["frame"], seen
        assert seen["wide"] == []
        assert seen["shown"] > 20
        if width == 390:  # tables are blocks there, none of which scrolls
            assert 'class="scroll"' in html
    colours = {}
    for scheme, number in (("dark", 0), ("light", 1)):
        for width in (390, 1280):
            shot = tmp_path / f"{scheme}_{width}.png"
            setting = f"--blink-settings=preferredColorScheme={number}"
            browse(page, setting, f"--window-size={width},1600", f"--screenshot={shot}")
            data = shot.read_bytes()
            assert struct.unpack(">II", data[16:24]) == (width, 1600)
            colours[scheme, width] = corner(shot)
    assert max(colours["dark", 390]) < 64
    assert min(colours["light", 390]) > 192
    assert colours["dark", 390] == colours["dark", 1280]


def corner(picture):
    """The colour of the page beside its text."""
    from matplotlib.image import imread

    return [round(255 * float(value)) for value in imread(picture)[2, 2, :3]]
