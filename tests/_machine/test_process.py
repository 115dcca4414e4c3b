"""What an export changes in the process is put back, and two threads do not see each other's changes."""

from __future__ import annotations

import ast
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from keras_trt._machine.process import alone, attributes_replaced
from keras_trt.errors import ExportError
from keras_trt.exporting.export import export
from keras_trt.runtime import load


class Layer:
    call = "the class's"


def test_attributes_come_back_in_any_order_and_after_ctrl_c():
    plain, own = Layer(), Layer()
    own.call = "its own"
    with pytest.raises(KeyboardInterrupt), attributes_replaced() as replace:
        for layer in (plain, own, own):
            replace(layer, "call", "ours")
        assert (plain.call, own.call) == ("ours", "ours")
        raise KeyboardInterrupt
    assert vars(plain) == {}
    assert vars(own) == {"call": "its own"}


def test_one_thread_at_a_time():
    inside, most = [], []

    def work(number):
        with alone(), alone():
            inside.append(number)
            time.sleep(0.001)  # lets another thread in, if there is a way
            most.append(len(inside))
            inside.remove(number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(50)))
    assert set(most) == {1}


def net(k, seed):
    k.utils.set_random_seed(seed)
    layers = [k.layers.TimeDistributed(k.layers.Dense(4, "gelu")), k.layers.LSTM(3), k.layers.Dense(2)]
    return k.Sequential([k.Input((5, 6), name="x"), *layers], name=f"net_{seed}")


def state(model):
    """What an export changes while it runs."""
    import tf2onnx.tfonnx  # noqa: F401 - fills the tables
    from tensorflow.python.framework import ops
    from tf2onnx.handler import tf_op

    logger = logging.getLogger("tf2onnx")
    tables = {domain: [dict(v) for v in versions] for domain, versions in tf_op.get_opsets().items()}
    layers = [layer for layer in model._flatten_layers()]
    return (
        tables,
        tf_op._MAPPING,
        (logger.level, logger.disabled),
        frozenset(n for n in ops.gradient_registry._registry if n.startswith("CustomGradient")),
        [{name: value for name, value in vars(layer).items() if callable(value)} for layer in layers],
        [layer.dtype_policy.name for layer in layers],
    )


def test_two_threads_export_one_model_and_another(k, tmp_path):
    models = [net(k, 1), net(k, 2)]
    rows = np.random.default_rng(0).normal(size=(3, 5, 6)).astype(np.float32)
    expected = [np.asarray(model(rows)) for model in models]
    jobs = [(number, number % 2) for number in range(4)]  # each model twice, at the same time
    start = threading.Barrier(len(jobs))

    def work(job):
        number, which = job
        start.wait()
        export(models[which], tmp_path / str(number), engine=None, verbose=0)

    before = [state(model) for model in models]
    with ThreadPoolExecutor(len(jobs)) as pool:
        list(pool.map(work, jobs))
    assert [state(model) for model in models] == before
    for number, which in jobs:
        with load(tmp_path / str(number), runner="onnxruntime", verbose=0) as loaded:
            np.testing.assert_allclose(loaded.predict(rows, verbose=0), expected[which], atol=1e-5)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_an_export_that_fails_leaves_all_as_it_was(k, tmp_path, error, policy):
    import tensorflow as tf

    @tf.custom_gradient
    def doubled(x):
        return 2 * x, lambda upstream: 2 * upstream

    fails = []

    class Failing(k.layers.Layer):
        def call(self, x):
            y = doubled(x)
            if fails:
                raise error("no")
            return y

    x = k.Input((5, 6), name="x")
    y = k.layers.LSTM(3)(k.layers.TimeDistributed(k.layers.Dense(4, dtype=policy))(x))
    model = k.Model(x, Failing(name="failing")(y))
    before = state(model)
    fails.append(True)
    with pytest.raises(ExportError if error is ValueError else KeyboardInterrupt):
        export(model, tmp_path / "net", engine=None, verbose=0)
    assert state(model) == before
    fails.clear()
    export(model, tmp_path / "net", engine=None, verbose=0)
    assert state(model) == before


def test_a_conversion_that_fails_leaves_tf2onnx_as_it_was(k, tmp_path, monkeypatch):
    from keras_trt.convert import tf2onnx_seam

    def fail(*_):
        raise KeyboardInterrupt

    model = net(k, 1)
    before = state(model)
    monkeypatch.setattr(tf2onnx_seam, "_optimised", fail)
    with pytest.raises(KeyboardInterrupt):
        export(model, tmp_path / "net", engine=None, verbose=0)
    assert state(model) == before


def test_stages_are_logged_always_and_printed_where_asked(k, tmp_path, caplog, capsys):
    model = k.Sequential([k.Input((3,)), k.layers.Dense(2)])
    with caplog.at_level(logging.INFO, logger="keras_trt"):
        export(model, tmp_path / "quiet", engine=None, verbose=0)
        assert capsys.readouterr().out == ""
        assert [r.getMessage().split(":")[0] for r in caplog.records][:2] == ["trace", "convert"]
        export(model, tmp_path / "shown", engine=None, verbose=1)
    assert "\r       trace " in capsys.readouterr().out


PACKAGE = Path(__file__).parents[2] / "keras_trt"
CHANGES_THE_PROCESS = {
    *("catch_warnings", "simplefilter", "filterwarnings", "redirect_stdout", "redirect_stderr"),
    *("chdir", "setLevel", "putenv", "unsetenv", "signal.signal", "gc.disable", "set_start_method"),
    *(f"environ.{method}" for method in ("clear", "pop", "setdefault", "update")),
    *(f"sys.{name}.{method}" for name in ("path", "meta_path") for method in ("append", "insert", "remove")),
}


def unguarded(source: str) -> list[int]:
    """Lines that change what all threads share without holding the lock: outside of `with alone()`."""
    lines = []

    def visit(node: ast.AST, guarded: bool) -> None:
        if isinstance(node, ast.With):
            for item in node.items:
                visit(item, guarded)
                guarded = guarded or ast.unparse(item.context_expr) == "alone()"
            for child in node.body:
                visit(child, guarded)
            return
        if not guarded:
            changed = f".{ast.unparse(node.func)}" if isinstance(node, ast.Call) else ""
            is_set = isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load)
            if any(changed.endswith(f".{name}") for name in CHANGES_THE_PROCESS) or (
                is_set and ast.unparse(node.value).endswith("environ")
            ):
                lines.append(node.lineno)
        for child in ast.iter_child_nodes(node):
            visit(child, guarded)

    visit(ast.parse(source), False)
    return lines


# Whose process is its own, or which only add what nobody else looks at, or last as long as what they are for.
WITHOUT_THE_LOCK = {
    "_registering.py": "a finder of modules that finds none itself, put in once",
    "cli/main.py": "the command: no other thread of a user's runs in its process",
    "cli/silence.py": "as above",
    "cli/values.py": "as above",
    "measuring/benchmark.py": "measures all the time that Python collects no garbage; put back in `finally`",
    "serving/serve.py": "hears signals as long as the server runs, on the main thread only",
}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_what_all_threads_share_is_changed_under_the_lock(path):
    assert bool(unguarded(path.read_text())) == (path.relative_to(PACKAGE).as_posix() in WITHOUT_THE_LOCK)


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("with warnings.catch_warnings():\n    pass", [1]),
        ("with catch_warnings(), alone():\n    pass", [1]),
        ("with alone(), warnings.catch_warnings():\n    logger.setLevel(1)", []),
        ("with alone():\n    if x:\n        with catch_warnings(): pass\nlogger.setLevel(1)", [4]),
        ("os.environ['A'] = '1'\nwith alone():\n    os.environ['A'] = '1'\ndel os.environ['A']", [1, 4]),
        ("os.environ.pop('A')\nsys.path.insert(0, '.')\ngc.disable()\nsignal.signal(2, f)", [1, 2, 3, 4]),
        ("os.environ['A'], os.environ.get('A'), values.pop('A'), process.send_signal(2)", []),
    ],
)
def test_a_change_without_the_lock_is_seen(source, lines):
    assert unguarded(source) == lines


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_functions_traced_before_an_export_are_trained_with_behind_it(k, tmp_path, policy):
    """Their gradients were registered when they were traced, and stand in the exported graph, too."""
    import tensorflow as tf

    @tf.custom_gradient
    def rounded(x):
        return tf.round(x), lambda upstream: upstream

    class Rounding(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, 3))])
        def __call__(self, x):
            return rounded(x)

    options = tf.saved_model.SaveOptions(experimental_custom_gradients=True)
    tf.saved_model.save(Rounding(), str(tmp_path / "rounding"), options=options)
    loaded = tf.saved_model.load(str(tmp_path / "rounding"))
    doubled = tf.function(lambda x: 2 * rounded(x))

    class Both(k.layers.Layer):
        def call(self, x):
            return doubled(x) + tf.cast(loaded(tf.cast(x, tf.float32)), x.dtype)

    inputs = k.Input((4,))
    dense = k.layers.Dense(3, dtype=policy)
    model = k.Model(inputs, Both(dtype=policy)(dense(inputs)))
    x = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    model.compile("sgd", "mse", jit_compile=False)
    model.fit(x, x[:, :3], verbose=0)
    export(model, tmp_path / "bundle", engine=None, verify=False, verbose=0)
    before = dense.get_weights()[0]
    model.fit(x, x[:, :3], verbose=0)
    assert not np.array_equal(dense.get_weights()[0], before)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.cast(model(x), tf.float32))
    assert tape.gradient(loss, model.trainable_variables)[0] is not None
