import sys

import pytest

import keras_trt


def test_options_reach_serve(run, bundle, monkeypatch):
    given = {}

    def serve(bundles, **options):
        given.update(options, bundles=bundles)

    monkeypatch.setattr(sys.modules[keras_trt.serve.__module__], "serve", serve)
    ended = run("serve", bundle, "--http-port", "9000", "--max-delay-us", "5", "--instances", "2", "-q")
    assert ended.code == 0, ended.err
    expected = {
        "bundles": [str(bundle)], "http_port": 9000, "grpc_port": 8001, "metrics_port": 8002,
        "host": "127.0.0.1", "max_delay_us": 5, "instances": 2, "runner": "auto", "device": 0, "verbose": 0,
    }  # fmt: skip
    assert given == expected


def test_names_reach_serve(run, bundle, monkeypatch):
    given = []
    monkeypatch.setattr(sys.modules[keras_trt.serve.__module__], "serve", lambda b, **_: given.append(b))
    assert run("serve", f"one={bundle}", f"two={bundle}", "-q").code == 0
    assert given == [{"one": str(bundle), "two": str(bundle)}]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["absent"], 1, "No bundle at"),
        (["small.bundle", "--http-port", "99999"], 2, "--http-port: `http_port` must be a port"),
        (["small.bundle", "--instances", "none"], 2, "--instances"),
        ([], 2, "BUNDLE"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(bundle, failed, arguments, code, text):
    assert text in failed("serve", *arguments, code=code)
