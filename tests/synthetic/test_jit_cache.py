"""Compiled code never outlives the sources it was made from, other files' constants included."""

import os
import subprocess
import sys
from pathlib import Path

import numba
import pytest

from synthetic.jit_cache import drop_stale_cache

ROOT = Path(__file__).resolve().parents[2]
FUNCTION = """from numba import njit

from sample.constants import VALUE


@njit(cache=True)
def value() -> int:
    return VALUE
"""
SCRIPT = """import pathlib, sys
from sample.function import value
if sys.argv[1] == "guarded":
    from synthetic.jit_cache import drop_stale_cache
    drop_stale_cache(pathlib.Path("sample"))
print(value())
"""


def package(folder: Path, value: int) -> None:
    (folder / "sample").mkdir(exist_ok=True)
    (folder / "sample" / "__init__.py").touch()
    (folder / "sample" / "constants.py").write_text(f"VALUE = {value}\n", encoding="utf-8")
    if not (folder / "sample" / "function.py").exists():
        (folder / "sample" / "function.py").write_text(FUNCTION, encoding="utf-8")


def run(folder: Path, mode: str, **variables: str) -> str:
    paths = os.pathsep.join([str(folder), str(ROOT)])
    command = [sys.executable, "-c", SCRIPT, mode]
    given = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    environment = {**given, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1", **variables}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_constant_of_another_file_reaches_cached_functions(tmp_path: Path) -> None:
    package(tmp_path, 1)
    assert run(tmp_path, "bare") == "1"
    package(tmp_path, 22)
    assert run(tmp_path, "bare") == "1", "numba alone goes on with the old constant: else this module is not needed"
    assert run(tmp_path, "guarded") == "22"


def test_the_cache_is_guarded_wherever_numba_keeps_it(tmp_path: Path) -> None:
    package(tmp_path, 1)
    elsewhere = tmp_path / "elsewhere"
    variables = {"NUMBA_CACHE_DIR": str(elsewhere)}
    assert run(tmp_path, "guarded", **variables) == "1"
    assert list(elsewhere.rglob("function.value-*.nbi"))
    package(tmp_path, 22)
    assert run(tmp_path, "bare", **variables) == "1"
    assert run(tmp_path, "guarded") == "22"
    assert run(tmp_path, "guarded", **variables) == "22", "each cache has its own stamp"


def test_the_cache_of_the_user_is_guarded(tmp_path: Path) -> None:
    """Numba's fallback where the package's folder cannot be written: here `__pycache__` is a file."""
    package(tmp_path, 1)
    (tmp_path / "sample" / "__pycache__").touch()
    variables = {"XDG_CACHE_HOME": str(tmp_path / "user"), "HOME": str(tmp_path / "user")}
    assert run(tmp_path, "guarded", **variables) == "1"
    assert list((tmp_path / "user").rglob("function.value-*.nbi"))
    package(tmp_path, 22)
    assert run(tmp_path, "bare", **variables) == "1"
    assert run(tmp_path, "guarded", **variables) == "22"


def test_nothing_is_dropped_while_nothing_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    package(tmp_path, 1)
    compiled = tmp_path / "sample" / "__pycache__" / "function.value-1.py311.nbi"
    assert drop_stale_cache(tmp_path / "sample")
    compiled.write_bytes(b"compiled")
    assert not drop_stale_cache(tmp_path / "sample")
    assert compiled.exists()
    other = tmp_path / "other"
    other.mkdir()
    assert drop_stale_cache(tmp_path / "sample", other) is False, "an empty package adds nothing"
    (other / "kernel.py").write_text("VALUE = 2\n", encoding="utf-8")
    assert drop_stale_cache(tmp_path / "sample", other)
    assert not compiled.exists()
