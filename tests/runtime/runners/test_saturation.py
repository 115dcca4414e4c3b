import platform

import pytest

from keras_trt.runtime.runners import cpu
from keras_trt.runtime.runners.saturation import saturates
from tests.small_onnx import conv_model, manifest_of


@pytest.mark.parametrize(
    ("machine", "text", "expected"),
    [
        ("x86_64", "processor : 0\nflags\t\t: fpu sse2 avx avx2\n", True),
        ("x86_64", "flags : fpu avx2 avx512f avx512bw\n", True),
        ("x86_64", "flags : fpu avx2 avx512f avx512_vnni\n", False),
        ("AMD64", "flags : fpu avx2 avx_vnni\n", False),
        ("x86_64", "model name : unknown\n", False),
        ("aarch64", "Features : fp asimd\n", False),
    ],
)
def test_the_flags_of_the_processor_tell(machine, text, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: machine)
    (tmp_path / "cpuinfo").write_text(text)
    assert saturates(tmp_path / "cpuinfo") is expected


def test_without_a_file_nothing_is_known(tmp_path):
    assert saturates(tmp_path / "none") is False


@pytest.mark.parametrize(
    ("saturating", "first"), [(True, "openvino without its int8 arithmetic"), (False, "openvino")]
)
def test_int8_kernels_that_saturate_are_not_used(saturating, first, monkeypatch):
    monkeypatch.setattr(cpu, "saturates", lambda: saturating)
    manifest = manifest_of(conv_model(), "0" * 64, precision="int8")
    assert str(next(cpu.settings(manifest))) == first
    assert [str(s) for s in cpu.settings(manifest_of(conv_model(), "0" * 64))] == [
        "openvino",
        "onnxruntime",
        "onnxruntime without its optimisations",
    ]
