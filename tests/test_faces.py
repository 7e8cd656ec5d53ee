"""What the four packages offer is what tools see: `__all__`, `dir`, and the imports that type checkers read."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("synthetic", "cryptoenv", "pretrain", "agents")
LAZY = ("pretrain", "agents")


def named_imports(package: str) -> set[str]:
    """Names that a face imports by `from ... import`, under TYPE_CHECKING too: what a type checker finds there."""
    tree = ast.parse((ROOT / package / "__init__.py").read_text("utf-8"))
    return {a.asname or a.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for a in node.names}


@pytest.mark.parametrize("package", PACKAGES)
def test_all_that_is_offered_is_there_and_listed(package: str) -> None:
    face = importlib.import_module(package)
    assert face.__all__ == sorted(set(face.__all__), key=lambda n: (not n.isupper(), not n[0].isupper(), n))
    assert set(face.__all__) <= set(dir(face))
    for name in face.__all__:
        assert getattr(face, name) is not None
        assert getattr(face, name) is vars(face)[name]  # kept where it was loaded: the next look costs nothing
    assert set(face.__all__) <= named_imports(package)


@pytest.mark.parametrize("package", LAZY)
def test_every_lazy_name_is_offered_from_where_it_is_defined(package: str) -> None:
    face = importlib.import_module(package)
    assert set(face._HOMES) <= set(face.__all__)
    for name, home in face._HOMES.items():
        assert name in {*_defined(home)}, f"{package}.{name} is not defined in {home}"
    with pytest.raises(AttributeError, match="no attribute 'walk'"):
        _ = face.walk


def _defined(module: str) -> list[str]:
    """Names that a module defines itself, not what it imports."""
    found = []
    for node in ast.parse(Path(importlib.import_module(module).__file__ or "").read_text("utf-8")).body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            found.append(node.name)
        elif isinstance(node, ast.Assign):
            found += [target.id for target in node.targets if isinstance(target, ast.Name)]
    return found


def test_listing_a_face_loads_nothing_heavy() -> None:
    code = (
        "import sys, pretrain, agents; names = dir(pretrain), dir(agents);"
        "print('train' in names[1] and 'Extractor' in names[0], 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]
