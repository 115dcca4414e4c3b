"""The private names of other packages: all are listed, and the installed releases have them."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
from collections.abc import Collection, Iterable
from pathlib import Path

import pytest

from keras_trt._base.private import private
from keras_trt.convert.tf2onnx_seam import STOCK
from keras_trt.errors import MissingDependencyError
from keras_trt.tfmot.imported import import_tfmot
from tests.project.private_names import COINCIDENCES, IMPORTS, MAY_BE_ABSENT, NAMES, OURS

PACKAGE = Path(__file__).parents[2] / "keras_trt"
PUBLIC = {"keras", "tf_keras", "tensorflow", "onnx", "onnx_ir", "onnxruntime", "openvino", "numpy"}
FOREIGN = PUBLIC | {"tf2onnx", "tensorflow_model_optimization"}
INSIDE = ("keras.src", "tf_keras.src", "tensorflow.python", "tensorflow.core", "tf2onnx", "onnx.reference")


def is_private(name: str) -> bool:
    dunder = name.startswith("__") and name.endswith("__")
    return name.startswith("_") and not dunder and name.isidentifier() and bool(name.strip("_"))


def trees() -> list[tuple[str, ast.Module]]:
    return [(str(p.relative_to(PACKAGE)), ast.parse(p.read_text())) for p in sorted(PACKAGE.rglob("*.py"))]


def members(tree: ast.Module) -> set[str]:
    """What objects of a file's own classes have: members of classes, and attributes of `self`."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            inside = [n for statement in node.body for n in ast.walk(statement)]
            names |= {statement.name for statement in node.body if isinstance(statement, ast.FunctionDef)}
            names |= {
                target.id
                for statement in node.body
                for target in getattr(statement, "targets", [getattr(statement, "target", None)])
                if isinstance(target, ast.Name)
            }
            names |= {
                n.attr
                for n in inside
                if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store)
                if isinstance(n.value, ast.Name) and n.value.id in ("self", "cls")
            }
    return {name for name in names if is_private(name)}


def text_of(node: ast.AST) -> str | None:
    """A string, or an f-string as it is written."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return ast.unparse(node)[2:-1] if isinstance(node, ast.JoinedStr) else None


def is_pattern(name: str | None) -> bool:
    return bool(name) and name.startswith("_{") and name.count("{") == 1


def internal(node: ast.AST) -> str | None:
    """`__internal__.x.y` of an attribute of TensorFlow's."""
    written = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
    return written[written.index("__internal__") :] if "__internal__." in written else None


ASKING = ("getattr", "hasattr", "setattr", "delattr", "private", "replace", "put", "get", "pop")


def names_in(tree: ast.Module, foreign: Collection[str] = ()) -> set[str]:
    """Private names that a file uses as attributes or strings, but for those of its own classes.

    Args:
        tree: The file.
        foreign: Names that other packages have too; a class of the file that has one exempts nothing.
    """
    names, inner = set(), set()
    for node in ast.walk(tree):
        name = node.attr if isinstance(node, ast.Attribute) else text_of(node)
        if isinstance(node, ast.Constant) and isinstance(name, str) and is_private(name):
            names.add(name)
        elif isinstance(node, ast.Attribute) and is_private(node.attr):
            names.add(node.attr)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ASKING:
            names |= {made for argument in node.args if is_pattern(made := text_of(argument))}
        elif isinstance(node, ast.Assign) and is_pattern(made := text_of(node.value)):
            names.add(made)
        if path := internal(node):
            names.add(path)
            inner |= {path.rpartition(".")[0]}
    return (names - inner - members(tree)) | (members(tree) & set(foreign))


@functools.cache
def foreign_names() -> frozenset[str]:
    """The private attributes of objects that this package derives from, stands in for, or hands to others."""
    kinds = ("functional", "compiled", "sequential", "optimizer", "layer", "attention", "tensor", "callback")
    objects = [sample(f"{kind} {keras}") for keras in ("keras", "tf_keras") for kind in kinds]
    objects += [sample(name) for name in ("function", "concrete", "graph", "variable", "transposes")]
    return frozenset(name for each in objects for name in dir(each) if is_private(name))


def used() -> dict[str, set[str]]:
    """Private names of others, by the files that use them."""
    by_name: dict[str, set[str]] = {}
    for file, tree in trees():
        for name in names_in(tree, foreign_names() - set(COINCIDENCES)) - OURS:
            by_name.setdefault(name, set()).add(file)
    return by_name


def bound_texts(nodes: Iterable[ast.AST]) -> dict[str, set[str]]:
    """The private names that variables stand for, where they are assigned or looped over."""
    texts: dict[str, set[str]] = {}
    for node in nodes:
        if isinstance(node, ast.Assign):
            targets, values = node.targets, [node.value]
        elif isinstance(node, (ast.For, ast.comprehension)):
            targets, values = [node.target], [node.iter]
        else:
            continue
        inside = [x for value in values for x in getattr(value, "elts", [value])]
        names = {x for x in map(text_of, inside) if x and (is_private(x) or is_pattern(x))}
        for target in targets:
            if isinstance(target, ast.Name) and names:
                texts.setdefault(target.id, set()).update(names)
    return texts


def asked(node: ast.AST) -> ast.AST | None:
    """What a node asks for so that its absence says nothing."""
    if isinstance(node, ast.Call):
        function, count = ast.unparse(node.func).split(".")[-1], len(node.args)
        if (function, count) in (("getattr", 3), ("hasattr", 2)):
            return node.args[1]
        if function in ("get", "pop", "setdefault") and isinstance(node.func, ast.Attribute) and count:
            return node.args[0]
    if isinstance(node, ast.Compare) and isinstance(node.ops[0], (ast.In, ast.NotIn)):
        return node.left
    return None


def silent(tree: ast.Module) -> set[str]:
    """Private names that a file asks for so that their absence says nothing."""
    of_module, names = bound_texts(tree.body), set()
    functions = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.Lambda))]
    for scope in (tree, *functions):
        bound = of_module if scope is tree else {**of_module, **bound_texts(ast.walk(scope))}
        for one in filter(None, map(asked, ast.walk(scope))):
            texts = {text_of(one), *bound.get(ast.unparse(one), ())}
            names |= {name for name in texts if name and (is_private(name) or is_pattern(name))}
    return names


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


def test_a_name_is_asked_for_with_a_default_only_where_its_absence_changes_nothing():
    """Elsewhere `keras_trt._base.private.private` reads it, which says what to install."""
    listed = {entry.name for entry in NAMES}
    places = {(file, name) for file, tree in trees() for name in silent(tree) if name in listed}
    assert sorted(places - set(MAY_BE_ABSENT)) == [], "read them by `private`, or say why they may be absent"
    assert sorted(set(MAY_BE_ABSENT) - places) == [], "they are not asked for so any more"


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("layer._nodes", {"_nodes"}),
        ("class A:\n    def __init__(self): self._nodes = 1\nlayer._nodes", set()),
        ("class A(Base):\n    def _call_flat(self): ...", {"_call_flat"}),
        ("getattr(layer, f'_{kernel.name}')", {"_{kernel.name}"}),
        ("hidden = f'_{name}'", {"_{name}"}),
        ("print(f'_{name}')", set()),
        ("tf.__internal__.tracking.AutoTrackable", {"__internal__.tracking.AutoTrackable"}),
        ("node.attr.pop('_class', None)", {"_class"}),
        ("self.__class__, x.__dict__", set()),
    ],
)
def test_private_names_are_seen(source, names):
    assert names_in(ast.parse(source), {"_call_flat"}) == names


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("getattr(x, '_a', None)", {"_a"}),
        ("hasattr(x, '_a')", {"_a"}),
        ("vars(x).get('_a')", {"_a"}),
        ("held.pop('_a', None)", {"_a"}),
        ("'_a' in held", {"_a"}),
        ("_A = '_a'\nif _A not in held: pass", {"_a"}),
        ("for name in ('_a', '_b'):\n    held.pop(name, None)", {"_a", "_b"}),
        ("getattr(x, f'_{name}', None)", {"_{name}"}),
        ("getattr(x, '_a')\nprivate(x, '_b', 'keras')\nx._c\nhasattr(x, 'd')", set()),
    ],
)
def test_asking_without_a_word_is_seen(source, names):
    assert silent(ast.parse(source)) == names


def test_nothing_is_listed_that_nobody_uses():
    names = used()
    reached = {f"__internal__.{inner}" for inner in ("autograph", "tracking.AutoTrackable")}
    assert reached <= set(names)
    called = {"control_status_ctx", "tf_convert"}  # of `__internal__.autograph`
    assert sorted({entry.name for entry in NAMES} - set(names) - called) == []
    assert set(IMPORTS) - set(inside_imports()) == set()
    ours = {name for _, tree in trees() for name in members(tree)}
    assert set(COINCIDENCES) - (ours & foreign_names()) == set()
    strings = {name for _, tree in trees() for name in names_in(tree)}
    assert OURS - strings == set()


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
        "transposes": lambda: importlib.import_module("tf2onnx.optimizer").TransposeOptimizer(),
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


def built(layer):
    layer.build((None, 3))
    return layer


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
        "embedding": lambda: built(k.layers.Embedding(2, 2)),
        "callback": k.callbacks.Callback,
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
    value = owner_of(entry.owner)
    for name in (entry.stands_for or entry.name).split("."):
        assert hasattr(value, name), f"used for: {entry.why}"
        value = getattr(value, name)
    if entry.takes is not None:
        parameters = [p for p in inspect.signature(value).parameters if p != "self"]
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

    from keras_trt.exporting.export import export

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    object.__delattr__(model, "_functional")
    with pytest.raises(MissingDependencyError, match="`_functional`"):
        export(model, tmp_path / "net", engine=None, verbose=0)


def gone(monkeypatch, owner, name):
    """Takes a name away from a class of another package, as a new release might."""
    for cls in owner.__mro__:
        if name in vars(cls):
            monkeypatch.delattr(cls, name)


def test_attention_that_computes_otherwise_is_an_error_and_not_left_unquantised(k, monkeypatch):
    from keras_trt.quantize import quantize_model

    x = k.Input((4, 8))
    model = k.Model(x, k.layers.MultiHeadAttention(2, 4)(x, x))
    gone(monkeypatch, k.layers.MultiHeadAttention, "_compute_attention")
    with pytest.raises(MissingDependencyError, match="`MultiHeadAttention` has no `_compute_attention`"):
        quantize_model(model)


def test_a_hidden_kernel_under_another_name_is_an_error_and_not_left_unpruned(monkeypatch):
    import keras

    from keras_trt.prune import prune_model

    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
    layer = model.layers[0]
    layer.enable_lora(2)
    vars(layer)["_weights_of_a_new_release"] = vars(layer)["_kernel"]
    monkeypatch.setattr(type(layer), "kernel", property(lambda self: self._weights_of_a_new_release + 0.0))
    del vars(layer)["_kernel"]
    with pytest.raises(MissingDependencyError, match="`Dense` has no `_kernel`"):
        prune_model(model, sparsity=0.5)


def test_a_copy_without_the_mark_of_a_compiled_model_is_an_error(monkeypatch):
    import tf_keras

    from keras_trt.quantize import quantize_model

    model = tf_keras.Sequential([tf_keras.layers.Dense(2, input_shape=(3,))])
    del vars(model)["_is_compiled"]
    with pytest.raises(MissingDependencyError, match="`_is_compiled`"):
        quantize_model(model)
