"""`load_model` on files that somebody else wrote: no code of theirs runs, and a damaged file is named."""

import copy
import functools
import json
import operator
import random
import sys
import tempfile
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest

import keras_trt
from keras_trt.errors import InputError, KerasTRTError, ModelError
from tests.nets import compiled, images, residual_net

CANARY = "canary_of_the_file"


@pytest.fixture
def canary(tmp_path, monkeypatch):
    """A module that must not be imported, found by every import of a name that ends like it."""
    folder = tmp_path / "site"
    folder.mkdir()
    asked = []

    class Watch:
        def find_spec(self, name, path=None, target=None):
            if CANARY in name:
                asked.append(name)

    (folder / f"{CANARY}.py").write_text("class Evil: ...\ndef evil(x): return x\n")
    monkeypatch.syspath_prepend(str(folder))
    watch = Watch()
    sys.meta_path.insert(0, watch)  # in place: other finders keep the list
    yield
    sys.meta_path.remove(watch)
    assert not asked
    assert not [name for name in sys.modules if CANARY in name]


@functools.cache
def saved_bytes(k):
    """A file with what names a class: twins, masks, a nested model, a regulariser, a loss, a schedule."""
    inner = k.Sequential([k.Input((6,)), k.layers.Dense(4, activation="relu", kernel_regularizer="l2")])
    inputs = k.Input((6,))
    outputs = k.layers.LSTM(2)(k.layers.Reshape((2, 2))(inner(inputs)))
    model = keras_trt.quantize_model(k.Model(inputs, outputs), verbose=0)
    model = keras_trt.prune_model(model, 0.5)
    model.compile(k.optimizers.Adam(k.optimizers.schedules.CosineDecay(0.1, 10)), "mse", metrics=["mae"])
    with tempfile.TemporaryDirectory() as folder:
        keras_trt.save_model(model, f"{folder}/m.keras")
        return Path(folder, "m.keras").read_bytes()


@pytest.fixture
def saved(k, tmp_path):
    """The file of `saved_bytes`, in a folder of the test's own."""
    (tmp_path / "m.keras").write_bytes(saved_bytes(k))
    return tmp_path / "m.keras"


def config_of(path, part="config.json"):
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read(part))


def rewrite(path, content, part="config.json"):
    """The file with another part, a text or JSON data."""
    text = content if isinstance(content, str | bytes) else json.dumps(content)
    changed = path.with_name("changed.keras")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(changed, "w") as new:
        for name in old.namelist():
            new.writestr(name, text if name == part else old.read(name))
    return changed


def places(config, at=()):
    """The path of every value inside JSON data."""
    items = config.items() if isinstance(config, dict) else enumerate(config)
    for key, value in items:
        yield (*at, key)
        if isinstance(value, dict | list):
            yield from places(value, (*at, key))


def put(config, place, value):
    changed = copy.deepcopy(config)
    holder = changed
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = value
    return changed


def evil(registered="Evil", **changes):
    found = {"module": CANARY, "class_name": "Evil", "config": {}, "registered_name": registered}
    return found | changes


CRAFTED = [
    evil(),
    evil(None),
    evil("keras_trt>QuantizedDense"),
    evil("Dense", class_name="Dense"),
    evil(module=f"keras_{CANARY}"),
    evil(module=f"types.{CANARY}"),
    evil(class_name="function", config="evil"),
    evil("relu", class_name="function", config="evil"),
    evil("evil", class_name="function", config="relu"),
    evil(class_name="function", config="function"),
    evil(class_name="__typespec__", spec_name="Evil", config=[]),
    evil(quantization={"base": [CANARY, "Evil", "Evil"]}),
    {"class_name": "Dense", "config": {"quantization": {"base": [CANARY, "Evil", "Evil"]}}},
]


def try_load(path, **options):
    try:
        keras_trt.load_model(path, **options)
    except KerasTRTError:
        return
    except Exception as e:
        pytest.fail(f"a raw {type(e).__name__} reached the user: {e}")


@pytest.mark.usefixtures("canary")
def test_no_place_of_a_config_makes_it_import_a_module(saved):
    config = config_of(saved)
    every = list(places(config))
    named = [p for p in every if p[-1] in ("module", "class_name", "registered_name")]
    draw = random.Random(0)
    changed = [put(config, place, CANARY) for place in draw.sample(named, 20)]
    changed += [put(config, place, draw.choice(CRAFTED)) for place in draw.sample(every, 60)]
    changed += [put(config, (part,), node) for part in ("compile_config", "config") for node in CRAFTED]
    for one in changed:
        try_load(rewrite(saved, one))


@pytest.mark.usefixtures("canary")
@pytest.mark.parametrize("base", [[CANARY, "Evil", "Evil"], [CANARY, "Evil.Inner", "keras_trt>PruningMask"]])
def test_the_base_of_a_quantised_layer_is_not_imported_and_named(saved, base):
    config = config_of(saved)
    bases = [p for p in places(config) if p[-1] == "base"]
    assert bases
    for place in bases:
        with pytest.raises(ModelError, match=rf"`{CANARY}.{base[1]}`, which is not known.*custom_objects="):
            keras_trt.load_model(rewrite(saved, put(config, place, base)))


@pytest.mark.usefixtures("canary")
@pytest.mark.parametrize("base", [3, [], ["a", "b"], [1, 2, 3], {"a": "b"}, [["os"], "x", "y"]])
def test_a_base_that_is_not_three_names_is_an_error_of_the_file(saved, base):
    config = config_of(saved)
    place = next(p for p in places(config) if p[-1] == "base")
    with pytest.raises(InputError, match="three names"):
        keras_trt.load_model(rewrite(saved, put(config, place, base)))


@pytest.mark.usefixtures("canary")
def test_masks_name_no_classes(saved):
    infos = config_of(saved, "keras_trt_masks.json")
    assert any(infos)
    for content in ([evil()] * len(infos), evil(), [[1]] * len(infos), "[" * 100_000, "9" * 5000, "\x00"):
        try_load(rewrite(saved, content, "keras_trt_masks.json"))


@pytest.mark.parametrize("function", ["os.system", "builtins.eval", "shutil.rmtree", "keras.utils.get_file"])
def test_functions_of_other_modules_are_refused_in_both_kerases(saved, function):
    module, name = function.rsplit(".", maxsplit=1)
    node = {"module": module, "class_name": "function", "config": name, "registered_name": name}
    config = config_of(saved)
    place = next(p for p in places(config) if p[-1] == "activation")
    with pytest.raises(ModelError, match=f"the function `{function}`, which is not known"):
        keras_trt.load_model(rewrite(saved, put(config, place, node)))


@pytest.fixture
def own(k, monkeypatch):
    """A module of the user's with a layer that is not registered, and a class that is no layer."""
    module = types.ModuleType("modules_of_the_user")

    class Scaled(k.layers.Dense):
        """Nothing of its own."""

    class Other:
        """No layer."""

    for cls in (Scaled, Other):
        cls.__module__, cls.__qualname__ = module.__name__, cls.__name__
        setattr(module, cls.__name__, cls)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def quantised(k, layer, tmp_path):
    x = np.random.default_rng(0).normal(size=(8, 6)).astype("float32")
    model = keras_trt.quantize_model(k.Sequential([k.Input((6,)), layer]), calibration_data=x, verbose=0)
    keras_trt.save_model(model, tmp_path / "own.keras")
    return tmp_path / "own.keras", x, model.predict(x, verbose=0)


def test_a_layer_that_the_process_defines_needs_no_registration(k, own, tmp_path):
    path, x, expected = quantised(k, own.Scaled(3), tmp_path)
    assert np.array_equal(keras_trt.load_model(path).predict(x, verbose=0), expected)


def test_a_layer_that_is_gone_is_named_and_comes_back_by_custom_objects(k, own, tmp_path, monkeypatch):
    path, x, expected = quantised(k, own.Scaled(3), tmp_path)
    monkeypatch.delitem(sys.modules, own.__name__)
    with pytest.raises(
        ModelError, match=r"`modules_of_the_user\.Scaled`.*custom_objects=\{'Scaled': Scaled\}"
    ):
        keras_trt.load_model(path)
    loaded = keras_trt.load_model(path, custom_objects={"Scaled": own.Scaled})
    assert np.array_equal(loaded.predict(x, verbose=0), expected)


def test_a_class_of_the_process_that_is_no_layer_is_refused(k, own, tmp_path):
    path, *_ = quantised(k, own.Scaled(3), tmp_path)
    config = config_of(path)
    place = next(p for p in places(config) if p[-1] == "base")
    with pytest.raises(ModelError, match=r"`modules_of_the_user\.Other`"):
        keras_trt.load_model(rewrite(path, put(config, place, [own.__name__, "Other", "Other"])))


def test_code_in_a_file_runs_only_when_the_user_says_so(k, tmp_path):
    model = k.Sequential([k.Input((3,)), k.layers.Lambda(lambda x: x * 2, output_shape=(3,))])
    keras_trt.save_model(model, tmp_path / "m.keras")
    with pytest.raises(InputError, match="safe_mode=False"):
        keras_trt.load_model(tmp_path / "m.keras")
    loaded = keras_trt.load_model(tmp_path / "m.keras", safe_mode=False)
    assert np.array_equal(loaded.predict(np.ones((1, 3)), verbose=0), [[2, 2, 2]])


@pytest.mark.parametrize("part", ["config.json", "metadata.json", "keras_trt_masks.json"])
def test_json_that_is_no_config_is_an_error_with_the_path(saved, part):
    for text in ("", "[" * 100_000, "9" * 5000, "3", "null", '{"config": 1}', b"\xff\xfe"):
        with pytest.raises((InputError, ModelError), match=r"changed\.keras"):
            keras_trt.load_model(rewrite(saved, text, part))


def test_flipped_and_missing_bytes_are_an_error_with_the_path(saved):
    whole, draw = saved.read_bytes(), random.Random(0)
    damaged = saved.with_name("damaged.keras")
    survived = 0
    for _ in range(60):
        data = bytearray(whole)
        if draw.random() < 0.3:
            del data[draw.randrange(len(data)) :]
        else:
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        damaged.write_bytes(data)
        try:
            keras_trt.load_model(damaged)
        except (InputError, ModelError) as e:
            assert "damaged.keras" in str(e)
        else:
            survived += 1  # a time stamp or an attribute of the archive, which says nothing of the model
    assert survived < 15


def test_layers_of_a_saved_model_load_with_their_classes(tmp_path):
    """tf_keras makes classes of its own for a SavedModel's layers whose classes are not there."""
    tf_keras = pytest.importorskip("tf_keras")

    class Doubled(tf_keras.layers.Layer):
        def call(self, x):
            return 2 * x

    inputs = tf_keras.Input((8,))
    model = tf_keras.Model(inputs, tf_keras.layers.Dense(4)(Doubled(name="doubled")(inputs)))
    model.save(tmp_path / "saved")
    revived = tf_keras.models.load_model(tmp_path / "saved", compile=False)
    x = np.random.default_rng(0).normal(size=(16, 8)).astype(np.float32)
    quantized = keras_trt.quantize_model(revived, calibration_data=x, verbose=0)
    keras_trt.save_model(quantized, tmp_path / "net.keras")
    with pytest.raises(ModelError, match=r"names the class `.*\.Doubled`.*Pass custom_objects=\{'Doubled': "):
        keras_trt.load_model(tmp_path / "net.keras")
    loaded = keras_trt.load_model(tmp_path / "net.keras", custom_objects={"Doubled": Doubled})
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), quantized.predict(x, verbose=0))


@pytest.mark.parametrize("name", ["m.h5", "m.weights.h5", "m"])
def test_other_files_are_refused_with_who_reads_them(name, tmp_path):
    with pytest.raises(InputError, match=rf"`.keras` files.*`.h5`, after `import keras_trt`.*{name}"):
        keras_trt.load_model(tmp_path / name)


def test_weights_are_read_without_jumps_in_the_archive(k, tmp_path, monkeypatch):
    """A zip file reads all from the beginning for each jump back; HDF5 makes one or two for each weight."""
    x, y = images(16)
    model = compiled(k, residual_net(k))
    model.fit(x, y, batch_size=16, verbose=0)
    keras_trt.save_model(model, tmp_path / "net.keras")
    jumps, seek = [], zipfile.ZipExtFile.seek

    def counted(self, offset, whence=0):
        jumps.append(self.name)
        return seek(self, offset, whence)

    monkeypatch.setattr(zipfile.ZipExtFile, "seek", counted)
    loaded = keras_trt.load_model(tmp_path / "net.keras")
    assert "model.weights.h5" not in jumps
    for variables in ("weights", "optimizer.variables"):
        before, after = (list_of(owner, variables) for owner in (model, loaded))
        assert len(before) == len(after) > 10
        for one, other in zip(before, after, strict=True):
            np.testing.assert_array_equal(one, other)


def list_of(model, name):
    """The numbers of a model's variables; tf_keras's optimizers have a method for theirs."""
    variables = operator.attrgetter(name)(model)
    return [np.asarray(variable) for variable in (variables() if callable(variables) else variables)]


def test_a_function_of_keras_that_no_file_can_name_is_named_itself(tmp_path):
    import keras

    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, activation=keras.ops.sin)]).save(
        tmp_path / "m.keras"
    )
    with pytest.raises(ModelError, match=r"names the function `builtins.sin`.*custom_objects=\{'sin': sin\}"):
        keras_trt.load_model(tmp_path / "m.keras")
    loaded = keras_trt.load_model(tmp_path / "m.keras", custom_objects={"sin": keras.ops.sin})
    assert loaded.layers[0].activation is keras.ops.sin


def test_a_layer_that_keras_leaves_without_weights_names_the_class_that_must_build_it(tmp_path):
    """Keras 3 loads the float model's file silently, with other weights."""
    import keras

    class Block(keras.layers.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self.attention = keras.layers.MultiHeadAttention(2, 4, name="attention")

        def call(self, x):
            return self.attention(x, x)

    class Net(keras.Model):
        def __init__(self, **options):
            super().__init__(**options)
            self.block = Block(name="block")

        def build(self, shape):
            self.position = self.add_weight(shape=(1, 6, 8), name="position")
            super().build(shape)

        def call(self, x):
            return self.block(x + self.position)

    x = np.zeros((4, 6, 8), "float32")
    model = Net(name="net")
    model(x)
    model = keras_trt.quantize_model(model, calibration_data=x + 1, recover=None, verbose=0)
    keras_trt.save_model(model, tmp_path / "m.keras")
    text = (
        r"'block/attention' \(MultiHeadAttention\) is not built in.*Give 'Block' \('block'\), which holds it"
    )
    with pytest.raises(ModelError, match=text):
        keras_trt.load_model(tmp_path / "m.keras", custom_objects={"Net": Net, "Block": Block})
