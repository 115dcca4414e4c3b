"""The same model gives the same bytes in another process too, where sets and hashes have another order."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXPORTS = """
import hashlib, tempfile
from pathlib import Path
import keras, tf_keras
import keras_trt
from tests.nets import images, residual_net

def recurrent(k):
    x = k.Input((5, 8), name="x")
    y = k.layers.MultiHeadAttention(2, 4)(x, x)
    return k.Model(x, k.layers.GRU(4)(k.layers.LayerNormalization()(k.layers.Add()([x, y]))))

for k in (keras, tf_keras):
    k.utils.set_random_seed(0)
    int8 = keras_trt.quantize_model(residual_net(k), calibration_data=images()[0], verbose=0)
    for model, options in ((int8, {"precision": "fp16"}), (recurrent(k), {"external_data": True})):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "net"
            keras_trt.export(model, path, engine=None, verify=False, verbose=0, **options)
            for file in sorted(path.iterdir()):
                print(k.__name__, file.name, hashlib.sha256(file.read_bytes()).hexdigest())
"""


def digests(hash_seed):
    done = subprocess.run(
        [sys.executable, "-c", EXPORTS],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


def test_other_processes_write_the_same_bytes():
    first = digests("1")
    assert len(first) == 2 * (3 + 4)  # by Keras: graph, manifest and probe, then the weights too
    assert digests("2") == first
