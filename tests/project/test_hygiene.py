"""How the tests are written: each draws its own numbers, and stands where its subject does."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
FILES = sorted(TESTS.rglob("*.py"))
PACKAGE = TESTS.parent / "keras_trt"
MODULES = sorted(PACKAGE.rglob("*.py"))
GENERATORS = {"default_rng", "RandomState", "Generator", "Random"}


def name_of(path: Path) -> str:
    return path.relative_to(TESTS).as_posix()


def run_on_import(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that run when the file is imported: all but what stands in functions."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
        below: list[ast.AST] = [*node.args.defaults, *filter(None, node.args.kw_defaults)]
        below += getattr(node, "decorator_list", [])
    else:
        below = list(ast.iter_child_nodes(node))
    for child in below:
        yield child
        yield from run_on_import(child)


def shared_generators(source: str) -> list[int]:
    """Lines where a generator outlives the import. `default_rng(0).normal()` is drawn from once, and gone."""
    nodes = list(run_on_import(ast.parse(source)))
    drawn_at_once = {id(node.value) for node in nodes if isinstance(node, ast.Attribute)}
    made = [node for node in nodes if isinstance(node, ast.Call) and id(node) not in drawn_at_once]
    return [node.lineno for node in made if ast.unparse(node.func).split(".")[-1] in GENERATORS]


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_generator_is_shared_by_tests(path):
    """What a test draws would depend on which tests ran before it."""
    lines = shared_generators(path.read_text())
    assert not lines, f"{name_of(path)}: lines {lines}; take the fixture `rng`, or draw within the function"


@pytest.mark.parametrize(
    "source,lines",
    [
        ("RNG = np.random.default_rng(0)", [1]),
        ("X = 1\nA, B = default_rng(0), 2", [2]),
        ("class A:\n    rng = random.Random(0)", [2]),
        ("def f(rng=np.random.RandomState(0)): ...", [1]),
        ("@pytest.mark.parametrize('rng', [np.random.default_rng(0)])\ndef test(rng): ...", [1]),
        ("X = np.random.default_rng(0).normal(size=3)", []),
        ("def f():\n    rng = np.random.default_rng(0)", []),
        ("make = lambda: np.random.default_rng(0)", []),
    ],
)
def test_a_shared_generator_is_seen(source, lines):
    assert shared_generators(source) == lines


def cannot_fail(source: str) -> list[int]:
    """Lines that assert a constant, a generator, a tuple, or that something is what it is."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        checked = node.test if isinstance(node, ast.Assert) else None
        sides = [checked.left, *checked.comparators] if isinstance(checked, ast.Compare) else []
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1].startswith("assert_"):
            sides = node.args[:2]
        texts = [ast.unparse(side) for side in sides]
        always = isinstance(checked, (ast.Constant, ast.Tuple, ast.GeneratorExp, ast.Lambda, ast.JoinedStr))
        if always or len(set(texts)) < len(texts):
            lines.append(node.lineno)
    return lines


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_assertion_can_fail(path):
    assert cannot_fail(path.read_text()) == []


@pytest.mark.parametrize(
    "source,lines",
    [
        ("assert True", [1]),
        ("assert x == y == x", [1]),
        ("assert (x == 1, 'no')", [1]),
        ("x = 1\nassert (n > 0 for n in x)", [2]),
        ("np.testing.assert_array_equal(x[0], x[0])", [1]),
        ("assert all(n > 0 for n in x)", []),
        ("assert x == y and y == x", []),
        ("np.testing.assert_array_equal(x, y)", []),
    ],
)
def test_an_assertion_that_cannot_fail_is_seen(source, lines):
    assert cannot_fail(source) == lines


# What `keras_trt` has no file for, and why: a test file, or a folder of them.
CROSS_CUTTING = {
    "backends": "the library with Keras on JAX and PyTorch",
    "callbacks/trainings": "whole trainings: beside Keras's callbacks, every optimizer, resumed, distributed",
    "compat": "what earlier releases wrote",
    "contract": "what quantize_model promises, whichever file keeps it",
    "convert/handlers/test_operators.py": "one operator a test, of all folders of handlers",
    "e2e": "the whole road",
    "exporting/kinds": "a kind of model or layer through all of export",
    "exporting/test_deterministic.py": "the same bytes in another process",
    "exporting/test_quantiser_places.py": "placement seen in the exported graph",
    "exporting/test_stock_road.py": "the road without this library",
    "gpu": "needs a GPU",
    "neighbours": "packages that bundles and models are used with",
    "project": "the documents, the tree, the code and the tests themselves",
    "prune/test_files.py": "every kind of file that Keras writes",
    "quantize/test_calibrate_memory.py": "memory, not numbers",
    "quantize/test_one_layer_in_float.py": "the defaults against a search",
    "reports/test_width.py": "every report of the library",
    "runtime/runners/test_runners.py": "one body for every CPU runner",
    "sweep": "all layers and networks that Keras has",
    "test_front_door.py": "keras_trt itself",
    "trained": "trained networks of others",
}


def has_subject(path: Path) -> bool:
    """Whether `tests/a/test_b.py` has a module or a room `keras_trt/a/b`, maybe with an underscore."""
    beside = PACKAGE / path.relative_to(TESTS).parent
    subject = path.stem.removeprefix("test_")
    return any(
        (beside / f"{name}.py").exists() or (beside / name / "__init__.py").exists()
        for name in (subject, f"_{subject}")
    )


TEST_FILES = [path for path in FILES if path.name.startswith("test_")]


@pytest.mark.parametrize("path", TEST_FILES, ids=name_of)
def test_a_test_stands_where_its_subject_does_or_is_listed(path):
    name = name_of(path)
    listed = [entry for entry in CROSS_CUTTING if name == entry or name.startswith(f"{entry}/")]
    assert len(listed) + has_subject(path) == 1, (
        f"{name} has no keras_trt/{name.replace('test_', '')}: name it after its subject, or list it"
        if not listed
        else f"{name} is listed though it has its subject, or twice"
    )


def test_what_is_listed_exists():
    assert [entry for entry in CROSS_CUTTING if not (TESTS / entry).exists()] == []


# Names that say only that there is something. What is it: a path, a product, a weight's format, a batch?
SAY_NOTHING = {
    "found",
    "kept",
    "said",
    "job",
    "jobs",
    "part",
    "parts",
    "forms",
    "stuff",
    "thing",
    "things",
    "tmp",
}
# Public arguments, which stay as they are.
PUBLIC_NAMES = {("quantize/calibrators.py", "kept")}


def bound_names(source: str) -> set[str]:
    """What a module binds: variables, arguments, attributes it sets, functions and classes."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_a_name_says_what_it_holds(path):
    module = path.relative_to(PACKAGE).as_posix()
    empty = {name for name in bound_names(path.read_text()) if name.lstrip("_").lower() in SAY_NOTHING}
    assert {(module, name) for name in empty} <= PUBLIC_NAMES, f"{module}: {sorted(empty)} say nothing"


@pytest.mark.parametrize(
    "source,names",
    [
        ("found = 1", {"found"}),
        ("for part in x: ...", {"part"}),
        ("def f(kept): ...", {"f", "kept"}),
        ("class A:\n    def parts(self):\n        self._found = found", {"A", "parts", "self", "_found"}),
        ("lambda job: job.part", {"job"}),
        ("f(form=path.parts)", set()),
    ],
)
def test_bound_names_are_seen(source, names):
    assert bound_names(source) == names


FILLING = {"append", "extend", "add", "update", "setdefault", "insert", "pop", "remove", "discard", "clear"}
# What may change a list, dict or set that it is handed, and why.
MAY_FILL = {
    ("_keras/flavor.py", "_walk"): "one set for a whole walk",
    ("_keras/graph.py", "expand"): "one dict for a model and those nested in it",
    ("_base/names.py", "unique"): "what it says it does",
    ("compare/probes/probe.py", "observe"): "a default of its own, told to hold no loop's variable",
}


def filled(source: str) -> set[str]:
    """Functions that change a list, dict or set that they are handed, instead of returning what they make."""
    names = set()
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.FunctionDef):
            continue
        arguments = [*function.args.args, *function.args.kwonlyargs]
        typed = {a.arg: ast.unparse(a.annotation) for a in arguments if a.annotation is not None}
        handed = {a for a, type_ in typed.items() if re.match(r"(list|dict|set|defaultdict)\b", type_)}
        inside = list(ast.walk(function))
        handed -= {n.id for n in inside if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        for node in inside:
            called = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
            target = node.func.value if called and node.func.attr in FILLING else None
            if isinstance(node, ast.Subscript) and isinstance(node.ctx, (ast.Store, ast.Del)):
                target = node.value
            if isinstance(target, ast.Name) and target.id in handed:
                names.add(function.name)
    return names


def test_what_a_function_finds_out_it_returns():
    places = {
        (path.relative_to(PACKAGE).as_posix(), name) for path in MODULES for name in filled(path.read_text())
    }
    assert places - set(MAY_FILL) == set(), "return a result, with notes where there are any"
    assert set(MAY_FILL) - places == set()


@pytest.mark.parametrize(
    "source,names",
    [
        ("def f(notes: list[str]): notes.append('a')", {"f"}),
        ("def f(x: dict[str, int] | None = None): x['a'] = 1", {"f"}),
        ("def f(x: set[int]): x = set(x); x.add(1)", set()),
        ("def f(x: list[int]): return [*x, 1]", set()),
        ("def f(graph): graph.append(1)", set()),
    ],
)
def test_filling_what_is_handed_is_seen(source, names):
    assert filled(source) == names


# What is defined once: the value, where, and by what name others take it.
DEFINED_ONCE = {
    127: ("formats", "TOP or INT8_ENDS"),
    65504: ("formats", "FLOAT16_MAX"),
}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_a_limit_of_a_number_format_is_defined_once(path):
    constants = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
    literals = {node.value for node in constants if type(node.value) in (int, float)}
    again = {
        value: name for value, (home, name) in DEFINED_ONCE.items() if path.stem != home and value in literals
    }
    assert not again, f"take {again} of keras_trt._base.formats"


def test_where_runners_are_registered_is_where_their_names_stand():
    """Others take them of `runtime/runners/cpu.py`, so that one more runner is one more entry there."""
    for path in MODULES:
        room = path.relative_to(PACKAGE).parts[0]
        nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
        named = {node.value for node in nodes} & {"openvino", "onnxruntime"}
        assert not named or room == "runtime", f"{path.relative_to(PACKAGE)} names {named}"


ROOMS = sorted({path.parent for path in PACKAGE.rglob("*.py")})


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: str(room.relative_to(PACKAGE)))
def test_a_room_stays_small_enough_to_be_known(room):
    files = [path for path in room.glob("*.py") if path.name != "__init__.py"]
    lines = sum(len(path.read_text().splitlines()) for path in files)
    assert len(files) <= 12
    assert lines <= 1500


FOLDERS = sorted({path.parent for path in FILES})


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_a_folder_of_tests_stays_as_small_as_a_room(folder):
    assert len([path for path in folder.glob("*.py") if path.name != "__init__.py"]) <= 12
