"""Runs the examples one after the other, each in a process of its own, and says how each has ended.

python examples/run_all.py            # all, in full
python examples/run_all.py --quick    # all, with small settings
python examples/run_all.py quickstart callbacks_only
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(__file__).parent
# What each is called with beside --quick; without a network the pretrained weights cannot be had.
EXAMPLES = {
    "quickstart": [],
    "callbacks_only": [],
    "transfer_learning": ["--weights", "none"],
    "segmentation_medical": [],
    "segmentation_medical 3D": ["--volumes"],
    "speech_commands": [],
    "text_classifier": [],
    "driving_multi_task": [],
    "tfmot_migration": [],
    "nvidia_toolkit_migration": [],
    "edge_without_tensorflow": [],
    "triton_repository": [],
    "ray_batch": [],
    "old_example": [],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(EXAMPLES)}; default: all")
    parser.add_argument("--quick", action="store_true", help="small settings")
    options = parser.parse_args()
    ended = {}
    for name in options.names or EXAMPLES:
        script, quick = FOLDER / f"{name.split()[0]}.py", ["--quick"] * options.quick
        print(f"\n== {name}", flush=True)
        start = time.perf_counter()
        code = subprocess.call([sys.executable, str(script), *EXAMPLES[name], *quick])
        ended[name] = (code, time.perf_counter() - start)
    for name, (code, seconds) in ended.items():
        print(f"{'as promised' if code == 0 else f'FAILED ({code})':12} {seconds:6.0f} s  {name}")
    sys.exit(any(code for code, _ in ended.values()))


if __name__ == "__main__":
    main()
