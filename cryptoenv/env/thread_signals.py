"""What threads in jitted code need of each other: atomic integers and locks that take no GIL.

The locks are Python's own (`PyThread_*`, exported on every system): a thread that waits at one sleeps in the kernel.
Their functions are called by address, so that compiled code can be cached.
"""

import ctypes
import platform
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_NUMBER = ir.IntType(64)
_ORDER = "seq_cst"
_X86 = platform.machine().lower() in ("x86_64", "amd64")

#: Addresses of `PyThread_acquire_lock` and `PyThread_release_lock`.
ACQUIRE, RELEASE = (
    int(ctypes.cast(function, ctypes.c_void_p).value or 0)
    for function in (ctypes.pythonapi.PyThread_acquire_lock, ctypes.pythonapi.PyThread_release_lock)
)


def held_lock() -> int:
    """The address of a new lock that is held: who acquires it waits until it is released. It is never freed."""
    allocate, acquire = ctypes.pythonapi.PyThread_allocate_lock, ctypes.pythonapi.PyThread_acquire_lock
    allocate.restype, acquire.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_int]
    lock = int(allocate() or 0)
    if not lock or not acquire(lock, 1):
        raise MemoryError("no memory for a lock")
    return lock


def _intrinsic(function: Any) -> Any:
    """An `intrinsic` by its callers' arguments: numba passes the typing context."""
    return intrinsic(function)


def _atomic(operation: str) -> Any:
    @intrinsic
    def atomic(typing_context: Any, address: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            pointer = builder.inttoptr(arguments[0], _NUMBER.as_pointer())
            return builder.atomic_rmw(operation, pointer, arguments[1], _ORDER)

        return types.int64(types.int64, types.int64), generate

    return atomic


#: `atomic_add(address, value)`: adds to the int64 at an address; what was there before.
atomic_add = _atomic("add")
#: `atomic_swap(address, value)`: replaces the int64 at an address; what was there before.
atomic_swap = _atomic("xchg")


@_intrinsic
def atomic_read(typing_context: Any, address: Any) -> Any:
    """The int64 at an address, as other threads left it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], _NUMBER.as_pointer())
        return builder.load_atomic(pointer, _ORDER, 8)

    return types.int64(types.int64), generate


@_intrinsic
def pause(typing_context: Any) -> Any:
    """Wait for some nanoseconds, and let the core's other hardware thread work meanwhile."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if _X86:
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(builder.module.declare_intrinsic("llvm.x86.sse2.pause", (), kind), [])
        return context.get_dummy_value()

    return types.void(), generate


@_intrinsic
def acquire_lock(typing_context: Any, function: Any, lock: Any) -> Any:
    """Wait for the lock at an address; `function` is `ACQUIRE`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(number, [place, number])
        call = builder.inttoptr(arguments[0], kind.as_pointer())
        builder.call(call, [builder.inttoptr(arguments[1], place), number(1)])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@_intrinsic
def release_lock(typing_context: Any, function: Any, lock: Any) -> Any:
    """Let whoever waits for the lock at an address go on; `function` is `RELEASE`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = ir.IntType(8).as_pointer()
        call = builder.inttoptr(arguments[0], ir.FunctionType(ir.VoidType(), [place]).as_pointer())
        builder.call(call, [builder.inttoptr(arguments[1], place)])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@_intrinsic
def call_with(typing_context: Any, function: Any, first: Any, second: Any, third: Any) -> Any:
    """Call the C function at an address with three int64; it returns nothing."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [_NUMBER] * 3)
        builder.call(builder.inttoptr(arguments[0], kind.as_pointer()), arguments[1:])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.int64), generate
