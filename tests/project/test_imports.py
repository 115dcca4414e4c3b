"""What importing costs, what it leaves alone, and which room may import which."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "keras_trt"
MODULES = sorted(PACKAGE.rglob("*.py"))

KERASES = {"tensorflow", "keras", "tf_keras", "tensorflow_model_optimization", "tf2onnx"}
ENGINES = {"tensorrt", "tensorrt_rtx", "tensorrt_lean", "openvino", "onnxruntime"}
# Imported by `Flavor.ops` alone, when a model is at hand whose tensors they compute with.
OPERATOR_TABLES = {"keras_trt._keras.backends.tensorflow_ops", "keras_trt._keras.backends.keras_ops"}
HEAVY = KERASES | ENGINES | {"onnx", "onnx_ir", "numpy", "matplotlib", "rich"}

# Each room and the rooms it may import; what is not listed, it may not. A room is below those that import it.
_BASE = {"errors", "_base", "_machine"}
_SEAM = _BASE | {"reports", "_keras", "data"}
_QUANTIZED = _SEAM | {"placement", "twins", "tfmot"}
_RUN = _BASE | {"bundle", "engine", "plans", "runtime"}
_GRAPHS = _SEAM | {"trace", "onnx_passes"}
MAY_IMPORT = {
    "errors": set(),
    "_machine": {"errors"},
    "_base": {"errors"},
    "reports": _BASE | {"bundle"},
    "_keras": _BASE,
    "data": _BASE | {"_keras"},
    # A model that is trained.
    "placement": _BASE | {"_keras"},
    "twins": _BASE | {"_keras", "placement"},
    "tfmot": _SEAM | {"placement", "twins"},
    "quantize": _QUANTIZED,
    # A model that TF-MOT has quantised becomes one of `quantize` before it is pruned or fused.
    "prune": _SEAM | {"tfmot"},
    "fuse": _BASE | {"_keras", "reports", "tfmot"},
    "models": _BASE | {"_keras", "reports", "twins", "tfmot", "quantize", "prune", "runtime"},
    "distillation": _BASE | {"_keras", "models"},
    "callbacks": (_QUANTIZED - {"reports"})
    | {"quantize", "distillation", "prune", "exporting", "bundle", "runtime"},
    # A bundle and what runs it: works without Keras and TensorFlow.
    "bundle": _BASE,
    "engine": _BASE | {"bundle"},
    "plans": _BASE | {"bundle", "engine"},
    "runtime": _BASE | {"bundle", "engine", "plans", "data", "reports"},
    "building": _BASE
    | {"bundle", "engine", "plans", "runtime", "measuring", "onnx_passes", "packing", "reports"},
    "measuring": _BASE | {"bundle", "engine", "runtime", "data", "reports"},
    "inspection": _BASE | {"bundle", "runtime", "reports"},
    "diagnosis": _BASE | {"bundle", "engine", "runtime", "measuring", "reports"},
    "serving": _BASE | {"bundle", "runtime"},
    "ray": _BASE | {"bundle", "runtime"},
    "mlflow": _BASE | {"bundle", "runtime"},
    # The way out: a graph of TensorFlow's, a graph of ONNX's, the files of a bundle.
    "trace": _BASE | {"_keras", "data"},
    "onnx_passes": _BASE | {"trace"},
    "convert": _BASE | {"trace", "onnx_passes"},
    "tensorrt_rules": _BASE | {"onnx_passes"},
    "packing": _BASE | {"trace", "onnx_passes", "bundle", "quantize", "tensorrt_rules"},
    "compare": _GRAPHS | _RUN | {"twins", "tfmot", "quantize", "packing"},
    "exporting": _GRAPHS
    | {
        "bundle",
        "engine",
        "tfmot",
        "placement",
        "twins",
        "quantize",
        "models",
        "convert",
        "tensorrt_rules",
        "packing",
        "compare",
    },
    # For users.
    "_registering": _BASE | {"_keras", "twins"},
    "generation": _BASE | {"_keras"},
    "keras": {"quantize", "prune", "fuse"},
    "schemes": {"placement"},
    "cli": {"errors", "_base"},
    "__main__": {"cli"},
}
# For users who have Keras too: `EngineModel.as_layer` and Keras's losses and metrics.
# `benchmark` exports a Keras model that it is given, and loads one from its file.
# `export` measures what it made.
MAY_IMPORT_WHEN_CALLED = {
    "runtime": {"_keras"},
    "exporting": {"runtime"},
    "measuring": {"exporting", "models"},
    "cli": {"__init__", "bundle", "data", "models", "reports"},
}
MAY_IMPORT_KERAS = {
    "_keras": {"keras", "tf_keras"},
    "tfmot": {"tensorflow_model_optimization"},
}
# The front door names each room.
FREE = {"__init__"}


def python(code: str, **env: str) -> str:
    """Runs `code` in a fresh Python from the project's root and returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout.strip()


def room_of(module: str) -> str:
    """`keras_trt.onnx_passes.layout.regions` is in the room `onnx_passes`."""
    return module.removeprefix("keras_trt").lstrip(".").split(".")[0] or "__init__"


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports_of(path: Path, *, run_on_import: bool = False) -> set[str]:
    """Modules that a file imports; with `run_on_import`, only those outside functions and TYPE_CHECKING."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively; write keras_trt.<room>"
            module = node.module or ""
            # `from keras_trt import errors` imports the room, not a name of the front door.
            found.update(f"{module}.{a.name}" if module == "keras_trt" else module for a in node.names)
        if run_on_import and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            return
        if run_on_import and isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            return
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text()))
    return found


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_room_imports_only_rooms_below_it(path):
    room = room_of(name_of(path))
    if room in FREE:
        return
    ours = {room_of(module) for module in imports_of(path) if module.split(".")[0] == "keras_trt"}
    allowed = MAY_IMPORT[room] | MAY_IMPORT_WHEN_CALLED.get(room, set())
    above = ours - allowed - {room}
    assert not above, f"{name_of(path)} imports {sorted(above)}; {room} may import {sorted(allowed)}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_room_that_works_without_keras_asks_for_it_only_inside_functions(path):
    at_once = {room_of(module) for module in imports_of(path, run_on_import=True)}
    assert not at_once & MAY_IMPORT_WHEN_CALLED.get(room_of(name_of(path)), set())


def test_no_module_imports_itself_through_others():
    names = set(map(name_of, MODULES))

    def modules(path: Path) -> set[str]:
        found = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            if isinstance(node, ast.ImportFrom):
                full = {f"{node.module}.{alias.name}" for alias in node.names}
                found |= (full & names) or {node.module or ""}
        return found & names

    TopologicalSorter({name_of(path): modules(path) - {name_of(path)} for path in MODULES}).prepare()


# Public rooms hand out functions under the names of the files that they are in.
FUNCTIONS_OF_PUBLIC_ROOMS = {
    "keras_trt.fuse.fuse_model",
    "keras_trt.prune.plot_sparsity",
    "keras_trt.prune.prune_model",
    "keras_trt.quantize.calibrate",
    "keras_trt.quantize.plan_quantization",
    "keras_trt.quantize.quantize_model",
}


def test_a_name_of_a_module_is_that_module():
    """`import keras_trt.exporting.export as e` is the file, not a function of that name in its room."""
    hidden = set()
    for path in sorted(PACKAGE.rglob("__init__.py")):
        room = ".".join(path.parent.relative_to(ROOT).parts)
        beside = {p.stem for p in path.parent.glob("*.py")} | {
            p.parent.name for p in path.parent.glob("*/__init__.py")
        }
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ImportFrom) and node.module != room:
                hidden |= {
                    f"{room}.{a.asname or a.name}" for a in node.names if (a.asname or a.name) in beside
                }
            elif isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name in beside:
                hidden.add(f"{room}.{node.name}")
    assert hidden == FUNCTIONS_OF_PUBLIC_ROOMS


def test_every_direction_in_the_table_is_taken():
    taken = {
        (room_of(name_of(path)), room_of(module))
        for path in MODULES
        for module in imports_of(path)
        if module.split(".")[0] == "keras_trt"
    }
    allowed = {(room, other) for room, others in MAY_IMPORT.items() for other in others - _BASE}
    assert allowed - taken == set(), "take them out of MAY_IMPORT"


def test_every_room_is_in_the_table_of_directions():
    assert {room_of(name_of(path)) for path in MODULES} <= {*MAY_IMPORT, *FREE}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_the_seam_imports_a_keras_and_only_the_tfmot_room_imports_tfmot(path):
    roots = {module.split(".")[0] for module in imports_of(path)}
    forbidden = {"keras", "tf_keras", "tensorflow_model_optimization"}
    assert not roots & (forbidden - MAY_IMPORT_KERAS.get(room_of(name_of(path)), set()))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_module_imports_a_framework_or_an_engine_at_its_top(path):
    if name_of(path) in OPERATOR_TABLES:
        return
    roots = {module.split(".")[0] for module in imports_of(path, run_on_import=True)}
    assert not roots & (KERASES | ENGINES | {"matplotlib", "rich"})


def test_importing_keras_trt_loads_nothing_heavy_and_takes_under_a_fifth_of_a_second():
    code = (
        "import json, sys, time; start = time.perf_counter(); import keras_trt; "
        "print(json.dumps([time.perf_counter() - start, sorted(sys.modules)]))"
    )
    runs = [json.loads(python(code)) for _ in range(5)]
    assert not HEAVY & set(runs[0][1])
    assert min(seconds for seconds, _ in runs) < 0.2  # what it costs where nobody else computes


RUNTIME_MODULES = [
    name_of(path)
    for path in MODULES
    if room_of(name_of(path))
    in {"bundle", "engine", "plans", "building", "runtime", "measuring", "inspection", "diagnosis", "cli"}
]


def test_the_rooms_that_run_engines_import_where_there_is_no_tensorflow():
    code = f"""
import importlib, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {KERASES!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocked())
for module in {RUNTIME_MODULES!r}:
    importlib.import_module(module)
import keras_trt
print(keras_trt.load.__name__)
"""
    assert python(code) == "load"


def test_the_choice_of_tf_keras_and_the_environment_stay_as_they_were():
    """Whatever a user calls; `tests/tfmot/test_imported.py` has each setting of the variable."""
    code = """
import os
import re
os.environ.pop("TF_USE_LEGACY_KERAS", None)
before = dict(os.environ)
import keras_trt
for name in keras_trt.__all__:
    getattr(keras_trt, name)
import tf_keras
model = tf_keras.Sequential([tf_keras.layers.Dense(2, input_shape=(3,))])
keras_trt.quantize_model(model)
keras_trt.prune_model(model, sparsity=0.5)
changed = {k for k in before.keys() | os.environ.keys() if before.get(k) != os.environ.get(k)}
import tensorflow as tf
print(sorted(k for k in changed if "KERAS" in k), tf.keras.layers.Layer.__module__.split(".")[0])
"""
    assert python(code).splitlines()[-1] == "[] keras"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_one_file_knows_tf2onnx(path):
    names = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
    imported = {module for module in imports_of(path) if module.split(".")[0] == "tf2onnx"}
    imported |= {n for n in names if isinstance(n, str) and n.startswith("tf2onnx.") and " " not in n}
    assert not imported or name_of(path) == "keras_trt.convert.tf2onnx_seam"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_one_file_prints(path):
    names = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)]
    assert all(name.id != "print" for name in names) or name_of(path) == "keras_trt._base.say"


def asks_which_keras(source: str) -> list[int]:
    """Lines that compare a flavour's name: what differs is a method or attribute of `_keras/flavor.py`."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            texts = {re.sub(r".*\bflavor\b", "flavor", ast.unparse(side)) for side in sides}
            constants = {n.value for side in sides for n in ast.walk(side) if isinstance(n, ast.Constant)}
            by_module = "flavor.keras.__name__" in texts and bool(constants & {"keras", "tf_keras"})
            if "flavor.name" in texts or by_module or constants & {"keras3", "legacy"}:
                lines.append(node.lineno)
        elif isinstance(node, ast.Match) and ast.unparse(node.subject).endswith("flavor.name"):
            lines.append(node.lineno)
    return lines


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_the_seam_asks_which_keras_it_is(path):
    assert room_of(name_of(path)) == "_keras" or asks_which_keras(path.read_text()) == []


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("if flavor.name == 'keras3': pass", [1]),
        ("x = self.flavor.name != other", [1]),
        ("x = 1\nif name in ('legacy',): pass", [2]),
        ("if flavor.keras.__name__ == 'keras': pass", [1]),
        ("match flavor.name:\n    case _: pass", [1]),
        ("root == flavor.keras.__name__", []),  # Keras's own or a user's, of whichever Keras
        ("write(flavor=flavor.name)\nif layer.name == 'conv': pass", []),
    ],
)
def test_asking_which_keras_it_is_is_seen(source, lines):
    assert asks_which_keras(source) == lines


# What reads or makes TensorFlow's graphs, and what only models on TensorFlow reach.
MAY_IMPORT_TENSORFLOW = (
    "trace.",
    "convert.",
    "tfmot.",
    "exporting.tftrt.",
    "_keras.backends.tensorflow_ops",
    "_keras.calls.functions",
    "_keras.copying.",
    "_keras.flavor",
    "_keras.keras3",
    "_keras.legacy",
    "prune.search.state",  # its part for TensorFlow's checkpoints
)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_what_needs_its_graphs_imports_tensorflow(path):
    """So Keras on JAX or PyTorch quantises and trains without it."""
    roots = {module.split(".")[0] for module in imports_of(path)}
    assert "tensorflow" not in roots or f"{name_of(path)}.".startswith(
        tuple(f"keras_trt.{name}" for name in MAY_IMPORT_TENSORFLOW)
    )
