"""The import order of the packages, held over every module by its syntax tree."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ORDER = ("synthetic", "cryptoenv", "pretrain", "agents", "benchmarks")
LEARNING_LIBRARIES = frozenset(
    ("torch", "lightning", "pytorch_lightning", "stable_baselines3", "sb3_contrib", "imitation", "safetensors")
)
IMPORTED_WHERE_USED = frozenset(("matplotlib", "ccxt", "torch", "sklearn", "scipy"))
SEES_THE_FUTURE = ("oracle", "label", "hindsight", "filter", "belief")
GENERATOR_NAMES = frozenset(("TASKS", "RegimeSample", "RegimeTask", "WARMUP_DAYS", "regime_market", "task_seeds"))


def imported(tree: ast.AST, module: str, is_package: bool) -> Iterator[tuple[int, str]]:
    """Line and absolute dotted name of everything that `module` imports, inside functions too."""
    parts = module.split(".")
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = parts[: len(parts) - node.level + is_package] if node.level else []
            source = ".".join([*base, node.module] if node.module else base)
            for alias in node.names:
                yield node.lineno, f"{source}.{alias.name}"


def violations(source: str, module: str, is_package: bool = False) -> list[str]:
    """What one module imports that its package may not."""
    package = module.split(".")[0]
    found = []
    for line, name in imported(ast.parse(source), module, is_package):
        top = name.split(".")[0]
        where = f"{module}:{line} imports {name}"
        if top == "tests" or (top in ORDER and ORDER.index(top) > ORDER.index(package)):
            found.append(f"{where}: {package} may import only from {ORDER[: ORDER.index(package) + 1]}")
        if package in ("synthetic", "cryptoenv") and top in LEARNING_LIBRARIES:
            found.append(f"{where}: no learning library in {package}")
        if package == "cryptoenv" and top == "synthetic" and any(word in name for word in SEES_THE_FUTURE):
            found.append(f"{where}: cryptoenv takes only generators from synthetic")
    if package == "cryptoenv":
        found += [f"{module}: {use}" for use in uses_of_synthetic(ast.parse(source))]
    return found


def uses_of_synthetic(tree: ast.AST) -> Iterator[str]:
    """Uses of the name `synthetic`, after `import synthetic`, that may reach more than generators."""
    allowed = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (f"{a.name} under another name" for a in node.names if a.name == "synthetic" and a.asname)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "synthetic":
            allowed.add(node.value)
            if node.attr not in GENERATOR_NAMES:
                yield f"line {node.lineno} uses synthetic.{node.attr}; allowed are {sorted(GENERATOR_NAMES)}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == "synthetic" and node not in allowed:
            yield f"line {node.lineno} uses the package synthetic as a whole"


def modules(package: str) -> Iterator[tuple[Path, str, bool]]:
    """Path, dotted name and whether it is an `__init__`, for every module of a package."""
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        yield path, ".".join(parts[:-1] if is_package else parts), is_package


@pytest.mark.parametrize("package", ORDER)
def test_packages_import_only_to_the_left(package: str) -> None:
    found = [v for path, name, init in modules(package) for v in violations(path.read_text("utf-8"), name, init)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("synthetic.planted", "import cryptoenv"),
        ("cryptoenv.planted", "from pretrain.extractor import Extractor"),
        ("cryptoenv.features.planted", "def f():\n    import torch"),
        ("cryptoenv.planted", "from stable_baselines3 import PPO"),
        ("cryptoenv.planted", "from synthetic.filter_oracle import filter_oracle"),
        ("cryptoenv.planted", "from synthetic import path_labels"),
        ("cryptoenv.planted", "import synthetic as s"),
        ("cryptoenv.planted", "import synthetic\nsynthetic.filter_oracle"),
        ("cryptoenv.planted", "import synthetic\ngetattr(synthetic, 'x')"),
        ("pretrain.planted", "import agents.training"),
        ("agents.planted", "from benchmarks import machine"),
        ("agents.planted", "from tests.naive import kernel"),
    ],
)
def test_a_planted_violation_is_found(module: str, source: str) -> None:
    assert violations(source, module)


def test_generators_are_allowed() -> None:
    assert not violations("import synthetic\nsynthetic.regime_market('easy')", "cryptoenv.pool")
    assert not violations("from synthetic.regime_market import regime_market", "cryptoenv.pool")


def test_relative_imports_resolve() -> None:
    assert list(imported(ast.parse("from . import a\nfrom ..b import c"), "p.q.m", False)) == [
        (1, "p.q.a"),
        (2, "p.b.c"),
    ]
    assert list(imported(ast.parse("from .a import b"), "p.q", True)) == [(1, "p.q.a.b")]


def test_generators_do_not_reach_what_sees_the_future() -> None:
    """Follow the generators through synthetic's own modules: none imports a label, an oracle or a filter."""
    sources = {name: path.read_text("utf-8") for path, name, init in modules("synthetic") if not init}
    frontier = ["synthetic.regime_market", "synthetic.regime_task"]
    reached: set[str] = set()
    while frontier:
        module = frontier.pop()
        if module in sources and module not in reached:
            reached.add(module)
            for _, name in imported(ast.parse(sources[module]), module, False):
                frontier += [name, name.rpartition(".")[0]]
    assert {"synthetic.regime_market", "synthetic.regime_task"} <= reached
    assert not [m for m in reached if any(word in m for word in SEES_THE_FUTURE)]


def test_importing_the_environment_is_light() -> None:
    code = (  # numba looks at scipy's version where scipy is installed
        "import sys, numba; before = set(sys.modules); import cryptoenv; new = set(sys.modules) - before; "
        f"print(sorted({set(IMPORTED_WHERE_USED)!r} & {{m.split('.')[0] for m in new}}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
