"""What importing needs beyond Python's own: faces whose names are loaded on first use, and module paths of before.

Torch and Lightning take seconds to import, so packages that need them offer names without loading what they come from.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any


def lazy_names(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package (PEP 562) that offers names from other modules.

    Args:
        package: its `__name__`.
        homes: name -> the module it lives in, imported when the name is first used.
    """

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}; it offers {sorted(homes)}")
        value = getattr(importlib.import_module(homes[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    def listed() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes})

    return load, listed


class _SameModule(importlib.abc.Loader):
    """Gives a module of the present layout under an earlier path."""

    def __init__(self, home: str) -> None:
        self.home = home

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """The module itself."""
        warnings.warn(f"{spec.name} is now {self.home}; the old path goes with the next version",
                      DeprecationWarning, stacklevel=2)  # fmt: skip
        module = importlib.import_module(self.home)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is run again; the module stays what its own spec says."""
        module.__spec__ = self._spec


class _EarlierPaths(importlib.abc.MetaPathFinder):
    """Finds modules under the paths they had before."""

    def __init__(self) -> None:
        self.homes: dict[str, str] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """A spec for an earlier path, None for anything else."""
        home = self.homes.get(fullname)
        return None if home is None else importlib.util.spec_from_loader(fullname, _SameModule(home))


_earlier = _EarlierPaths()


def keep_earlier_paths(homes: Mapping[str, str]) -> None:
    """Let `import old.path` give the module that is now `homes["old.path"]`, with a DeprecationWarning."""
    _earlier.homes.update(homes)
    if _earlier not in sys.meta_path:
        sys.meta_path.append(_earlier)
