"""Guards numba's cache on disk: it never gives what was not put in, never outlives its sources and never stops a start.

Damage: numba does not fsync, so a power cut or a full disk leaves files that are cut short or hold zeros, and numba
then fails at every start. The packages' cache files end in their SHA-256; what is damaged or cannot be read counts as
absent, is compiled anew and written over. What cannot be written is not cached.

Place: where neither the package's folder nor the user's can be written (containers, serverless), numba raises. The
packages then cache in a folder of the user's own beside the temporary files, and nowhere if there is none.

Stale code: numba recompiles a cached function when the function's own file changes, but not when a constant or a jitted
function of another file does. After an update of some files only (`git pull`, say) it would go on with the old ones.
Each package therefore keeps a stamp of all its sources beside its cache, wherever numba keeps that (`NUMBA_CACHE_DIR`,
the package's `__pycache__`, a folder of the user), and drops the cache when they no longer agree.

Other packages' functions are cached as ever. Importing this module sets the guard: a package imports it first.
"""

import contextlib
import hashlib
import io
import os
import stat
import tempfile
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType
from typing import IO, Any

from numba.core import caching, dispatcher
from numba.core.caching import CompileResultCacheImpl, FunctionCache, IndexDataCacheFile, NullCache

from synthetic.jit_compiling import PACKAGES

STAMP = "jit_sources.sha256"
_SEAL = hashlib.sha256().digest_size
_InTree: Any = getattr(caching, "InTreeCacheLocator", None) or vars(caching)["_InTreeCacheLocator"]  # of old numbas


class _SealedFile(IndexDataCacheFile):  # type: ignore[misc]
    """Numba's cache files of one function, with the SHA-256 of the rest at the end (unpickling stops before it)."""

    def load(self, key: Any) -> Any:
        with contextlib.suppress(Exception):  # garbage unpickles to any error; all of them mean: compile
            return super().load(key)
        return None

    def save(self, key: Any, data: Any) -> None:
        with contextlib.suppress(OSError):
            super().save(key, data)

    def _load_index(self) -> dict[Any, str]:
        if not _is_whole(self._index_path):
            return {}
        try:
            return dict(super()._load_index())
        except Exception:  # whole, but of another release
            return {}

    def _load_data(self, name: str) -> Any:
        if not _is_whole(self._data_path(name)):
            raise OSError(f"{name} is not as it was written")  # to numba: the file is absent
        return super()._load_data(name)

    @contextlib.contextmanager
    def _open_for_write(self, filepath: str) -> Iterator[IO[bytes]]:
        content = io.BytesIO()
        yield content
        written = content.getvalue()
        with super()._open_for_write(filepath) as file:
            file.write(written + hashlib.sha256(written).digest())


def _is_whole(path: str) -> bool:
    """Whether a cache file is there, can be read and ends in the SHA-256 of the rest."""
    try:
        content = Path(path).read_bytes()
    except OSError:
        return False
    return hashlib.sha256(content[:-_SEAL]).digest() == content[-_SEAL:]


@cache
def _own_temporary_folder() -> Path | None:
    """A folder beside the temporary files that nobody else can write: compiled code in it is run."""
    if not hasattr(os, "getuid"):  # Windows: everybody has a temporary folder of their own
        return Path(tempfile.gettempdir()) / "cryptoenv-numba"
    try:
        folder = Path(tempfile.gettempdir()) / f"cryptoenv-numba-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError:
        return None
    private = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o022
    return folder if private else None


class _TemporaryLocator(_InTree):  # type: ignore[misc]
    """The last resort: `_own_temporary_folder`."""

    def __init__(self, py_func: Any, py_file: str) -> None:
        super().__init__(py_func, py_file)
        self._cache_path = str(_own_temporary_folder() / self.get_suitable_cache_subpath(py_file))  # type: ignore[operator]

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> Any:
        return None if _own_temporary_folder() is None else super().from_function(py_func, py_file)


def _locators() -> list[Any]:
    """Numba's places for a cache, then `_TemporaryLocator`; without the user's folder where there is no home."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~")
    known = [
        place
        for place in CompileResultCacheImpl._locator_classes
        if os.path.isabs(home) or "UserWide" not in place.__name__  # numba would make a folder named "~"
    ]
    return [*known, _TemporaryLocator]


class _GuardedPlace(CompileResultCacheImpl):  # type: ignore[misc]
    _locator_classes = _locators()


class _GuardedCache(FunctionCache):  # type: ignore[misc]
    """The cache of one function of the packages'."""

    _impl_class = _GuardedPlace

    def __init__(self, py_func: Any) -> None:
        super().__init__(py_func)
        self._cache_file = _SealedFile(
            cache_path=self._cache_path,
            filename_base=self._impl.filename_base,
            source_stamp=self._impl.locator.get_source_stamp(),
        )

    def save_overload(self, sig: Any, data: Any) -> None:
        with contextlib.suppress(OSError):  # the folder went, or can no longer be written
            super().save_overload(sig, data)


def _cache_of(py_func: Any) -> Any:
    """The cache of a function that is decorated with `cache=True`."""
    if py_func.__module__.partition(".")[0] not in PACKAGES:
        return FunctionCache(py_func)
    try:
        return _GuardedCache(py_func)
    except RuntimeError:
        _warn_uncached()
        return NullCache()


@cache
def _warn_uncached() -> None:
    warnings.warn(
        "no folder for compiled code can be written, so that every process compiles anew, which takes a minute: set "
        "NUMBA_CACHE_DIR to one that can",
        RuntimeWarning,
        stacklevel=2,
    )


vars(dispatcher)["FunctionCache"] = _cache_of  # what `cache=True` makes


def cache_folder(folder: Path) -> Path | None:
    """Where numba caches the functions of the sources in `folder`; None where it can write nowhere."""
    source = min(folder.glob("*.py"), default=folder / "__init__.py")
    code = compile("def stand_in(): pass", str(source), "exec").co_consts[0]
    assert isinstance(code, CodeType)
    try:
        return Path(_GuardedPlace(FunctionType(code, {"__name__": folder.name})).locator.get_cache_path())
    except RuntimeError:
        return None


def drop_stale_cache(package: Path, *used: Path) -> bool:
    """Delete the compiled functions of `package` if its sources, or those of `used`, have changed since the last call.

    Call it when a package is imported, before its first jitted call: numba reads its cache only then. Where nothing can
    be written nothing is cached, and nothing is done.

    Args:
        package: folder of the package whose cache is guarded.
        used: folders of the packages whose jitted functions or constants it compiles in.

    Returns:
        Whether anything had changed.
    """
    digest = hashlib.sha256()
    for folder in (package, *used):
        for path in sorted(folder.rglob("*.py")):
            content = path.read_bytes()  # not its time, which an image or an archive rounds to seconds
            digest.update(f"{path.name} {len(content)}\n".encode())
            digest.update(content)
    top = cache_folder(package)
    if top is None:
        return False
    stamp = top / STAMP
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if stamp.read_text(encoding="utf-8") == digest.hexdigest():
            return False
    with contextlib.suppress(OSError):
        for folder in {source.parent for source in package.rglob("*.py")}:
            for compiled in (cache_folder(folder) or top).glob("*.nb[ic]"):
                compiled.unlink(missing_ok=True)
        fresh = stamp.with_name(f"{STAMP}.{os.getpid()}")
        fresh.write_text(digest.hexdigest(), encoding="utf-8")
        os.replace(fresh, stamp)
    return True
