"""Arrays that jitted code sees at an address, without owning them.

numba counts references whenever it slices an array that has an owner; for a row of an account that costs more than the
step's arithmetic. It also spends tens of nanoseconds on every array argument. An address costs neither. Whoever hands
one out keeps the memory alive.
"""

import ctypes
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import config
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array
from numpy.typing import NDArray

LINE = 64  #: bytes of a cache line

if getattr(config, "DISABLE_JIT", 0):  # set while numba's config is loaded

    def _at(address: int, shape: tuple[int, ...], kind: Any) -> NDArray[Any]:
        return np.ctypeslib.as_array(ctypes.cast(int(address), ctypes.POINTER(kind)), shape)

    def float64_at(address: int, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """The C-contiguous float64 array of `shape` at `address`."""
        return _at(address, shape, ctypes.c_double)

    def float64_apart_at(address: int, count: int, apart: int) -> NDArray[np.float64]:
        """The (count,) float64 array at `address` whose cells are `apart` bytes from each other."""
        step = apart // 8
        return np.asarray(_at(address, ((count - 1) * step + 1,), ctypes.c_double)[::step])

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

    def stream_line(to: int, source: int) -> None:
        """Copy the `LINE` bytes at `source` to `to`, a multiple of it, past the caches."""
        ctypes.memmove(int(to), int(source), LINE)

    def stream_end() -> None:
        """Have all that was streamed in memory before anything that follows."""

else:

    def _array_at(dtype: Any) -> Any:
        """An intrinsic: the C-contiguous array of `dtype` that lies at an int64 address, by its shape.

        `numba.carray` does the same by two functions, which would be compiled anew for every kind of shape.
        """

        @intrinsic
        def array_at(typing_context: Any, address: Any, shape: Any) -> Any:
            kind = types.Array(dtype, len(shape), "C")

            def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
                where, sizes = arguments
                word = context.get_value_type(types.intp)
                itemsize = context.get_abi_sizeof(context.get_data_type(dtype))
                axes = [
                    context.cast(builder, builder.extract_value(sizes, axis), signature.args[1][axis], types.intp)
                    for axis in range(len(signature.args[1]))
                ]
                strides = [ir.Constant(word, itemsize)]
                for axis in reversed(axes[1:]):
                    strides.insert(0, builder.mul(strides[0], axis))
                array = make_array(kind)(context, builder)
                pointer = builder.inttoptr(where, array.data.type)
                populate_array(array, pointer, axes, strides, ir.Constant(word, itemsize), meminfo=None)
                return array._getvalue()

            return kind(types.int64, shape), generate

        return array_at

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

    @intrinsic
    def _stream_line(typing_context: Any, to: Any, source: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            line = ir.VectorType(ir.FloatType(), LINE // 4).as_pointer()
            value = builder.load(builder.inttoptr(arguments[1], line), align=4)
            store = builder.store(value, builder.inttoptr(arguments[0], line), align=LINE)
            store.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))
            return context.get_dummy_value()

        return types.void(types.int64, types.int64), generate

    @intrinsic
    def _stream_end(typing_context: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            builder.fence("seq_cst")
            return context.get_dummy_value()

        return types.void(), generate

    stream_line: Any = _stream_line  # type: ignore[no-redef]
    stream_end: Any = _stream_end  # type: ignore[no-redef]

    @njit(cache=True)
    def prefetch(address: int) -> None:
        """Ask for the cache line at `address`, which will be read soon."""
        _prefetch(address)  # type: ignore[call-arg]  # numba passes the typing context

    @intrinsic
    def _float64_apart_at(typing_context: Any, address: Any, count: Any, apart: Any) -> Any:
        kind = types.Array(types.float64, 1, "A")

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            where, size, stride = arguments
            array = make_array(kind)(context, builder)
            itemsize = ir.Constant(context.get_value_type(types.intp), 8)
            pointer = builder.inttoptr(where, array.data.type)
            populate_array(array, pointer, [size], [stride], itemsize, meminfo=None)
            return array._getvalue()

        return kind(types.int64, types.int64, types.int64), generate

    float64_apart_at: Any = _float64_apart_at  # type: ignore[no-redef]
    float64_at = _array_at(types.float64)
    float32_at = _array_at(types.float32)
    int64_at = _array_at(types.int64)
    int8_at = _array_at(types.int8)
    bool_at = _array_at(types.boolean)
