"""From load to close: who may use an engine when."""

import os
import pickle
import shutil
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest

from keras_trt.errors import BundleError, InputError, RunnerError
from keras_trt.runtime import EngineModel, load
from keras_trt.runtime.runners.lifetime import Lifetime
from tests.small_onnx import conv_model, save_bundle

RUNNERS = ["openvino", "onnxruntime"]


@pytest.fixture
def path(tmp_path):
    return save_bundle(tmp_path / "b", conv_model(int8=False))


@pytest.fixture
def x(rng):
    return rng.normal(size=(3, 4, 8, 8)).astype(np.float32)


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_closed_engine_says_so(path, x, runner):
    model = load(path, runner, verbose=0)
    model.predict(x, verbose=0)
    model.close()
    model.close()
    for use in (model, model.predict_on_batch, model.predict, lambda x: model.runner.run({"x": x})):
        with pytest.raises(RunnerError, match=r"The engine is closed. Load the bundle again"):
            use(x)


@pytest.mark.parametrize("runner", RUNNERS)
def test_closing_waits_for_a_prediction_of_many_batches(path, x, runner):
    model, inside, go = load(path, runner, verbose=0), threading.Event(), threading.Event()

    def batches():
        yield x
        inside.set()
        assert go.wait(30)
        yield x

    found, closed = [], threading.Event()
    user = threading.Thread(target=lambda: found.append(model.predict(batches(), verbose=0)))
    closer = threading.Thread(target=lambda: (model.close(), closed.set()))
    user.start()
    assert inside.wait(30)
    closer.start()
    assert not closed.wait(0.2)
    go.set()
    user.join(30)
    assert closed.wait(30)
    assert found[0].shape[0] == 2 * len(x)
    with pytest.raises(RunnerError, match="The engine is closed"):
        model(x)


def test_closing_inside_a_prediction_is_an_error_not_a_standstill(path, x):
    model = load(path, verbose=0)

    def batches():
        yield x
        model.close()

    with pytest.raises(RunnerError, match="from inside its own `predict`"):
        model.predict(batches(), verbose=0)
    model.predict(x, verbose=0)


def test_threads_that_are_inside_may_come_in_again_while_another_closes():
    lifetime, waiting = Lifetime(), threading.Event()
    with lifetime.use():
        closer = threading.Thread(target=lambda: (waiting.set(), lifetime.end()))
        closer.start()
        assert waiting.wait(30)
        closer.join(0.1)
        with lifetime.use():
            assert closer.is_alive()
    closer.join(30)
    assert not closer.is_alive()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("runner", RUNNERS)
def test_a_fork_says_that_it_cannot_use_an_engine_nor_load_one(path, runner):
    script = f"""
        import os, signal
        import numpy as np
        import keras_trt
        path, runner, x = {str(path)!r}, {runner!r}, np.zeros((1, 4, 8, 8), np.float32)
        model = keras_trt.load(path, runner, verbose=0)
        model(x)
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            said = []
            for use in (lambda: model(x), lambda: keras_trt.load(path, runner, verbose=0)):
                try:
                    use()
                except keras_trt.errors.RunnerError as error:
                    said.append("is a fork" in str(error) and "spawn" in str(error))
            model.close()
            os._exit(0 if said == [True, True] else 1)
        assert os.waitpid(child, 0)[1] == 0
        model(x)
        model.close()
    """
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("runner", RUNNERS)
def test_an_engine_is_pickled_as_path_and_hash(path, x, runner):
    model = load(path, runner, verbose=0)
    data = pickle.dumps(model)
    assert len(data) < 1000
    again = pickle.loads(data)
    assert again.runner.name == runner
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))


def test_an_engine_of_another_bundle_is_not_unpickled(path, x):
    data = pickle.dumps(load(path, verbose=0))
    shutil.rmtree(path)
    save_bundle(path, conv_model(int8=True))
    with pytest.raises(BundleError, match="is not the one that was loaded before"):
        pickle.loads(data)
    shutil.rmtree(path)
    with pytest.raises(BundleError, match="does not exist"):
        pickle.loads(data)


def test_an_engine_of_a_runner_of_ones_own_is_not_pickled(path):
    model = load(path, verbose=0)
    with pytest.raises(InputError, match="was made of a runner, so it cannot be pickled"):
        pickle.dumps(EngineModel(model.bundle, model.runner))
