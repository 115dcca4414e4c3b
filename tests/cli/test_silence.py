"""What a module writes to stderr while it is imported."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from keras_trt.cli.silence import silenced

ROOT = Path(__file__).parent.parent.parent
LOUD = "import os; os.write(2, b'from C++')"


@pytest.fixture(autouse=True)
def _modules(tmp_path, monkeypatch):
    for name, code in {"loud": LOUD, "broken": f"{LOUD}\nraise ImportError('no libstdc++')"}.items():
        (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("loud", None)


def test_nothing_is_heard_of_a_module_and_of_others_everything(capfd):
    finders = list(sys.meta_path)
    with silenced("loud"):
        import loud

        os.write(2, b"ours")
    assert loud.__spec__.name == "loud"
    assert capfd.readouterr().err == "ours"
    assert sys.meta_path == finders
    with silenced("other"):
        del sys.modules["loud"]
        import loud
    assert capfd.readouterr().err == "from C++"


def test_its_errors_are_raised_and_stderr_comes_back(capfd):
    with silenced("broken"), pytest.raises(ImportError, match=r"no libstdc\+\+"):
        import broken  # noqa: F401
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"
    with silenced("is_not_there"), pytest.raises(ModuleNotFoundError):
        import is_not_there  # noqa: F401


def test_tensorflow_is_not_heard_where_only_a_metric_needs_it(bundle, tmp_path):
    """By a process: here it is imported already."""
    data = tmp_path / "rows.npz"
    np.savez(data, x=np.zeros((2, 4, 8, 8), np.float32), y=np.zeros(2))
    command = [sys.executable, "-m", "keras_trt", "benchmark", str(bundle), "--data", str(data)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    done = subprocess.run(
        [*command, "--metric", "nope"],
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("keras-trt benchmark: error: --metric: ")
    assert len(done.stderr.splitlines()) == 1
