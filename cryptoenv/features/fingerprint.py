"""What a user's function is made of: its source or byte code, and the values of every name that it reads."""

import dis
import hashlib
import inspect
import pickle
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import pandas as pd

_MOST_LEVELS = 40
_INSTALLED = ("site-packages", "dist-packages")
_OWN = ("numpy", "pandas", "scipy", "numba", "cryptoenv", "synthetic")


def fingerprint(function: Callable[..., Any]) -> str:
    """sha256 (hex) over a function's source (byte code and constants where it has none, or is a lambda), defaults,
    closure, and the globals it reads, functions of the user's among them, however deep.

    Raises:
        ValueError: it reads a table of pandas', or what cannot be hashed.
    """
    digest = hashlib.sha256()
    for part in _parts(function, set(), 0):
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()


def _parts(value: Any, seen: set[int], level: int) -> Iterator[bytes]:
    if level > _MOST_LEVELS:
        raise ValueError(f"values nested deeper than {_MOST_LEVELS} levels cannot be hashed")
    yield type(value).__qualname__.encode()
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | type(...) | slice | range):
        yield repr(value).encode()
        return
    if isinstance(value, pd.DataFrame | pd.Series | pd.Index):
        raise ValueError(
            "a feature may not read a table of its own, whose rows know the future; join it to the bars as a column "
            "(join_exogenous) and read bars.columns"
        )
    if id(value) in seen:
        yield b"again"
        return
    seen.add(id(value))
    yield from _deep_parts(value, seen, level + 1)


def _deep_parts(value: Any, seen: set[int], level: int) -> Iterator[bytes]:
    wrapped = getattr(value, "py_func", None)  # of numba
    if isinstance(value, np.ndarray | np.generic) and not value.dtype.hasobject:
        yield f"{value.dtype.str}{value.shape}".encode()
        yield np.ascontiguousarray(value).tobytes()
    elif isinstance(value, ModuleType | type | BuiltinFunctionType | np.ufunc) or _is_installed(value):
        yield _name(value)
        if isinstance(value, type) and not _is_installed(value):
            yield from _own_parts(vars(value), seen, level)
    elif isinstance(value, FunctionType):
        yield from _function_parts(value, seen, level)
    elif isinstance(wrapped, FunctionType):
        yield from _parts(wrapped, seen, level)
    elif isinstance(value, MethodType):
        yield from (part for inner in (value.__func__, value.__self__) for part in _parts(inner, seen, level))
    elif isinstance(value, partial):
        for inner in (value.func, value.args, value.keywords):
            yield from _parts(inner, seen, level)
    elif isinstance(value, CodeType):
        yield from _code_parts(value, seen, level)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _parts(key, seen, level)
            yield from _parts(inner, seen, level)
    elif isinstance(value, set | frozenset):
        yield repr(sorted(map(repr, value))).encode()
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _parts(inner, seen, level)
    elif hasattr(value, "__dict__"):
        yield from _parts(type(value), seen, level)
        yield from _own_parts(vars(value), seen, level)
    else:
        yield _pickled(value)


def _own_parts(values: Mapping[str, Any], seen: set[int], level: int) -> Iterator[bytes]:
    for name, inner in sorted(values.items()):
        if not (name.startswith("__") and name != "__call__"):
            yield name.encode()
            yield from _parts(inner, seen, level)


def _pickled(value: Any) -> bytes:
    try:
        return pickle.dumps(value, protocol=4)
    except Exception as error:
        raise ValueError(
            f"a feature reads {type(value).__name__}, which cannot be hashed; allowed: numbers, arrays, functions"
        ) from error


def _function_parts(function: FunctionType, seen: set[int], level: int) -> Iterator[bytes]:
    source = None if function.__name__ == "<lambda>" else _source(function)
    if source is None:
        yield from _code_parts(function.__code__, seen, level)
    else:
        yield source
    yield from _parts(function.__defaults__, seen, level)
    yield from _parts(function.__kwdefaults__, seen, level)
    for cell in function.__closure__ or ():
        try:
            yield from _parts(cell.cell_contents, seen, level)
        except ValueError as error:
            if str(error) != "Cell is empty":
                raise
    for name, path in sorted(_names(function.__code__)):
        found: Any = function.__globals__.get(name, _BUILTIN)
        for step in path:  # a module's: `helpers.scale`
            found = getattr(found, step, _BUILTIN) if isinstance(found, ModuleType) else found
        yield name.encode()
        if found is not _BUILTIN:
            yield from _parts(found, seen, level)


_BUILTIN = object()


def _source(function: FunctionType) -> bytes | None:
    try:
        return textwrap.dedent(inspect.getsource(function)).encode()
    except (OSError, TypeError):  # typed at a prompt, or compiled
        return None


def _code_parts(code: CodeType, seen: set[int], level: int) -> Iterator[bytes]:
    yield code.co_code
    yield repr((code.co_names, code.co_varnames, code.co_freevars)).encode()
    for constant in code.co_consts:
        yield from _parts(constant, seen, level)


def _names(code: CodeType) -> set[tuple[str, tuple[str, ...]]]:
    """Globals that code reads, with the attributes taken of them at once."""
    found, instructions = set(), list(dis.get_instructions(code))
    for at, instruction in enumerate(instructions):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            path = []
            for later in instructions[at + 1 :]:
                if later.opname not in ("LOAD_ATTR", "LOAD_METHOD"):
                    break
                path.append(str(later.argval))
            found.add((str(instruction.argval), tuple(path)))
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= _names(constant)
    return found


def _is_installed(value: Any) -> bool:
    """Whether a function or class is of an installed package, which its version stands for."""
    module = getattr(value, "__module__", None)
    if not isinstance(module, str) or not (isinstance(value, type) or callable(value)):
        return False
    if isinstance(value, partial | MethodType) or not hasattr(value, "__qualname__"):
        return False
    top = module.split(".")[0]
    if top == "__main__" or module not in sys.modules:
        return False
    file = getattr(sys.modules[module], "__file__", None) or ""
    return top in sys.stdlib_module_names or top in _OWN or any(place in file for place in _INSTALLED)


def _name(value: Any) -> bytes:
    name = getattr(value, "__qualname__", getattr(value, "__name__", ""))
    return f"{getattr(value, '__module__', '')}.{name}".encode()
