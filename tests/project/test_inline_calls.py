"""Every call that the documents write in a sentence, a table or an indented block can be made so."""

from __future__ import annotations

import ast
import configparser
import functools
import importlib.util
import inspect
import re
import shutil
import textwrap
import typing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import keras_trt
from tests.project.test_public_api import Stand, files  # noqa: F401 - a fixture

# The names that a reader has after `import keras_trt`, with or without their module before them.
PUBLIC = {"keras_trt": keras_trt} | {
    name: value
    for module in (keras_trt.quantize, keras_trt.prune, keras_trt.callbacks, keras_trt)
    for name, value in {key: getattr(module, key) for key in module.__all__}.items()
    if name not in ("keras", "mlflow", "ray", "tfmot")  # those packages
}
ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        *(path for path in ROOT.glob("docs/**/*.md") if path.name != "errors.md"),  # written from the code
        *ROOT.glob("examples/**/README.md"),
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    ]
)
SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
FENCE = re.compile(r"^ *```.*?^ *```", re.S | re.M)

# "..." and what a sentence leaves out of a call.
ARGUMENTS = {
    "export": "model, path",
    "quantize_model": "model, calibration_data=x",
    "verify": "model, path, data",
    "benchmark": "path, against=(), seconds=0.01",
    "inspect": "path",
    "load": "path",
    "build": "path",
    "plan": "model",
    "BackupAndRestore": "'backup'",
}
VALUES = {
    "preprocess": "keras.layers.Rescaling(2.0)",
    "profiles": "[{'batch': 8}]",
    "scheme": "schemes.Int8()",
}
# Calls of an object, a file or a model that only the sentence around them names.
WHOLE = {
    "as_layer()": "load(path).as_layer()",
    "model.inspect()": "load(path).inspect()",
    "model.profile(x)": "load(path).profile(x)",
    "summary()": "model.summary()",
    "to_json(path)": "plan(model).to_json('a.json')",
    "to_json('plan.json')": "plan(model).to_json('plan.json')",
    "plot(path)": "costs.plot('a.png')",
    "plot('file.png')": "costs.plot('file.png')",
    "worst(3)": "costs.worst(3)",
    "load_model(safe_mode=False)": "load_model('quantized.keras', safe_mode=False)",
    "load_model(path, safe_mode=False)": "load_model('quantized.keras', safe_mode=False)",
    "fit(callbacks=[callbacks.Quantize()])": "model.fit(x, y, verbose=0, callbacks=[callbacks.Quantize()])",
    "Quantize(...).set_model(model)": "Quantize().set_model(model)",
    "on_train_end()": "q = Quantize(distill=True); q.set_model(model); q.on_train_end()",
    "prune.set_model(model)": "p = Prune(0.5, end_step=6); p.set_model(model); p.update(step)",
    "prune.update(step)": "p = Prune(0.5, end_step=6); p.set_model(model); p.update(step)",
    "calibrate(model, data)": "calibrate(quantized, data)",
    "quantize_model(model, recipe='recipe.json')": (
        "quantize_model(model, calibration_data=x, recipe='recipe.json')"
    ),
    "export(..., precision='int8+fp16')": "export(quantized, path, precision='int8+fp16')",
}
# Where those run that need a GPU, a server or another package.
ELSEWHERE = {
    "load(path, runner='tensorrt')": "tests/runtime/runners",
    "build('net.bundle', 'tensorrt')": "tests/plans",
    "model.profile(x)": "tests/runtime/runners",
    "keras_trt.serve(bundles)": "tests/serving",
    "keras_trt.ray.predict_dataset(dataset, bundle)": "tests/test_ray.py",
}
# Functions that are not of `keras_trt`, or not public.
OTHERS = {
    "flavor_of": "inside; CONTRIBUTING says where",
    "alone": "inside, on the page about the design",
    "accept": "the same",
    "model.quantize": "Keras's, of layers that this reader's model has not",
    "model.export": "Keras's: what the README's table says of it",
    "model.parameters": "PyTorch's, of a model on that backend: tests/backends",
    "state_dict": "the same",
    "prune_low_magnitude": "TF-MOT's: examples/tfmot_migration.py",
    "UpdatePruningStep": "the same",
    "strip_pruning": "the same",
    "modelopt.onnx.quantization.quantize": "NVIDIA's ModelOpt",
    "TrtGraphConverterV2(...).convert": "TF-TRT's: tests/exporting/test_tftrt.py",
    "converter.build": "the same",
    "call_with_cache": "keras-hub's: tests/test_generation.py",
    "snapshot_download": "Hugging Face's: tests/neighbours",
    "assert_existing_objects_matched": "of TensorFlow's checkpoints",
    "tf.config.experimental.set_memory_growth": "needs a GPU",
    "reshape": "within a model",
    "sum": "within a layer",
    "std": "a formula",
    "mean": "the same",
}


def spans() -> dict[str, list[tuple[Path, str]]]:
    """{code as Python writes it: [(page, as the page writes it)]} of all inline code with a call in it."""
    found: dict[str, list[tuple[Path, str]]] = {}
    for page in PAGES:
        for text in SPAN.findall(FENCE.sub("", page.read_text())):
            try:
                tree = ast.parse(text)
            except SyntaxError:
                continue
            if any(isinstance(node, ast.Call) for node in ast.walk(tree)):
                found.setdefault(ast.unparse(tree), []).append((page, text))
    return found


def called(code: str) -> str:
    """The name of the outermost function that is called, as written."""
    return next(ast.unparse(node.func) for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call))


SPANS = spans()


class Completed(ast.NodeTransformer):
    """A call with what its sentence leaves out."""

    def visit_Call(self, node: ast.Call) -> ast.Call:
        self.generic_visit(node)
        name = ast.unparse(node.func).removeprefix("keras_trt.")
        if name in ARGUMENTS and (not node.args or dots(*node.args)):
            whole: Any = ast.parse(f"f({ARGUMENTS[name]})", mode="eval").body
            given = {keyword.arg for keyword in node.keywords}
            node.args = whole.args
            node.keywords += [keyword for keyword in whole.keywords if keyword.arg not in given]
        for keyword in node.keywords:
            if dots(keyword.value):
                keyword.value = ast.parse(VALUES[keyword.arg], mode="eval").body
        return node


def dots(*nodes: ast.expr) -> bool:
    """Whether `...` stands for something in there."""
    return any(isinstance(n, ast.Constant) and n.value is ... for node in nodes for n in ast.walk(node))


class Reader(Stand):
    """What the sentences speak of, by the names that they use."""

    def __init__(self, keras: Any) -> None:
        super().__init__(keras)
        self.x = self.shard = self.its_shard = self.x[:64]
        self.y = self.labels = self.targets = self.y[:64]
        self.data, self.predictions = (self.x, self.y), np.eye(10)[self.y]
        self.path = self.bundle = "net.bundle"
        self.folder, self.bundles, self.runner = "folder", {"digits": "digits.bundle"}, "openvino"
        self.layer, self.n, self.step = keras.layers.Rescaling(2.0), 1, 1
        self.function = Stand.accuracy.fget(self)
        self.schedule = keras_trt.prune.Schedule(0.5)
        self.BackupAndRestore = keras.callbacks.BackupAndRestore
        self.EarlyStopping = keras.callbacks.EarlyStopping

    @property
    def dataset(self) -> Any:
        return self.tf.data.Dataset.from_tensor_slices(self.x).batch(32)

    @functools.cached_property
    def trained(self) -> Any:
        model = self.net("model")
        model.fit(self.x, self.labels, verbose=0)
        return model

    @property
    def model(self) -> Any:
        model = self.net("model")  # a new one for each call: some change it
        model.set_weights(self.trained.get_weights())
        return model

    @functools.cached_property
    def quantized(self) -> Any:
        return keras_trt.quantize_model(self.net("model"), calibration_data=self.x, verbose=0)

    @functools.cached_property
    def costs(self) -> Any:
        return keras_trt.sensitivity(self.model, self.data, verbose=0)

    @property
    def seen(self) -> Any:
        return keras_trt.quantize.observe(self.quantized, self.x)

    @property
    def recipe(self) -> Any:
        return keras_trt.Recipe.of(self.quantized)

    @property
    def history(self) -> Any:
        model = self.net("model")
        callbacks = [keras_trt.callbacks.Prune(0.5, end_step=1), keras_trt.callbacks.SparsityLog()]
        return model.fit(self.x, self.labels, verbose=0, callbacks=callbacks)


@pytest.fixture(scope="module")
def reader() -> Reader:
    import keras

    keras.utils.set_random_seed(0)
    return Reader(keras)


@pytest.fixture(scope="module")
def folder(reader, files, tmp_path_factory) -> Path:  # noqa: F811
    """What the sentences read."""
    made = tmp_path_factory.mktemp("read")
    shutil.copytree(files, made, dirs_exist_ok=True)
    reader.seen.save(made / "seen.npz")
    reader.recipe.to_json(made / "recipe.json")
    return made


def names(reader: Reader) -> dict[str, Any]:
    """What the words of a call mean."""

    class Words(dict[str, Any]):
        def __missing__(self, word: str) -> Any:
            if not hasattr(Reader, word):
                raise KeyError(word)
            return getattr(reader, word)

    words = Words(PUBLIC | vars(reader))
    for name, quicker in QUICKER.items():
        words[name] = functools.partial(at_ease, PUBLIC[name], quicker)
    return words


# Left out in the sentences, and here because the tests' time is short.
QUICKER = {"export": {"overwrite": True, "engine": None, "verbose": 0}, "quantize_model": {"verbose": 0}}


def at_ease(function: Any, quicker: dict[str, Any], *given: Any, **options: Any) -> Any:
    if "compute_capabilities" in options:
        quicker = {**quicker, "engine": "tensorrt_rtx"}
    return function(*given, **{**quicker, **options})


RUN = [code for code in SPANS if code not in ELSEWHERE and called(code) not in OTHERS]


@pytest.mark.parametrize("code", RUN)
def test_an_inline_call_runs(code, reader, folder, tmp_path, monkeypatch):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    whole = ast.fix_missing_locations(Completed().visit(ast.parse(WHOLE.get(code, code))))
    exec(compile(whole, f"{SPANS[code][0][0].name}: {code}", "exec"), {}, names(reader))


def test_what_runs_elsewhere_is_still_in_the_documents_and_that_place_exists():
    assert set(ELSEWHERE) | set(WHOLE) <= set(SPANS)
    assert {called(code) for code in SPANS} >= set(OTHERS)
    assert [place for place in ELSEWHERE.values() if not (ROOT / place).exists()] == []


# Whether a call fits the signature: of what runs elsewhere, too.


def meant(node: ast.expr, known: dict[str, Any]) -> tuple[Any, bool]:
    """The function or class that an expression is, and whether it is an instance of that class."""
    if isinstance(node, ast.Name):
        return known.get(node.id, (None, False))
    if isinstance(node, ast.Attribute):
        owner, instance = meant(node.value, known)
        if owner is None:
            return None, False
        assert hasattr(owner, node.attr) or node.attr in getattr(owner, "__annotations__", {}), (
            f"{ast.unparse(node)}: no {node.attr}"
        )
        member = getattr(owner, node.attr, None)
        return (functools.partial(member, None), False) if instance and callable(member) else (member, False)
    if isinstance(node, ast.Call):
        function, _ = meant(node.func, known)
        if inspect.isclass(function):
            return function, True
        if inspect.isfunction(function):
            back = typing.get_type_hints(function).get("return")
            return (back, True) if inspect.isclass(back) and "keras_trt" in back.__module__ else (None, False)
    return None, False


def check_signatures(code: str) -> int:
    """Binds each call of this library's functions; returns how many there were."""
    known, bound = {name: (value, False) for name, value in PUBLIC.items()}, 0
    for node in ast.walk(ast.parse(WHOLE.get(code, code))):
        if isinstance(node, ast.Attribute):
            meant(node, known)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            known[node.targets[0].id] = meant(node.value, known)
        if not isinstance(node, ast.Call):
            continue
        function, instance = meant(node.func, known)
        ours = getattr(getattr(function, "func", function), "__module__", None) or ""
        if function is None or instance or not ours.startswith("keras_trt") or not callable(function):
            continue
        starred = any(isinstance(a, ast.Starred) for a in node.args) or any(
            k.arg is None for k in node.keywords
        )
        partly = starred or dots(*node.args) or not node.args
        signature = inspect.signature(function)
        bind = signature.bind_partial if partly else signature.bind
        bind(
            *(a for a in node.args if not isinstance(a, ast.Starred)),
            **{k.arg: k for k in node.keywords if k.arg},
        )
        bound += 1
    return bound


@pytest.mark.parametrize("code", SPANS)
def test_an_inline_call_has_the_arguments_that_there_are(code):
    check_signatures(code)


@pytest.mark.parametrize(
    "wrong",
    [
        "export(model, path, presicion='fp16')",
        "export(..., presicion='fp16')",
        "load('a').lables",
        "a = load('a'); a.predikt(x)",
        "schemes.Int9()",
        "strip(model, 1, 2, 3, 4, 5, 6, 7)",
    ],
)
def test_a_call_that_cannot_be_made_is_seen(wrong):
    with pytest.raises((TypeError, AssertionError, AttributeError)):
        check_signatures(wrong)


# Python in indented blocks needs a GPU, a server, a download or another package. Where it runs:
BLOCKS = {
    "building.md": "tests/runtime/runners",
    "generation.md": "tests/test_generation.py",
    "packages.md": "tests/trained",
    "serving.md": "tests/serving",
    "tftrt.md": "tests/exporting/test_tftrt.py",
}


def indented() -> list[Any]:
    cases = []
    for page in PAGES:
        text = FENCE.sub("", page.read_text())
        for block in re.findall(r"(?:^|\n\n)((?: {4}.*(?:\n|$))+)", text):
            code = textwrap.dedent(block)
            try:
                tree = ast.parse(code)
            except SyntaxError:
                continue  # a command line, or a formula
            if any(isinstance(node, ast.Call | ast.Import | ast.ImportFrom) for node in ast.walk(tree)):
                cases.append(pytest.param(page, code, id=f"{page.name}-{len(cases)}"))
    return cases


@pytest.mark.parametrize("page,code", indented())
def test_an_indented_block_can_be_made_as_it_is_written_and_says_where_it_runs(page, code):
    assert page.name in BLOCKS, f"{page.name}: write ```python, so that it runs, or say here where it does"
    assert (ROOT / BLOCKS[page.name]).exists()
    check_signatures(code)


def test_every_fenced_block_is_of_a_kind_that_some_test_takes():
    for page in PAGES:
        for line in re.findall(r"^ *```(\S.*)$", page.read_text(), re.M):
            walked = page.name == "adding.md"  # tests/project/test_adding.py
            assert line in ("python", "sh") or (walked and " title=" in line), f"{page.name}: ```{line}"


COMMANDS = [
    (page, line)
    for page in PAGES
    for line in re.findall(
        r"(?:^ {4}|`)((?:KERAS_BACKEND=\w+ )?(?:python|pip) [^`\n]+)", page.read_text(), re.M
    )
]


@pytest.mark.parametrize("page,line", COMMANDS, ids=[f"{page.name}: {line}" for page, line in COMMANDS])
def test_a_command_line_names_files_modules_and_extras_that_exist(page, line):
    for file in re.findall(r"python (\w[\w/]*\.py)", line):
        assert file in ("train.py", "first.py", "tutorial.py") or (ROOT / file).exists()  # the reader's own
    for module in re.findall(r"python -m ((?:benchmarks|tests)[\w.]*)", line):
        assert importlib.util.find_spec(module)
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    for extras in re.findall(r"(?:keras-trt|\.)\[([a-z,]+)\]", line):
        assert set(extras.split(",")) <= set(setup["options.extras_require"])
