"""Docstrings: every example runs, every array has a shape, every module they name exists."""

from __future__ import annotations

import ast
import doctest
import importlib
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("synthetic", "cryptoenv", "pretrain", "agents")
ARRAY = re.compile(r"NDArray|ndarray|\bTensor\b")
#: "(T,)", "(N, 5)", "(T_k, F)", "(T + 1,)", "(buffer size, N, ...)", or what has none of its own.
SHAPE = re.compile(
    r"\((?:[A-Za-z_0-9][\w.*+/ -]*,(?: ?[\w.*+/ -]+,?)*|\.\.\.(?:, ?\w+)+|\w+, \.\.\.)\)|\bscalars?\b|\bany shape\b"
)
#: A module or name of the packages in backticks.
NAMED = re.compile(r"`((?:synthetic|cryptoenv|pretrain|agents)(?:\.\w+)+)(?:\([^`]*\))?`")
FRONT_DOORS = (
    "cryptoenv", "synthetic", "pretrain", "agents",
    "cryptoenv.env.single.CryptoTradeEnv", "cryptoenv.env.vector.CryptoTradeVectorEnv",
    "cryptoenv.market.market.Market.from_bars", "cryptoenv.bar_files.reading.read_bars",
    "cryptoenv.cleaning.cleaning.clean", "cryptoenv.bars.exogenous.join_exogenous",
    "cryptoenv.features.custom.feature", "cryptoenv.features.stream.FeatureStream",
    "synthetic.oracles.filter_oracle.filter_oracle", "synthetic.regimes.market.regime_market",
    "pretrain.extractor.artifact.Extractor", "agents.evaluation.judging.score",
)  # fmt: skip


def sources() -> Iterator[tuple[str, str]]:
    """Dotted name and source of every module of the four packages."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path.read_text("utf-8")


def without_shapes(source: str, module: str) -> tuple[int, list[str]]:
    """How many public functions, methods and records of arrays there are, and those whose docstring has no shape."""
    counted, missing = 0, []

    def visit(node: ast.Module | ast.ClassDef, prefix: str) -> None:
        nonlocal counted
        for item in node.body:
            if not isinstance(item, (ast.ClassDef, ast.FunctionDef)) or item.name.startswith("_"):
                continue
            if isinstance(item, ast.ClassDef):
                visit(item, f"{prefix}{item.name}.")
                annotations = [f.annotation for f in item.body if isinstance(f, ast.AnnAssign)]
                text = "".join((ast.get_source_segment(source, item) or "").partition("def ")[0])
            else:
                arguments = [*item.args.posonlyargs, *item.args.args, *item.args.kwonlyargs]
                annotations = [a for a in (*(x.annotation for x in arguments), item.returns) if a is not None]
                text = ast.get_docstring(item) or ""
            if any(ARRAY.search(ast.unparse(a)) for a in annotations):
                counted += 1
                if not SHAPE.search(text):
                    missing.append(f"{module}.{prefix}{item.name}, line {item.lineno}")

    visit(ast.parse(source), "")
    return counted, missing


def test_every_public_function_of_arrays_states_a_shape() -> None:
    counted, missing = 0, []
    for module, source in sources():
        number, without = without_shapes(source, module)
        counted, missing = counted + number, missing + without
    assert counted > 250
    assert not missing, "\n".join(missing)


@pytest.mark.parametrize("text", ["An array.", "Of (some) rows.", "As in (T)."])
def test_a_planted_array_without_shape_is_found(text: str) -> None:
    function = f'def f(x: NDArray[Any]) -> None:\n    """{text}"""'
    assert without_shapes(function, "m") == (1, ["m.f, line 1"])
    assert without_shapes(f"class C:\n    x: Tensor\n{function.replace(chr(10), chr(10) + '    ')}", "m")[0] == 2
    assert without_shapes(function.replace(text, "Rows (N, 5)."), "m") == (1, [])
    assert without_shapes(function.replace("def f", "def _f"), "m") == (0, [])


def test_modules_that_docstrings_name_exist() -> None:
    wrong = []
    for module, source in sources():
        if module == "synthetic.earlier_paths":
            continue
        for name in NAMED.findall(source):
            with warnings.catch_warnings():
                warnings.simplefilter("error", DeprecationWarning)
                if not resolves(name):
                    wrong.append(f"{module} names {name}")
    assert not wrong, "\n".join(wrong)


def resolves(name: str) -> bool:
    """Whether a dotted name is a module or something in one, under its present path."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
        except (ModuleNotFoundError, DeprecationWarning):
            continue
        for part in parts[cut:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


def examples() -> list[doctest.DocTest]:
    """Every docstring with an example, found in the source so that modules without one need no import."""
    found: list[doctest.DocTest] = []
    for module, source in sources():
        if ">>> " in source:
            found += [t for t in doctest.DocTestFinder().find(importlib.import_module(module), module) if t.examples]
    return found


def test_front_doors_have_an_example() -> None:
    assert set(FRONT_DOORS) <= {test.name for test in examples()}


@pytest.mark.parametrize("test", examples(), ids=lambda test: test.name)
def test_every_example_runs(test: doctest.DocTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    test.globs = {"__name__": "__main__"}  # as a reader pastes it: nothing of the module is there
    told: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test, out=told.append)
    assert not told, "".join(told)
    assert not list(tmp_path.iterdir())  # an example leaves nothing behind
