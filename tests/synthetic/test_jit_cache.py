"""Compiled code never outlives its sources, is never what was not written, and no cache stops a start."""

import errno
import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

from synthetic import jit_cache
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


Damage = Callable[[bytes], bytes | None]
DAMAGES: dict[str, Damage] = {
    "cut": lambda whole: whole[:100],
    "short by one": lambda whole: whole[:-1],
    "empty": lambda whole: b"",
    "zeros": lambda whole: bytes(len(whole)),
    "a block of zeros": lambda whole: whole[: len(whole) // 3] + bytes(len(whole) // 3) + whole[2 * len(whole) // 3 :],
    "noise": lambda whole: np.random.default_rng(0).bytes(len(whole)),
    "text": lambda whole: b"garbage\n",
    "a bit": lambda whole: (
        whole[: len(whole) // 2] + bytes([whole[len(whole) // 2] ^ 1]) + whole[len(whole) // 2 + 1 :]
    ),
    "a foreign pickle": lambda whole: b"cno_such_module\nname\n.",
    "unreadable": lambda whole: None,
}


def fresh_dispatcher(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The sample's function as a new process finds it: not compiled, its cache on disk."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "sample"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(folder))
    return importlib.import_module("sample.function").value


@pytest.fixture
def guarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package whose cache is guarded, with one function in it, compiled and cached."""
    monkeypatch.setattr(jit_cache, "PACKAGES", ("sample",))
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    package(tmp_path, 3)
    assert fresh_dispatcher(tmp_path, monkeypatch)() == 3
    return tmp_path


@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_are_compiled_anew(
    guarded: Path, monkeypatch: pytest.MonkeyPatch, damage: str, suffix: str
) -> None:
    """And written over, so that the start after that is served from the cache."""
    (file,) = (guarded / "cache").rglob(f"*.{suffix}")
    bad = DAMAGES[damage](file.read_bytes())
    if bad is not None:
        file.write_bytes(bad)
    elif os.geteuid():
        file.chmod(0)
    else:  # the modes of a file do not bind root; an open that fails is one
        file.unlink()
        file.symlink_to(file)
    once = fresh_dispatcher(guarded, monkeypatch)
    assert once() == 3 and not once.stats.cache_hits and once.stats.cache_misses
    again = fresh_dispatcher(guarded, monkeypatch)
    assert again() == 3 and again.stats.cache_hits and not again.stats.cache_misses


def test_whole_files_are_used_and_numba_alone_reads_them(guarded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fresh_dispatcher(guarded, monkeypatch).py_func.__module__ == "sample.function"
    for packages in (("sample",), ("another",)):
        monkeypatch.setattr(jit_cache, "PACKAGES", packages)
        used = fresh_dispatcher(guarded, monkeypatch)
        assert used() == 3 and used.stats.cache_hits and not used.stats.cache_misses


def test_a_cache_that_cannot_be_written_stops_nothing(guarded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any, **named: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    for file in (guarded / "cache").rglob("*.nb?"):
        file.unlink()
    value = fresh_dispatcher(guarded, monkeypatch)
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        assert value() == 3
    value = fresh_dispatcher(guarded, monkeypatch)
    shutil.rmtree(guarded / "cache")
    (guarded / "cache").touch()  # the folder went after the import, and cannot be made
    assert value() == 3


PLACES = """import pathlib, sys
import synthetic.jit_cache as jit_cache
jit_cache.PACKAGES = ("sample",)
from sample.function import value
jit_cache.drop_stale_cache(pathlib.Path("sample"))
print(value(), value._cache.cache_path)
"""


def where(folder: Path, script: str = PLACES, **variables: str) -> tuple[str, str]:
    """What the function gave and where it is cached, in a process that may not write the package's folder; stderr."""
    (folder / "sample" / "__pycache__").touch()
    (folder / "taken").touch()
    paths = os.pathsep.join([str(folder), str(ROOT)])
    given = {"PATH": os.environ["PATH"], "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1", **variables}
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, env=given, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr


@pytest.mark.parametrize(
    "variables",
    [
        {"HOME": "/taken/home"},
        {"HOME": "~"},  # a user without a home, of whom the system knows nothing
        {"HOME": "/taken/home", "NUMBA_CACHE_DIR": "/taken/cache"},
    ],
)
def test_without_a_place_the_cache_is_beside_the_temporary_files(tmp_path: Path, variables: dict[str, str]) -> None:
    """And is guarded there: a changed constant arrives."""
    package(tmp_path, 1)
    (tmp_path / "temporary").mkdir()
    given = {name: value.replace("/taken", str(tmp_path / "taken")) for name, value in variables.items()}
    given["TMPDIR"] = str(tmp_path / "temporary")
    for value in (1, 22):
        package(tmp_path, value)
        found, complaint = where(tmp_path, **given)
        number, place = found.split()
        assert number == str(value) and not complaint
        assert Path(place).parent == tmp_path / "temporary" / f"cryptoenv-numba-{os.getuid()}"
        assert Path(place).parent.stat().st_mode & 0o777 == 0o700
        assert list(Path(place).glob("function.value-*.nbc"))
    assert not (tmp_path / "~").exists()


@pytest.mark.parametrize("planted", ["a link", "a folder all may write", "a file"])
def test_a_folder_of_others_is_not_trusted(tmp_path: Path, planted: str) -> None:
    """Compiled code is run: whoever can write the cache can run anything. Uncached it works, and says what to set."""
    package(tmp_path, 1)
    folder = tmp_path / "temporary" / f"cryptoenv-numba-{os.getuid()}"
    folder.parent.mkdir()
    (tmp_path / "theirs").mkdir()
    if planted == "a link":
        folder.symlink_to(tmp_path / "theirs")
    elif planted == "a file":
        folder.touch()
    else:
        folder.mkdir()
        folder.chmod(0o777)
    found, complaint = where(tmp_path, HOME=str(tmp_path / "taken" / "home"), TMPDIR=str(folder.parent))
    assert found == "1 None" and complaint.count("NUMBA_CACHE_DIR") == 1
    assert not list((tmp_path / "theirs").iterdir())


def test_a_place_that_the_user_names_is_used(tmp_path: Path) -> None:
    package(tmp_path, 1)
    home = str(tmp_path / "taken" / "home")
    found, complaint = where(tmp_path, HOME=home, NUMBA_CACHE_DIR=str(tmp_path / "named"), TMPDIR=str(tmp_path))
    assert Path(found.split()[1]).parent == tmp_path / "named" and not complaint


def test_the_packages_are_guarded() -> None:
    """Every jitted function of theirs: none was made before the guard was set."""
    code = """import sys
import cryptoenv, cryptoenv.features, pretrain.windows, synthetic
from numba.core.dispatcher import Dispatcher
found = [value for module in list(sys.modules.values()) for value in vars(module).values()]
found = [value for value in found if isinstance(value, Dispatcher)]
packages = ("synthetic", "cryptoenv", "pretrain")
ours = [type(value._cache).__name__ for value in found if value.py_func.__module__.partition(".")[0] in packages]
print(len(ours) > 100, set(ours))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True {'_GuardedCache'}"
