"""Guards numba's cache on disk: no compiled code outlives the sources it was made from.

Numba recompiles a cached function when the function's own file changes, but not when a constant or a jitted function of
another file does. After an update of some files only (`git pull`, say) it would go on with the old ones, silently.
Each package therefore keeps a stamp of all its sources, and drops its cache when they no longer agree.
"""

import contextlib
import hashlib
import os
from pathlib import Path

STAMP = "jit_sources.sha256"


def drop_stale_cache(package: Path, *used: Path) -> bool:
    """Delete the compiled functions of `package` if its sources, or those of `used`, have changed since the last call.

    Call it when a package is imported, before its first jitted call: numba reads its cache only then. Files that cannot
    be written (an installed, read-only package) are left alone: installing gives every file a new age.

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
    stamp = package / "__pycache__" / STAMP
    with contextlib.suppress(OSError):
        if stamp.read_text(encoding="utf-8") == digest.hexdigest():
            return False
    with contextlib.suppress(OSError):
        for compiled in package.rglob("__pycache__/*.nb[ic]"):
            compiled.unlink(missing_ok=True)
        stamp.parent.mkdir(exist_ok=True)
        fresh = stamp.with_name(f"{STAMP}.{os.getpid()}")
        fresh.write_text(digest.hexdigest(), encoding="utf-8")
        os.replace(fresh, stamp)
    return True
