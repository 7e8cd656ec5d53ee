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
SEES_THE_FUTURE = ("oracle", "label", "hindsight")


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
        if package == "cryptoenv" and top == "synthetic" and name == "synthetic":
            found.append(f"{where}: name the generator module, so that oracles stay out of reach")
        if package == "cryptoenv" and top == "synthetic" and any(word in name for word in SEES_THE_FUTURE):
            found.append(f"{where}: cryptoenv takes only generators from synthetic")
    return found


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
        ("cryptoenv.planted", "import synthetic"),
        ("pretrain.planted", "import agents.training"),
        ("agents.planted", "from benchmarks import machine"),
        ("agents.planted", "from tests.naive import kernel"),
    ],
)
def test_a_planted_violation_is_found(module: str, source: str) -> None:
    assert violations(source, module)


def test_relative_imports_resolve() -> None:
    assert list(imported(ast.parse("from . import a\nfrom ..b import c"), "p.q.m", False)) == [
        (1, "p.q.a"),
        (2, "p.b.c"),
    ]
    assert list(imported(ast.parse("from .a import b"), "p.q", True)) == [(1, "p.q.a.b")]


def test_generators_do_not_reach_what_sees_the_future() -> None:
    """Follow cryptoenv's imports of synthetic through synthetic's own modules."""
    sources = {name: (path.read_text("utf-8"), init) for path, name, init in modules("synthetic") if not init}
    reached: set[str] = set()
    frontier = [
        name
        for path, module, init in modules("cryptoenv")
        for _, name in imported(ast.parse(path.read_text("utf-8")), module, init)
        if name.startswith("synthetic.")
    ]
    while frontier:
        name = frontier.pop()
        module = name if name in sources else name.rpartition(".")[0]
        if module in sources and module not in reached:
            reached.add(module)
            text, init = sources[module]
            frontier += [n for _, n in imported(ast.parse(text), module, init) if n.startswith("synthetic.")]
    assert not [m for m in reached if any(word in m for word in SEES_THE_FUTURE)]


def test_importing_the_environment_is_light() -> None:
    code = (
        "import sys, cryptoenv; "
        f"print(sorted({set(IMPORTED_WHERE_USED)!r} & {{m.split('.')[0] for m in sys.modules}}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
