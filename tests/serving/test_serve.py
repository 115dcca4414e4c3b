"""`serve`: bundles behind the real Triton server, asked through NVIDIA's own clients (`tox -e triton`)."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager

import numpy as np
import pytest

import keras_trt
from keras_trt.errors import InputError, MissingDependencyError
from tests.small_onnx import conv_model, model_of, save_bundle, sequence_model, two_in_two_out

pytriton = pytest.mark.skipif(
    importlib.util.find_spec("pytriton") is None,
    reason="nvidia-pytriton is not installed; `tox -e triton` runs it",
)
PORTS = ("http_port", "grpc_port", "metrics_port")


def free_ports():
    sockets = [socket.socket() for _ in PORTS]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    numbers = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return dict(zip(PORTS, numbers, strict=True))


def scores():
    """A score a row: an output of the batch axis alone."""
    from onnx import helper

    node = helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=0)
    return model_of([node], {"x": ["batch", 3]}, {"y": ["batch"]}, {"axes": np.array([1], np.int64)})


@contextmanager
def served(bundles, **options):
    """The ports of a server in a process of its own, which is asked to end by SIGTERM."""
    ports = free_ports()
    code = f"import keras_trt; keras_trt.serve({bundles!r}, **{ {**ports, **options}!r})"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # so that tests may send a signal to all of its processes
    )
    lines = []
    reader = threading.Thread(target=lambda: lines.extend(process.stdout), daemon=True)
    reader.start()
    try:
        wait_for(lambda: sum("Serving " in line for line in lines) == len(bundles), process, lines)
        yield ports, process, lines
    finally:
        process.terminate()
        process.wait(60)
        reader.join(10)
        process.stdout.close()


def wait_for(condition, process, lines, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "".join(lines)
        assert time.monotonic() < end, "".join(lines)
        time.sleep(0.1)


def client(kind, ports):
    module = importlib.import_module(f"tritonclient.{kind}")
    return module, module.InferenceServerClient(f"127.0.0.1:{ports[f'{kind}_port']}")


def ask(module, client, model, **arrays):
    from tritonclient.utils import np_to_triton_dtype

    inputs = []
    for name, array in arrays.items():
        inputs.append(module.InferInput(name, array.shape, np_to_triton_dtype(array.dtype)))
        inputs[-1].set_data_from_numpy(array)
    return client.infer(model, inputs)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    models = {
        "int8": conv_model(),
        "static": conv_model(int8=False, batch=4),
        "two": two_in_two_out(),
        "sequence": sequence_model(),
        "scores": scores(),
    }
    static = {"static": {"batch": (4, 4, 4)}}
    return {
        name: str(save_bundle(folder / name, model, **static.get(name, {}))) for name, model in models.items()
    }


@pytest.fixture(scope="module")
def server(bundles):
    with served(bundles, max_delay_us=2000) as (ports, process, lines):
        yield ports, process, lines


def rows(shape, count, dtype="float32", seed=0):
    rng = np.random.default_rng(seed)
    made = rng.normal(size=(count, *shape)) if dtype == "float32" else rng.integers(0, 9, (count, *shape))
    return made.astype(dtype)


@pytriton
@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_answers_are_those_of_predict(kind, server, bundles):
    module, triton = client(kind, server[0])
    for name in ("int8", "static"):
        x = rows((4, 8, 8), 3)
        want = keras_trt.load(bundles[name], verbose=0).predict(x, verbose=0)
        np.testing.assert_array_equal(ask(module, triton, name, x=x).as_numpy("y"), want)
    a, b = rows((3,), 7), rows((3,), 7, "int32")
    answer, want = (
        ask(module, triton, "two", a=a, b=b),
        keras_trt.load(bundles["two"], verbose=0).predict([a, b]),
    )
    np.testing.assert_array_equal(answer.as_numpy("total"), want[0])
    np.testing.assert_array_equal(answer.as_numpy("product"), want[1])
    for length in (2, 9):
        x = rows((length, 4), 3)
        want = keras_trt.load(bundles["sequence"], verbose=0).predict(x, verbose=0)
        np.testing.assert_array_equal(ask(module, triton, "sequence", x=x).as_numpy("y"), want)
    x = rows((3,), 6)
    np.testing.assert_allclose(
        ask(module, triton, "scores", x=x).as_numpy("y"), x.sum(1, keepdims=True), rtol=1e-5
    )


WRONG = {
    "name": {"z": rows((4, 8, 8), 1)},
    "shape": {"x": rows((4, 8, 7), 1)},
    "rank": {"x": rows((8, 8), 1)},
    "dtype": {"x": rows((4, 8, 8), 1).astype("float64")},
    "batch": {"x": rows((4, 8, 8), 33)},
}


@pytriton
@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_wrong_requests_are_answered_as_errors_and_the_server_goes_on(kind, server):
    from tritonclient.utils import InferenceServerException

    module, triton = client(kind, server[0])
    for what, arrays in WRONG.items():
        with pytest.raises(InferenceServerException, match="unexpected|data-type|batch-size|expected"):
            ask(module, triton, "int8", **arrays)
        assert ask(module, triton, "int8", x=rows((4, 8, 8), 2)).as_numpy("y").shape == (2, 8, 8, 8), what
    with pytest.raises(InferenceServerException, match="unknown model"):
        ask(module, triton, "absent", x=rows((4, 8, 8), 1))
    assert triton.is_server_ready()


@pytriton
def test_its_config_health_and_metrics(server):
    _, triton = client("http", server[0])
    config = triton.get_model_config("two")
    assert config["max_batch_size"] == 32
    assert config["dynamic_batching"]["max_queue_delay_microseconds"] == 2000
    assert {(i["name"], i["data_type"], *i["dims"]) for i in config["input"]} == {
        ("a", "TYPE_FP32", 3),
        ("b", "TYPE_INT32", 3),
    }
    assert triton.is_model_ready("two")
    with urllib.request.urlopen(f"http://127.0.0.1:{server[0]['metrics_port']}/metrics") as page:
        assert 'nv_inference_request_success{model="two"' in page.read().decode()


def memory(process):
    """Bytes that a process and its children hold."""
    import psutil

    parent = psutil.Process(process.pid)
    return sum(one.memory_info().rss for one in (parent, *parent.children(recursive=True)))


def crowd(ports, x, want, seconds, clients=16):
    """How many requests clients have had answered in so many seconds, each checked."""
    counts, wrong, end = [0] * clients, [], time.monotonic() + seconds

    def work(place):
        module, triton = client("grpc", ports)
        while time.monotonic() < end:
            row = (counts[place] * 7 + place) % len(x)
            got = ask(module, triton, "int8", x=x[row : row + 1]).as_numpy("y")
            if not np.array_equal(got, want[row : row + 1]):
                wrong.append(row)
            counts[place] += 1

    threads = [threading.Thread(target=work, args=(place,)) for place in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    return counts


@pytriton
def test_sixteen_clients_lose_nothing_share_batches_and_memory_stays(server, bundles):
    x = rows((4, 8, 8), 32, seed=3)
    want = keras_trt.load(bundles["int8"], verbose=0).predict(x, verbose=0)
    crowd(server[0], x, want, 2)
    before = memory(server[1])
    counts = crowd(server[0], x, want, float(os.environ.get("KERAS_TRT_SERVE_SECONDS", "5")))
    assert min(counts) > 0
    assert memory(server[1]) - before < 16e6
    with urllib.request.urlopen(f"http://127.0.0.1:{server[0]['metrics_port']}/metrics") as page:
        text = page.read().decode()
    done, batches = (
        int(float(re.search(rf'nv_inference_{what}{{model="int8"[^}}]*}} (\S+)', text)[1]))
        for what in ("count", "exec_count")
    )
    assert done >= sum(counts)
    assert batches < done


@pytriton
def test_several_instances_of_a_model_answer_at_once(bundles):
    x = rows((4, 8, 8), 32, seed=3)
    want = keras_trt.load(bundles["int8"], verbose=0).predict(x, verbose=0)
    with served({"int8": bundles["int8"]}, instances=2) as (ports, _, lines):
        assert min(crowd(ports, x, want, 2)) > 0
    assert sum("TRITONBACKEND_ModelInstanceInitialize: int8_0_" in line for line in lines) >= 2


@pytriton
@pytest.mark.parametrize("by", ["sigterm", "a terminal"])
def test_what_is_under_way_is_answered(bundles, by):
    with served({"int8": bundles["int8"]}, max_delay_us=1_500_000) as (ports, process, lines):
        module, triton = client("grpc", ports)
        answers = []
        x = rows((4, 8, 8), 1)
        waiting = threading.Thread(target=lambda: answers.append(ask(module, triton, "int8", x=x)))
        waiting.start()
        time.sleep(0.5)  # it waits for others to share its batch
        if by == "sigterm":
            process.send_signal(signal.SIGTERM)
        else:
            os.killpg(process.pid, signal.SIGINT)
        waiting.join(30)
        assert answers[0].as_numpy("y").shape == (1, 8, 8, 8)
        assert process.wait(60) == 0
    assert any("Answering what is under way" in line for line in lines)


# Waits for Triton's server no sooner than a file is there, however busy the machine is. To be run with `-u`:
# what Triton prints comes through this Python, which would hold it back.
_STARTING = """
import pathlib, sys, time
from pytriton.triton import TritonBase
from keras_trt.cli.main import main
wait = TritonBase._wait_for_server
def later(server):
    while not pathlib.Path(sys.argv[1]).exists():
        time.sleep(0.05)
    wait(server)
TritonBase._wait_for_server = later
sys.exit(main(sys.argv[2:]))
"""


@pytriton
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_while_it_starts_ends_it_and_its_children(bundles, tmp_path, number, code):
    """To the whole group of processes, as a terminal sends Ctrl-C: Triton's server ends by it, too."""
    ports = [f"--{name.replace('_', '-')}={port}" for name, port in free_ports().items()]
    sent = tmp_path / "sent"
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", _STARTING, str(sent), "serve", bundles["int8"], *ports],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    for line in process.stdout:
        assert "Serving " not in line
        if "server.cc" in line:  # Triton's own server prints
            break
    os.killpg(process.pid, number)
    sent.touch()
    _, err = process.communicate(timeout=45)
    assert process.returncode == code, err
    assert "Traceback" not in err
    assert err.endswith("interrupted; nothing was left half-written\n") == (code == 130)
    with pytest.raises(ProcessLookupError):  # nobody of the group is left
        os.killpg(process.pid, 0)


@pytriton
def test_the_results_of_a_mixed_precision_model_are_the_graphs_own(tmp_path):
    path = save_bundle(tmp_path / "b", conv_model(int8=False), predicted_dtypes={"y": "bfloat16"})
    with served({"b": str(path)}) as (ports, _, _):
        module, triton = client("http", ports)
        assert ask(module, triton, "b", x=rows((4, 8, 8), 1)).as_numpy("y").dtype == "float32"


def test_a_port_that_is_taken_is_named(bundles):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = {**free_ports(), "grpc_port": taken.getsockname()[1]}
        with pytest.raises(InputError, match="Pass another `grpc_port` or `host`"):
            keras_trt.serve(bundles, **ports)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"http_port": 0}, "`http_port` must be a port, 1 to 65535"),
        ({"http_port": 9000, "grpc_port": 9000}, "`grpc_port` must be a port of its own"),
        ({"max_delay_us": -1}, "`max_delay_us` must be a whole number of microseconds"),
        ({"instances": 0}, "`instances` must be None or a whole number >= 1"),
        ({"host": ""}, "`host` must be a text"),
        ({"host": "256.1.1.1"}, "Nothing can listen at 256.1.1.1"),
    ],
)
def test_wrong_arguments(bundles, given, text):
    with pytest.raises(InputError, match=text):
        keras_trt.serve(bundles, **{**free_ports(), **given})


def test_two_bundles_of_one_name_are_refused_and_told_apart_by_a_dict(bundles, tmp_path):
    with pytest.raises(InputError, match=r"Two are named 'small': .* Give names: "):
        keras_trt.serve([bundles["int8"], bundles["two"]], **free_ports())
    with pytest.raises(InputError, match="names of letters, digits"):
        keras_trt.serve({"a b": bundles["int8"]}, **free_ports())
    with pytest.raises(InputError, match="`bundles` must be a path, a list of paths"):
        keras_trt.serve([], **free_ports())


def test_without_the_server_the_error_has_the_pip_line(bundles, monkeypatch):
    monkeypatch.setitem(sys.modules, "pytriton", None)
    monkeypatch.setitem(sys.modules, "pytriton.triton", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'keras-trt\[triton\]'"):
        keras_trt.serve(bundles, **free_ports())
