"""Guards numba's cache on disk: no compiled code outlives the sources it was made from.

Numba recompiles a cached function when the function's own file changes, but not when a constant or a jitted function of
another file does. After an update of some files only (`git pull`, say) it would go on with the old ones, silently.
Each package therefore keeps a stamp of all its sources beside its cache, wherever numba keeps that (`NUMBA_CACHE_DIR`,
the package's `__pycache__`, a folder of the user), and drops the cache when they no longer agree.
"""

import contextlib
import hashlib
import os
from pathlib import Path
from types import CodeType, FunctionType

from numba.core.caching import FunctionCache

STAMP = "jit_sources.sha256"


def cache_folder(folder: Path) -> Path | None:
    """Where numba caches the functions of the sources in `folder`; None where it can write nowhere."""
    source = min(folder.glob("*.py"), default=folder / "__init__.py")
    code = compile("def stand_in(): pass", str(source), "exec").co_consts[0]
    assert isinstance(code, CodeType)
    try:
        return Path(FunctionCache(FunctionType(code, {"__name__": folder.name})).cache_path)
    except RuntimeError:
        return None


def drop_stale_cache(package: Path, *used: Path) -> bool:
    """Delete the compiled functions of `package` if its sources, or those of `used`, have changed since the last call.

    Call it when a package is imported, before its first jitted call: numba reads its cache only then. Where nothing can
    be written numba caches nothing, and nothing is done.

    Args:
        package: folder of the package whose cache is guarded.
        used: folders of the packages whose jitted functions or constants it compiles in.

    Returns:
        Whether anything had changed.
    """
    digest = hashlib.sha256()
    for folder in (package, *used):
        for path in sorted(folder.rglob("*.py")):
            status = path.stat()
            digest.update(f"{path.name} {status.st_size} {status.st_mtime_ns}\n".encode())
    top = cache_folder(package)
    if top is None:
        return False
    stamp = top / STAMP
    with contextlib.suppress(OSError):
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
