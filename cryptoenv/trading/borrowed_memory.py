"""Arrays that jitted code sees at an address, without owning them.

numba counts references whenever it slices an array that has an owner; for a row of an account that costs more than the
step's arithmetic. It also spends tens of nanoseconds on every array argument. An address costs neither. Whoever hands
one out keeps the memory alive.
"""

import ctypes
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, njit, types
from numba.core import config
from numba.extending import intrinsic
from numpy.typing import NDArray

if getattr(config, "DISABLE_JIT", 0):  # set while numba's config is loaded

    def _at(address: int, shape: tuple[int, ...], kind: Any) -> NDArray[Any]:
        return np.ctypeslib.as_array(ctypes.cast(int(address), ctypes.POINTER(kind)), shape)

    def float64_at(address: int, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """The C-contiguous float64 array of `shape` at `address`."""
        return _at(address, shape, ctypes.c_double)

    def float32_at(address: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """The C-contiguous float32 array of `shape` at `address`."""
        return _at(address, shape, ctypes.c_float)

    def int64_at(address: int, shape: tuple[int, ...]) -> NDArray[np.int64]:
        """The C-contiguous int64 array of `shape` at `address`."""
        return _at(address, shape, ctypes.c_int64)

    def int8_at(address: int, shape: tuple[int, ...]) -> NDArray[np.int8]:
        """The C-contiguous int8 array of `shape` at `address`."""
        return _at(address, shape, ctypes.c_int8)

    def bool_at(address: int, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """The C-contiguous bool array of `shape` at `address`."""
        return _at(address, shape, ctypes.c_bool)

    def prefetch(address: int) -> None:
        """Ask for the cache line at `address`, which will be read soon."""

else:

    def _pointer_to(dtype: Any) -> Any:
        """An intrinsic that takes an int64 address for a pointer to `dtype`."""

        @intrinsic
        def pointer(typing_context: Any, address: Any) -> Any:
            signature = types.CPointer(dtype)(types.int64)

            def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
                return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

            return signature, generate

        return pointer

    @intrinsic
    def _prefetch(typing_context: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            pointer = builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())
            number = ir.IntType(32)
            kind = ir.FunctionType(ir.VoidType(), [pointer.type, number, number, number])
            function = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], kind)
            read, near, data = number(0), number(3), number(1)
            builder.call(function, [pointer, read, near, data])
            return context.get_dummy_value()

        return types.void(types.int64), generate

    @njit(cache=True)
    def prefetch(address: int) -> None:
        """Ask for the cache line at `address`, which will be read soon."""
        _prefetch(address)  # type: ignore[call-arg]  # numba passes the typing context

    _float64_pointer = _pointer_to(types.float64)
    _float32_pointer = _pointer_to(types.float32)
    _int64_pointer = _pointer_to(types.int64)
    _int8_pointer = _pointer_to(types.int8)
    _bool_pointer = _pointer_to(types.boolean)

    @njit(cache=True, error_model="numpy")
    def float64_at(address: int, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """The C-contiguous float64 array of `shape` at `address`."""
        return carray(_float64_pointer(address), shape)

    @njit(cache=True, error_model="numpy")
    def float32_at(address: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """The C-contiguous float32 array of `shape` at `address`."""
        return carray(_float32_pointer(address), shape)

    @njit(cache=True, error_model="numpy")
    def int64_at(address: int, shape: tuple[int, ...]) -> NDArray[np.int64]:
        """The C-contiguous int64 array of `shape` at `address`."""
        return carray(_int64_pointer(address), shape)

    @njit(cache=True, error_model="numpy")
    def int8_at(address: int, shape: tuple[int, ...]) -> NDArray[np.int8]:
        """The C-contiguous int8 array of `shape` at `address`."""
        return carray(_int8_pointer(address), shape)

    @njit(cache=True, error_model="numpy")
    def bool_at(address: int, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """The C-contiguous bool array of `shape` at `address`."""
        return carray(_bool_pointer(address), shape)
