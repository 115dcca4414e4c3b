"""What `python -m build` made is whole, installs into an empty environment, and does tutorial and quickstart.

python tests/project/release.py dist
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]


def tutorial() -> str:
    page = (ROOT / "docs" / "tutorial.md").read_text()
    return re.search(r"```python\n(.*?)```", page, re.DOTALL)[1]  # type: ignore[index]


def main() -> None:
    made = sorted(Path(sys.argv[1]).resolve().iterdir())
    assert [path.suffix for path in made] == [".whl", ".gz"], made
    subprocess.run([sys.executable, "-m", "twine", "check", "--strict", *map(str, made)], check=True)
    for package in made:
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            subprocess.run([sys.executable, "-m", "venv", "venv"], cwd=folder, check=True)
            python = str(Path(folder, "venv", "bin", "python"))
            wanted = f"keras-trt[keras,rtx] @ {package.as_uri()}"
            subprocess.run(
                [python, "-m", "pip", "install", "-q", wanted, "scikit-learn"], cwd=folder, check=True
            )
            subprocess.run([python, "-c", tutorial()], cwd=folder, check=True)
            seconds = time.perf_counter() - start
            print(f"{package.name}: from nothing to a predicted bundle in {seconds:.0f} s", flush=True)
            quickstart = str(ROOT / "examples" / "quickstart.py")
            subprocess.run([python, quickstart], cwd=folder, check=True)


if __name__ == "__main__":
    main()
