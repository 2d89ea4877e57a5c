"""Kernels to machine code, by numba. Imported only when something must be compiled.

In: a kernel and the kind of its arguments. Out: what `kernels` keeps on disk and loads.

Theory. The entry takes the address of one block of 64-bit words, in which arrays stand as address and
shape, named tuples as their parts and integers as themselves. So the code needs nothing of Python or
of numba when it runs. numba binds the kernels that a kernel calls
when it compiles the caller, so the kernel is compiled from its own code object over a copy of its
globals in which every kernel is replaced by a numba function made the same way.

Never: runs what it compiles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any, cast

import numba
import numpy as np
from numba.core import compiler
from numba.core import types as _types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

from analyzer.image import image_of
from analyzer.kernels import NO_RESULT, ONE_RESULT, ONE_TRUTH, Spec, Stored, is_kernel, pack

types: Any = _types  # numba's stubs know but a part of it

_FUNCTIONS: dict[int, Any] = {}


def build(function: Callable[..., Any], spec: Spec) -> bytes:
    """Compile a kernel for arguments of a kind, and pack what came out.

    One at a time: stages in several threads ask for their kernels at once, and numba's typing is not made
    for that.
    """
    with global_compiler_lock:
        return _build(function, spec)


def _build(function: Callable[..., Any], spec: Spec) -> bytes:
    adapter = _adapter(_numba_function(cast(FunctionType, function)), spec)
    flags = compiler.Flags()
    flags.boundscheck = True
    flags.nrt = False
    flags.no_cpython_wrapper = True
    flags.no_cfunc_wrapper = True
    block = types.CPointer(types.int64)
    with _whole_only(adapter.__qualname__):
        result = compiler.compile_extra(
            cpu_target.typing_context, cpu_target.target_context, adapter, (block,), None, flags, {}
        )
    machine_code = bytes(result.library._get_compiled_object())  # what numba's own cache stores
    symbol, results = result.fndesc.llvm_func_name, _results(function, result.signature.return_type)
    image = image_of(machine_code, symbol)
    if image is None:
        return pack(Stored(results, symbol, [], machine_code))
    return pack(Stored(results, image.entry, image.addresses, image.code))


@contextmanager
def _whole_only(name: str) -> Iterator[None]:
    """Make machine code of the library `name` only.

    numba makes optimised code of every function by itself before it links them into their caller. What
    is called from here only needs none: without this, compiling took three times as long.
    """
    steps = ("_optimize_final_module", "_finalize_specific")
    saved = {step: getattr(JITCodeLibrary, step) for step in steps}

    def only(step: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda library: step(library) if library.name == name else None

    try:
        for step, done in saved.items():
            setattr(JITCodeLibrary, step, only(done))
        yield
    finally:
        for step, done in saved.items():
            setattr(JITCodeLibrary, step, done)


def _results(function: Callable[..., Any], kind: Any) -> int:
    """How many words a result is: a tuple of k is k, one integer 0, none -1, a truth -2."""
    if isinstance(kind, types.NoneType):
        return NO_RESULT
    if isinstance(kind, types.Boolean):
        return ONE_TRUTH
    parts = list(kind) if isinstance(kind, types.BaseTuple) else [kind]
    if not all(isinstance(part, types.Integer) and part.bitwidth == 64 for part in parts):
        raise TypeError(f"{function.__qualname__} returns {kind}, not 64-bit integers")
    return len(parts) if isinstance(kind, types.BaseTuple) else ONE_RESULT


def _numba_function(function: FunctionType) -> Any:
    """A numba function of a kernel, over numba functions of the kernels it calls."""
    made = _FUNCTIONS.get(id(function))
    if made is None:
        scope = dict(function.__globals__)
        for name in function.__code__.co_names:
            if is_kernel(scope.get(name)):
                scope[name] = _numba_function(scope[name])
        copy = FunctionType(
            function.__code__, scope, function.__name__, function.__defaults__, function.__closure__
        )
        copy.__qualname__ = function.__qualname__
        copy.__module__ = function.__module__
        made = _FUNCTIONS[id(function)] = numba.njit(
            boundscheck=True, _nrt=False, forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True
        )(copy)
    return made


def _adapter(target: Any, spec: Spec) -> Callable[..., Any]:
    """A function of a block that calls `target` with what stands in it."""
    scope: dict[str, Any] = {"target": target}
    at = 0

    def expression(kind: Any) -> str:
        nonlocal at
        if kind == "int":
            at += 1
            return f"block[{at - 1}]"
        if isinstance(kind[0], type):
            scope[kind[0].__name__] = kind[0]
            return f"{kind[0].__name__}({', '.join(expression(part) for part in kind[1:])})"
        char, dimensions, layout = kind
        name = f"view_{char}{dimensions}{layout}"
        scope[name] = _array(char, dimensions, layout)
        words = [f"block[{at + i}]" for i in range(1 + 2 * dimensions)]
        shape, strides = words[1 : 1 + dimensions], words[1 + dimensions :]
        at += len(words)
        return f"{name}({words[0]}, ({', '.join(shape)},), ({', '.join(strides)},))"

    arguments = ", ".join(expression(kind) for kind in spec)
    exec(f"def adapter(block):\n    return target({arguments})\n", scope)  # noqa: S102
    return cast(Callable[..., Any], scope["adapter"])


def _array(char: str, dimensions: int, layout: str) -> Any:
    """A numba function from address, shape and strides to an array over that memory."""
    element = numba.from_dtype(np.dtype(char))
    # An array that is not in C order may be a window of words at every byte: nothing is aligned.
    made = types.Array(element, dimensions, layout, aligned=layout == "C")
    extent = types.UniTuple(types.int64, dimensions)

    @intrinsic  # type: ignore[untyped-decorator]
    def view(_context: Any, _address: Any, _shape: Any, _strides: Any) -> Any:
        def code(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            address, shape, strides = arguments
            array = context.make_array(made)(context, builder)
            populate_array(
                array,
                data=builder.inttoptr(address, context.get_data_type(element).as_pointer()),
                shape=shape,
                strides=strides,
                itemsize=context.get_constant(types.intp, np.dtype(char).itemsize),
                meminfo=None,
            )
            return array._getvalue()

        return made(types.int64, extent, extent), code

    return view
