"""Kernels: one source, run as plain Python or compiled by numba.

In: a function marked `@kernel`. Out: the same function, or its compiled twin.

Theory. A kernel is written once, in the part of Python that numba understands:
loops over NumPy arrays, named tuples of arrays, integers. Called directly it is
plain Python, which is right for a small capture: importing numba and loading
compiled code costs more than the work. `compiled(f)` gives the numba version, which
is right for everything else. The choice is made per engine, so both may live in one
process. numba binds the kernels that a kernel calls when it compiles the caller, so
the compiled twin is built from the same code object over a copy of its globals in
which every kernel is replaced by its own compiled twin.

Rules for kernels, each learnt the hard way:
- every load from an array is `int(a[i])`: in plain Python `b[0] << 24` on a uint8 array
  is 0 under NumPy 2, in numba it is right;
- arithmetic is signed 64-bit; what may wrap is masked to 32 bits in the same expression
  (`(h * K) & 0xFFFFFFFF` is the same number in both modes);
- a kernel calls other kernels by bare name, never through a module;
- no exceptions, no strings, no Python objects.

Never: reads a capture.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])

_KERNELS: dict[int, Any] = {}
_COMPILED: dict[int, Any] = {}


def kernel(function: F) -> F:
    """Mark `function` as a kernel and return it unchanged."""
    _KERNELS[id(function)] = function
    return function


def compiled(function: F) -> F:
    """The numba twin of a kernel: bounds-checked, cached on disk, releasing the GIL."""
    key = id(function)
    if key not in _COMPILED:
        if key not in _KERNELS:
            raise TypeError(f"{function.__qualname__} is not a kernel")
        _COMPILED[key] = _compile(cast(FunctionType, function))
    return cast(F, _COMPILED[key])


def _compile(function: FunctionType) -> Any:
    numba = _numba()
    scope = dict(function.__globals__)
    for name in function.__code__.co_names:
        if id(scope.get(name)) in _KERNELS:
            scope[name] = compiled(scope[name])
    twin = FunctionType(
        function.__code__, scope, function.__name__, function.__defaults__, function.__closure__
    )
    twin.__qualname__ = function.__qualname__
    twin.__module__ = function.__module__
    twin.__doc__ = function.__doc__
    return numba.njit(
        boundscheck=True, cache=cache_directory() is not None, nogil=True, _nrt=False
    )(twin)


def _numba() -> Any:
    import numba

    directory = cache_directory()
    if directory is not None:
        numba.config.CACHE_DIR = str(directory)
    return numba


def source_key() -> str:
    """A hash of every source file of the package that can hold a kernel.

    numba's cache notices an edit of the file that holds a kernel, not of a file that
    holds a kernel it calls; a directory per key closes that hole.
    """
    digest = hashlib.sha256(sys.version.encode())
    root = Path(__file__).parent
    for path in sorted(root.rglob("*.py")):
        text = path.read_bytes()
        if b"@kernel" in text:
            digest.update(str(path.relative_to(root)).encode() + b"\0" + text)
    return digest.hexdigest()[:16]


_directory: Path | None | bool = False


def cache_directory() -> Path | None:
    """Where compiled kernels are kept, or None where no directory can be written.

    `LOCKSCOPE_CACHE` names the parent; else the user's cache directory.
    """
    global _directory
    if isinstance(_directory, bool):
        _directory = _find_cache_directory()
    return _directory


def _find_cache_directory() -> Path | None:
    base = os.environ.get("LOCKSCOPE_CACHE") or os.environ.get("XDG_CACHE_HOME")
    home = Path(base) if base else Path.home() / ".cache"
    name = f"kernels-{source_key()}"
    for parent in (home / "lockscope", Path(tempfile.gettempdir()) / f"lockscope-{os.getuid()}"):
        try:
            (parent / name).mkdir(parents=True, exist_ok=True, mode=0o700)
            if parent.stat().st_uid == os.getuid() and os.access(parent / name, os.W_OK):
                return parent / name
        except OSError:
            continue
    return None


def is_warm() -> bool:
    """Whether compiled kernels of this very source are on disk already."""
    directory = cache_directory()
    return directory is not None and any(directory.rglob("*.nbi"))
