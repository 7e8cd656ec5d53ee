"""Fresh arrays without fresh pages: memory of earlier results is taken again once nothing refers to it.

Large arrays come from the system page by page, each zeroed on first touch, and go back to it when they are dropped;
for the windows of a thousand rows that costs more than writing them. Here the memory stays: an array is given out over
memory that no array, view, tensor or buffer refers to any more, by the interpreter's own count. Whoever keeps a result
keeps its memory, and the next result has another.
"""

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

KEPT = 2  #: memories kept of each array: that of the result whose caller has not let go of it, and the next
ALIGNMENT = 64  #: bytes: whole cache lines
#: Where references are counted at once and for all threads, as CPython does under its GIL.
COUNTS = sys.implementation.name == "cpython" and getattr(sys, "_is_gil_enabled", lambda: True)()
_UNUSED = 3  #: references to memory that nobody uses: the list's, a variable's, and the one that is counted with


class RecycledMemory:
    """Memory for arrays that are made again and again, by name. A copy of it, or a pickle, begins with none."""

    def __init__(self) -> None:
        self._memories: dict[str, list[NDArray[np.uint8]]] = {}

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return RecycledMemory, ()

    def array(self, name: str, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """An array of any shape `(N, ...)`, its content undefined, that shares no memory with any still in use."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        kept = self._memories.setdefault(name, [])
        for memory in kept if COUNTS else ():
            if sys.getrefcount(memory) == _UNUSED and memory.size == size + ALIGNMENT:
                break
        else:
            memory = np.empty(size + ALIGNMENT, dtype=np.uint8)
            kept.append(memory)
            del kept[:-KEPT]
        return np.ndarray(shape, dtype, buffer=memory, offset=-memory.ctypes.data % ALIGNMENT)
