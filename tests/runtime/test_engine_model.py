"""`EngineModel.predict` beside the `predict` of a Keras model that computes the same."""

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from keras_trt.errors import BundleError, InputError
from keras_trt.runtime import EngineModel, load
from tests.small_onnx import conv_model, save_bundle, sequence_model, two_in_two_out

A, B = np.random.default_rng(0).normal(size=(70, 3)), np.random.default_rng(1).integers(0, 9, size=(70, 3))
STRUCTURES = {
    "lists": (["a", "b"], ["total", "product"]),
    "dicts": ({"a": "a", "b": "b"}, {"sum": "total", "prod": "product"}),
}


@pytest.fixture(params=list(STRUCTURES))
def pair(request, k, tmp_path):
    """A Keras model and a bundle that compute the same, with inputs and outputs in one structure."""
    a, b = k.Input((3,), name="a"), k.Input((3,), dtype="int32", name="b")
    b_float = k.layers.Rescaling(1.0)(b)
    total, product = k.layers.Add()([a, b_float]), k.layers.Multiply()([a, b_float])
    lists = request.param == "lists"
    keras_model = k.Model(
        [a, b] if lists else {"a": a, "b": b},
        [total, product] if lists else {"sum": total, "prod": product},
    )
    takes, gives = STRUCTURES[request.param]
    path = save_bundle(tmp_path / "b", two_in_two_out(), input_structure=takes, output_structure=gives)
    x = [A, B] if lists else {"a": A, "b": B}
    return keras_model, load(path, verbose=0), x


def same(found, wanted):
    if isinstance(wanted, dict):
        assert list(found) == list(wanted)
        found, wanted = list(found.values()), list(wanted.values())
    assert isinstance(found, list)
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one, other, rtol=1e-6)


@pytest.mark.parametrize(
    "options", [{}, {"batch_size": 7}, {"batch_size": 1000}, {"steps": 2}, {"batch_size": 3, "steps": 4}]
)
def test_arrays_predict_as_in_keras(pair, options):
    keras_model, engine, x = pair
    same(engine.predict(x, verbose=0, **options), keras_model.predict(x, verbose=0, **options))


def test_a_batch_predicts_as_in_keras(pair):
    keras_model, engine, x = pair
    same(engine.predict_on_batch(x), keras_model.predict_on_batch(x))
    same(engine(x), keras_model.predict_on_batch(x))


def part(x, start, stop):
    return [v[start:stop] for v in x] if isinstance(x, list) else {n: v[start:stop] for n, v in x.items()}


def parts(x):
    """Batches of uneven size with labels, as a data set yields them."""
    for start, stop in ((0, 16), (16, 32), (32, 37)):
        found = part(x, start, stop)
        yield (tuple(found) if isinstance(found, list) else found), np.zeros(stop - start)


@pytest.mark.filterwarnings("ignore:Your input ran out of data")  # Keras 3 on every generator that ends
def test_generators_predict_as_in_keras(pair):
    keras_model, engine, x = pair
    same(engine.predict(parts(x), verbose=0), keras_model.predict(parts(x), verbose=0))
    same(engine.predict(parts(x), verbose=0, steps=2), keras_model.predict(parts(x), verbose=0, steps=2))


def test_tf_data_predicts_as_in_keras(pair):
    import tensorflow as tf

    keras_model, engine, x = pair
    data = tf.data.Dataset.from_tensor_slices((tuple(x) if isinstance(x, list) else x, np.zeros(70))).batch(
        16
    )
    same(engine.predict(data, verbose=0), keras_model.predict(data, verbose=0))
    same(
        engine.predict(data.repeat(), verbose=0, steps=3),
        keras_model.predict(data.repeat(), verbose=0, steps=3),
    )
    same(engine.predict(tf.nest.map_structure(tf.constant, x), verbose=0), keras_model.predict(x, verbose=0))


def test_sequences_predict_as_in_keras(pair, k):
    keras_model, engine, x = pair
    base = getattr(k.utils, "PyDataset", k.utils.Sequence)

    class Rows(base):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            return list(parts(x))[index]

    same(engine.predict(Rows(), verbose=0), keras_model.predict(Rows(), verbose=0))


def test_callbacks_hear_what_keras_tells_them(pair, k):
    keras_model, engine, x = pair

    class Log(k.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.heard = []

        def on_predict_begin(self, logs=None):
            self.heard.append("begin")

        def on_predict_batch_begin(self, batch, logs=None):
            self.heard.append(("batch begin", batch))

        def on_predict_batch_end(self, batch, logs=None):
            self.heard.append(("batch end", batch, bool(logs)))

        def on_predict_end(self, logs=None):
            self.heard.append("end")

    ours, theirs = Log(), Log()
    engine.predict(x, verbose=0, callbacks=[ours])
    keras_model.predict(x, verbose=0, callbacks=[theirs])
    assert ours.heard == theirs.heard
    assert ours.params["steps"] == 3


@pytest.fixture
def conv(tmp_path):
    return load(save_bundle(tmp_path / "b", conv_model()), verbose=0)


def test_float64_is_cast_and_a_plain_structure_gives_an_array(conv, rng):
    y = conv.predict(rng.normal(size=(5, 4, 8, 8)), verbose=0)
    assert (y.shape, y.dtype) == ((5, 8, 8, 8), np.float32)


def test_a_static_batch_takes_any_number_of_rows(tmp_path, conv, rng):
    path = save_bundle(tmp_path / "static", conv_model(batch=4), batch=(4, 4, 4))
    static = load(path, verbose=0)
    x = rng.normal(size=(10, 4, 8, 8)).astype(np.float32)
    for size in (1, 4, 5, 32):
        np.testing.assert_allclose(
            static.predict(x, batch_size=size, verbose=0), conv.predict(x, verbose=0), atol=1e-6
        )
    assert static.inputs[0].shape == ("batch", 4, 8, 8)


def test_a_second_dynamic_axis_may_change_between_calls(tmp_path):
    path = save_bundle(tmp_path / "b", sequence_model(), axis_sizes={"time": (1, 8, 64)})
    model = load(path, verbose=0)
    for steps in (1, 5):
        assert model.predict(np.zeros((3, steps, 4)), verbose=0).shape == (3, steps, 2)


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (
            np.zeros((5, 4, 8, 9)),
            r"Input `x` takes the shape \(batch, 4, 8, 8\). Received: .* \(5, 4, 8, 9\)",
        ),
        (np.zeros((5, 4, 8, 8), complex), "Input `x` takes float32, and complex128"),
        ({"image": np.zeros((5, 4, 8, 8))}, "'x'"),
        (np.zeros((0, 4, 8, 8)), "`x` holds no batch to predict"),
        (iter([]), "`x` holds no batch to predict"),
        (None, "Input `x` takes float32, and object"),
    ],
)
def test_a_wrong_input_is_named(conv, x, text):
    with pytest.raises(InputError, match=text):
        conv.predict(x, verbose=0)


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"batch_size": 2.5}, {"steps": 0}, {"steps": "all"}])
def test_a_wrong_number_is_named(conv, options):
    with pytest.raises(InputError, match=f"`{next(iter(options))}` must be None or a whole number >= 1"):
        conv.predict(np.zeros((5, 4, 8, 8)), verbose=0, **options)


def test_an_engine_does_not_train(conv):
    with pytest.raises(InputError, match="inference only"):
        conv(np.zeros((1, 4, 8, 8)), training=True)


def test_loading_says_what_runs_and_why(tmp_path, capsys):
    path = save_bundle(tmp_path / "b", conv_model(int8=False))
    model = load(path, "openvino")
    assert capsys.readouterr().out == "small runs on openvino: asked for\n"
    assert (model.runner.name, model.runner.reason) == ("openvino", "asked for")
    load(path, "openvino", verbose=0)
    assert capsys.readouterr().out == ""


def test_the_summary_tells_what_the_bundle_holds(tmp_path):
    lines = []
    load(save_bundle(tmp_path / "b", conv_model(int8=False)), verbose=0).summary(print_fn=lines.append)
    for text in ("runner     openvino", "x: float32 ('batch', 4, 8, 8)", "min 1, opt 8, max 32", "opset 19"):
        assert text in lines[0]


def test_closing_ends_it(tmp_path):
    with load(save_bundle(tmp_path / "b", conv_model(int8=False)), verbose=0) as model:
        assert isinstance(model, EngineModel)
        assert "runner='openvino'" in repr(model)


def test_a_path_without_bundle_is_an_error(tmp_path):
    with pytest.raises(BundleError, match="does not exist"):
        load(tmp_path / "gone")


def test_predicting_needs_no_tensorflow_and_no_keras(tmp_path):
    path = save_bundle(tmp_path / "b", conv_model())
    script = f"""
        import sys

        BLOCKED = "tensorflow keras tf_keras tensorflow_model_optimization tf2onnx".split()

        class Blocker:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in BLOCKED:
                    raise ImportError(f"{{name}} is blocked")

        sys.meta_path.insert(0, Blocker())
        import pkgutil
        import importlib
        import numpy as np
        for room in ("bundle", "engine", "runtime"):
            package = importlib.import_module(f"keras_trt.{{room}}")
            for module in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"keras_trt.{{room}}.{{module.name}}")
        from keras_trt.engine import available_builders, build_plan
        from keras_trt.runtime import load
        model = load({str(path)!r}, verbose=0)
        assert model.predict(np.zeros((3, 4, 8, 8)), verbose=0).shape == (3, 8, 8, 8)
        if available_builders():
            build_plan(model.bundle.onnx_path, verbose=0)
        print("done")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout == "done\n", done.stderr
