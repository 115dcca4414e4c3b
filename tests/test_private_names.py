"""The private names of other packages: all are listed, and the installed releases have them."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
from pathlib import Path

import pytest

from keras_trt._private import private
from keras_trt.convert.tf2onnx_seam import STOCK
from keras_trt.errors import MissingDependencyError
from keras_trt.tfmot.imported import import_tfmot
from tests.private_names import IMPORTS, NAMES, OURS

PACKAGE = Path(__file__).parent.parent / "keras_trt"
PUBLIC = {"keras", "tf_keras", "tensorflow", "onnx", "onnx_ir", "onnxruntime", "openvino", "numpy"}
FOREIGN = PUBLIC | {"tf2onnx", "tensorflow_model_optimization"}
INSIDE = ("keras.src", "tf_keras.src", "tensorflow.python", "tensorflow.core", "tf2onnx", "onnx.reference")


def is_private(name: str) -> bool:
    dunder = name.startswith("__") and name.endswith("__")
    return name.startswith("_") and not dunder and name.isidentifier() and bool(name.strip("_"))


def trees() -> list[tuple[str, ast.Module]]:
    return [(str(p.relative_to(PACKAGE)), ast.parse(p.read_text())) for p in sorted(PACKAGE.rglob("*.py"))]


def members(tree: ast.Module) -> set[str]:
    """What an object of ours may have: members of classes, attributes of `self`, attributes of functions."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            inside = [n for part in node.body for n in ast.walk(part)]
            found |= {part.name for part in node.body if isinstance(part, ast.FunctionDef)}
            found |= {
                target.id
                for part in node.body
                for target in getattr(part, "targets", [getattr(part, "target", None)])
                if isinstance(target, ast.Name)
            }
            found |= {
                n.attr
                for n in inside
                if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store)
                if isinstance(n.value, ast.Name) and n.value.id in ("self", "cls")
            }
    return found


def used() -> dict[str, set[str]]:
    """Private names that no class of ours has, by the files that use them as attributes or strings."""
    parsed = trees()
    ours = OURS.union(*(members(tree) for _, tree in parsed))
    found: dict[str, set[str]] = {}
    for file, tree in parsed:
        for node in ast.walk(tree):
            name = getattr(node, "attr", None) if isinstance(node, ast.Attribute) else None
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                name = node.value
            if isinstance(name, str) and is_private(name) and name not in ours:
                found.setdefault(name, set()).add(file)
    return found


def inside_imports() -> dict[str, set[str]]:
    """`module:name` of imports from the insides of other packages."""
    found: dict[str, set[str]] = {}
    for file, tree in trees():
        for node in ast.walk(tree):
            pairs = []
            if isinstance(node, ast.ImportFrom) and node.module:
                pairs = [(node.module, alias.name) for alias in node.names]
            elif isinstance(node, ast.Import):
                pairs = [(alias.name, "") for alias in node.names]
            for module, name in pairs:
                private_part = any(is_private(part) for part in (*module.split("."), name))
                inside = f"{module}.".startswith(tuple(f"{p}." for p in INSIDE))
                if module.split(".")[0] in FOREIGN and (inside or private_part):
                    found.setdefault(f"{module}:{name}" if name else module, set()).add(file)
    return found


def test_every_private_name_is_listed_with_what_it_is_for():
    listed = {entry.name for entry in NAMES}
    found = used()
    assert {n: sorted(f) for n, f in found.items() if n not in listed} == {}, "list them in private_names.py"
    assert all(entry.why for entry in NAMES)


def test_every_import_from_the_inside_of_a_package_is_listed():
    found = inside_imports()
    assert {n: sorted(f) for n, f in found.items() if n not in IMPORTS} == {}, "list them in private_names.py"


def test_nothing_is_listed_that_nobody_uses():
    sources = "\n".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    assert [entry.name for entry in NAMES if entry.name not in sources] == []
    assert set(IMPORTS) - set(inside_imports()) == set()


@functools.cache
def sample(name: str):
    """An object of the kind that a name in angle brackets stands for."""
    kind, keras_name = name.split(" ") if " " in name else (name, "")
    if keras_name:
        k = importlib.import_module(keras_name)
        return _of_keras(k, kind)
    import tensorflow as tf

    function = tf.function(lambda x: x * tf.Variable(1.0) if x is None else x)
    made = {
        "function": lambda: function,
        "concrete": lambda: function.get_concrete_function(tf.TensorSpec([1])),
        "graph": lambda: function.get_concrete_function(tf.TensorSpec([1])).graph,
        "variable": lambda: tf.Variable(1.0),
        "gradients": lambda: importlib.import_module("tensorflow.python.framework.ops").gradient_registry,
        "tfmot": tfmot_wrapper,
    }
    return made[kind]()


def tfmot_wrapper():
    """A layer as TF-MOT's `quantize_apply` wraps it."""
    import tf_keras as k

    tfmot = import_tfmot().quantization.keras
    x = k.Input((4, 4, 1))
    return tfmot.quantize_model(k.Model(x, k.layers.Add()([x, k.layers.Conv2D(1, 1)(x)]))).layers[-1]


def cast_variable(k):
    """The kernel of a mixed-precision layer."""
    layer = k.layers.Dense(2, dtype=k.mixed_precision.Policy("mixed_float16"))
    layer.build((None, 3))
    return layer.kernel


def _of_keras(k, kind):
    def functional():
        x = k.Input((4, 3))
        attended = k.layers.MultiHeadAttention(1, 2, name="attention")(x, x)
        return k.Model(x, k.layers.Dense(2, name="dense")(attended))

    def compiled():
        model = functional()
        model.compile(k.optimizers.Adam(use_ema=True), "mse")
        model.optimizer.build(model.trainable_variables)
        return model

    made = {
        "functional": functional,
        "sequential": lambda: k.Sequential([k.Input((3,)), k.layers.Dense(2)]),
        "subclassed": type("Net", (k.Model,), {"call": lambda self, x: x}),
        "compiled": compiled,
        "optimizer": lambda: compiled().optimizer,
        "layer": lambda: functional().get_layer("dense"),
        "attention": lambda: functional().get_layer("attention"),
        "tensor": lambda: functional().outputs[0],
        "variable": lambda: functional().get_layer("dense").kernel,
        "node": lambda: functional().get_layer("dense")._inbound_nodes[0],
        "normalization": k.layers.LayerNormalization,
        "upsampling": k.layers.UpSampling2D,
        "cast": lambda: cast_variable(k),
        "rnn": lambda: k.layers.LSTM(2),
    }
    return made[kind]()


def owner_of(path: str):
    if path.startswith("<"):
        return sample(path.strip("<>"))
    module, _, inner = path.partition(":")
    found = importlib.import_module(module)
    return functools.reduce(getattr, inner.split("."), found) if inner else found


@pytest.mark.parametrize("entry", [n for n in NAMES if n.owner], ids=lambda n: f"{n.owner}.{n.name}")
def test_the_installed_releases_have_it(entry):
    owner = owner_of(entry.owner)
    assert hasattr(owner, entry.name), f"used for: {entry.why}"
    if entry.takes is not None:
        parameters = [p for p in inspect.signature(getattr(owner, entry.name)).parameters if p != "self"]
        wanted = [name for name in entry.takes.split(", ") if name]
        assert parameters[: len(wanted)] == wanted, f"used for: {entry.why}"


@pytest.mark.parametrize("path", [p for p in IMPORTS if "tensorrt" not in p])
def test_the_installed_releases_have_the_import(path):
    module, _, name = path.partition(":")
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as e:
        pytest.fail(f"{e}; used for: {IMPORTS[path]}")
    if name and not hasattr(found, name):
        importlib.import_module(f"{module}.{name}")


@pytest.mark.parametrize("operator", sorted(STOCK))
def test_tf2onnx_has_the_conversions_that_handlers_call(operator):
    module, name, method = STOCK[operator]
    convert = getattr(getattr(importlib.import_module(f"tf2onnx.onnx_opset.{module}"), name), method)
    expected = ["opset", "ctx", "node"] if method.startswith("any_") else ["ctx", "node"]
    assert list(inspect.signature(convert).parameters)[: len(expected)] == expected


@pytest.mark.parametrize(
    ("module", "function", "takes"),
    [
        ("tf_utils", "compress_graph_def", {"graph_def"}),
        (
            "tfonnx",
            "process_tf_graph",
            {"opset", "const_node_values", "custom_op_handlers", "input_names", "output_names"},
        ),
    ],
)
def test_tf2onnx_takes_what_it_is_called_with(module, function, takes):
    found = getattr(importlib.import_module(f"tf2onnx.{module}"), function)
    assert takes <= set(inspect.signature(found).parameters)


def test_a_name_that_is_gone_is_an_error_that_says_what_to_install():
    import keras

    layer = keras.layers.Dense(1)
    with pytest.raises(MissingDependencyError) as e:
        private(layer, "_no_such_name", "keras")
    for part in ("`keras`", keras.__version__, "`Dense`", "`_no_such_name`", f"keras<{keras.__version__}"):
        assert part in str(e.value)


def test_a_sequential_model_without_its_functional_one_is_not_exported_as_if_it_had_none(tmp_path):
    import keras

    from keras_trt.exporting import export

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    object.__delattr__(model, "_functional")
    with pytest.raises(MissingDependencyError, match="`_functional`"):
        export(model, tmp_path / "net", engine=None, verbose=0)
