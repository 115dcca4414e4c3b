"""Locks between real processes."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from keras_trt._machine.lock import locked

ROOT = Path(__file__).parents[2]
HOLDER = """
import sys, time
sys.path.insert(0, {root!r})
from pathlib import Path
from keras_trt._machine.lock import locked
with locked(Path({path!r})):
    {fork}
    print("held", flush=True)
    time.sleep(60)
"""


def holder(path, fork="pass"):
    code = HOLDER.format(root=str(ROOT), path=str(path), fork=fork)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize("folder", [True, False])
def test_a_killed_holder_leaves_no_lock(tmp_path, folder):
    path = tmp_path if folder else tmp_path / "lock"
    process = holder(path)
    waited = []
    killer = threading.Timer(0.5, process.kill)
    killer.start()
    start = time.perf_counter()
    with locked(path, waiting=lambda: waited.append(True)):
        seconds = time.perf_counter() - start
    process.wait()
    process.stdout.close()
    killer.join()
    assert waited == [True], "said once"
    assert 0.3 < seconds < 10


def test_threads_wait_for_each_other_too(tmp_path):
    inside, most = [], []

    def work():
        with locked(tmp_path / "lock"):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.02)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 5


def test_an_error_inside_gives_the_lock_back(tmp_path):
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "lock"):
        raise ZeroDivisionError
    with locked(tmp_path / "lock", waiting=lambda: pytest.fail("it is held")):
        assert (tmp_path / "lock").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_a_child_forked_meanwhile_does_not_keep_the_lock(tmp_path):
    code = f"""
import os, sys, time
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from keras_trt._machine.lock import locked
with locked(Path({str(tmp_path / "lock")!r})):
    child = os.fork()
    if not child:
        time.sleep(30)
        os._exit(0)
print(child, flush=True)
"""
    done = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    child = int(done.stdout.readline())
    done.wait()
    done.stdout.close()
    try:
        with locked(tmp_path / "lock", waiting=lambda: pytest.fail("the child holds it")):
            assert (tmp_path / "lock").exists()
    finally:
        os.kill(child, signal.SIGKILL)
