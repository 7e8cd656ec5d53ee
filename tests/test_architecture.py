"""The import order of packages, rooms and files, held over every module by its syntax tree."""

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
#: Inside a package, a room (folder, or file beside the rooms) imports only from rooms that stand before it.
ROOMS = {
    "synthetic": (
        "installation", "earlier_paths", "import_paths", "jit_compiling", "jit_cache", "price_columns", "regimes",
        "patterns", "tokens", "oracles", "labels", "__init__",
    ),
    "cryptoenv": (
        "progress", "files", "bars", "bar_files", "cleaning", "trading", "features", "store", "exchange",
        "market", "analysis", "rendering", "env", "multi_agent", "live", "__init__",
    ),
    "pretrain": (
        "data", "fitting", "networks", "extractor", "segmenter", "forecaster", "tokens", "sentiment", "loading",
        "__init__",
    ),
    "agents": (
        "seeds", "settings", "markets", "policies", "run_folders", "cloning", "algorithms",
        "evaluation", "reports", "training", "web", "live", "commands", "command_line", "__init__",
    ),
}  # fmt: skip
LARGEST_SHELF = 16  #: folders and files of a package that are seen at first sight
#: All that cryptoenv may import of synthetic: generators, and what guards the installation. Oracles and labels see the
#: future.
GENERATORS = ("synthetic.regimes", "synthetic.jit_cache", "synthetic.import_paths", "synthetic.installation")
GENERATOR_NAMES = frozenset(("TASKS", "RegimeSample", "RegimeTask", "WARMUP_DAYS", "regime_market", "task_seeds"))
#: What benchmarks may take from the tests: exchanges on the loopback interface, to measure in front of.
STAND_INS = "tests.loopback."


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
        stands_in = package == "benchmarks" and name.startswith(STAND_INS)
        if (top == "tests" and not stands_in) or (top in ORDER and ORDER.index(top) > ORDER.index(package)):
            found.append(f"{where}: {package} may import only from {ORDER[: ORDER.index(package) + 1]}")
        if package in ("synthetic", "cryptoenv") and top in LEARNING_LIBRARIES:
            found.append(f"{where}: no learning library in {package}")
        if package == "cryptoenv" and top == "synthetic" and not is_generator(name):
            found.append(f"{where}: cryptoenv takes only {GENERATORS} from synthetic")
    if package == "cryptoenv":
        found += [f"{module}: {use}" for use in uses_of_synthetic(ast.parse(source))]
    return found


def is_generator(name: str) -> bool:
    """Whether a dotted name of synthetic is (in) a generator's room, or one of the generators that its face shows."""
    inside = any(name == room or name.startswith(room + ".") for room in GENERATORS)
    return inside or name == "synthetic" or name.removeprefix("synthetic.") in GENERATOR_NAMES


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
        ("cryptoenv.planted", "from synthetic.oracles.filter_oracle import filter_oracle"),
        ("cryptoenv.planted", "from synthetic.labels import path"),
        ("cryptoenv.planted", "import synthetic.patterns"),
        ("cryptoenv.planted", "from synthetic import path_labels"),
        ("cryptoenv.planted", "import synthetic as s"),
        ("cryptoenv.planted", "import synthetic\nsynthetic.filter_oracle"),
        ("cryptoenv.planted", "import synthetic\ngetattr(synthetic, 'x')"),
        ("pretrain.planted", "import agents.training"),
        ("agents.planted", "from benchmarks import machine"),
        ("agents.planted", "from tests.naive import kernel"),
        ("agents.planted", "from tests.loopback.exchange import Market"),
        ("benchmarks.planted", "from tests.naive import kernel"),
    ],
)
def test_a_planted_violation_is_found(module: str, source: str) -> None:
    assert violations(source, module)


def test_generators_are_allowed() -> None:
    assert not violations("import synthetic\nsynthetic.regime_market('easy')", "cryptoenv.market.pool")
    assert not violations("from synthetic.regimes.market import regime_market", "cryptoenv.market.pool")


def test_relative_imports_resolve() -> None:
    assert list(imported(ast.parse("from . import a\nfrom ..b import c"), "p.q.m", False)) == [
        (1, "p.q.a"),
        (2, "p.b.c"),
    ]
    assert list(imported(ast.parse("from .a import b"), "p.q", True)) == [(1, "p.q.a.b")]


def test_generators_do_not_reach_what_sees_the_future() -> None:
    """Follow the generators through synthetic's own modules: none imports a label, an oracle or a filter."""
    sources = {name: path.read_text("utf-8") for path, name, init in modules("synthetic") if not init}
    frontier = ["synthetic.regimes.market", "synthetic.regimes.chain_task"]
    reached: set[str] = set()
    while frontier:
        module = frontier.pop()
        if module in sources and module not in reached:
            reached.add(module)
            for _, name in imported(ast.parse(sources[module]), module, False):
                frontier += [name, name.rpartition(".")[0]]
    assert {"synthetic.regimes.market", "synthetic.regimes.chain_task"} <= reached
    assert not [m for m in reached if m.split(".")[1] in ("oracles", "labels")]


def test_importing_the_environment_is_light() -> None:
    code = (  # numba looks at scipy's version where scipy is installed
        "import sys, numba; before = set(sys.modules); import cryptoenv; new = set(sys.modules) - before; "
        f"print(sorted({set(IMPORTED_WHERE_USED)!r} & {{m.split('.')[0] for m in new}}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def room_of(module: str, package: str) -> str:
    """The room of a module: the folder or file right under its package."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def own_imports(sources: dict[str, tuple[str, bool]]) -> dict[str, set[str]]:
    """Per module, the modules among `sources` (name -> source and whether an `__init__`) that it imports anywhere."""
    graph: dict[str, set[str]] = {}
    for module, (source, is_package) in sources.items():
        graph[module] = set()
        for _, name in imported(ast.parse(source), module, is_package):
            while name and name not in sources:
                name = name.rpartition(".")[0]
            if name and name != module:
                graph[module].add(name)
    return graph


def sources_of(package: str) -> dict[str, tuple[str, bool]]:
    return {name: (path.read_text("utf-8"), init) for path, name, init in modules(package)}


def wrong_rooms(graph: dict[str, set[str]], package: str, order: tuple[str, ...]) -> list[str]:
    """Imports that look to a room at the same height or above."""
    found = []
    for module, targets in graph.items():
        room = room_of(module, package)
        if room not in order:
            found.append(f"{module}: the room {room!r} has no place in the order {order}")
            continue
        for target in sorted(targets):
            other = room_of(target, package)
            if other != room and (other not in order or order.index(other) > order.index(room)):
                found.append(f"{module} imports {target}: {room} stands before {other}")
    return found


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Files that import each other, directly or through others: a path from a file back to itself for each of them."""
    found = []
    for start in graph:
        paths = {start: [start]}
        frontier = [start]
        while frontier:
            module = frontier.pop()
            for target in graph.get(module, ()):
                if target == start:
                    found.append([*paths[module], start])
                    frontier = []
                    break
                if target not in paths:
                    paths[target] = [*paths[module], target]
                    frontier.append(target)
    return found


def analysts(graph: dict[str, set[str]]) -> list[str]:
    """Modules of cryptoenv, but its face and the room itself, that import what sees forward returns."""
    room = "cryptoenv.analysis"
    return [
        f"{module} imports {target}"
        for module, targets in graph.items()
        for target in targets
        if target.startswith(room) and module != "cryptoenv" and not module.startswith(room)
    ]


def shadowed(sources: dict[str, tuple[str, bool]]) -> list[str]:
    """Names that a face exports although a module beside it bears them: which one you get depends on import order."""
    found = []
    for face, (source, is_package) in sources.items():
        if is_package:
            beside = {name.rpartition(".")[2] for name in sources if name.rpartition(".")[0] == face}
            names = {alias.asname or alias.name for node in ast.walk(ast.parse(source))
                     if isinstance(node, ast.ImportFrom) for alias in node.names}  # fmt: skip
            lazy = {key.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Dict)
                    for key in node.keys if isinstance(key, ast.Constant)}  # fmt: skip
            found += [f"{face} exports {name}, and {face}.{name} is a module" for name in beside & (names | lazy)]
    return found


@pytest.mark.parametrize("package", ROOMS)
def test_rooms_import_only_from_rooms_before_them(package: str) -> None:
    found = wrong_rooms(own_imports(sources_of(package)), package, ROOMS[package])
    assert not found, "\n".join(found)


@pytest.mark.parametrize("package", ORDER)
def test_no_two_files_import_each_other(package: str) -> None:
    found = circles(own_imports(sources_of(package)))
    assert not found, "\n".join(" -> ".join(path) for path in found)


def test_nothing_but_the_face_imports_what_sees_forward_returns() -> None:
    assert not analysts(own_imports(sources_of("cryptoenv")))


@pytest.mark.parametrize("package", ORDER)
def test_no_module_bears_the_name_of_what_its_face_exports(package: str) -> None:
    assert not shadowed(sources_of(package))


@pytest.mark.parametrize("package", ROOMS)
def test_a_package_is_seen_at_a_glance(package: str) -> None:
    boxes = [path.name for path in (ROOT / package).iterdir() if path.name not in ("__pycache__", "py.typed")]
    assert len(boxes) <= LARGEST_SHELF, sorted(boxes)


def test_planted_rooms_circles_and_names_are_found() -> None:
    low, high = ("cryptoenv.bars.planted", "cryptoenv.env.planted")
    upward = own_imports({low: ("def f():\n    from cryptoenv.env import planted", False), high: ("", False)})
    assert wrong_rooms(upward, "cryptoenv", ROOMS["cryptoenv"])
    assert wrong_rooms({"cryptoenv.attic.planted": set()}, "cryptoenv", ROOMS["cryptoenv"])
    hidden = {
        low: ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from cryptoenv.env.planted import X", False),
        high: ("def f():\n    import cryptoenv.bars.planted", False),
    }
    assert circles(own_imports(hidden)) and not circles(upward)
    assert analysts(
        own_imports({high: ("import cryptoenv.analysis.features", False), "cryptoenv.analysis.features": ("", False)})
    )
    face = {"synthetic": ("from synthetic.plan import plan", True), "synthetic.plan": ("def plan(): ...", False)}
    assert shadowed(face)
    assert shadowed({"agents": ('_HOMES = {"plan": "agents.x"}', True), "agents.plan": ("", False)})
