"""Kernels: one source, run as plain Python or as machine code.

In: a function marked `@kernel`. Out: the same function, or its compiled twin.

Theory. A kernel is written once, in the part of Python that numba understands: loops over NumPy
arrays, named tuples of arrays, integers. Called directly it is plain Python, which is right for a
small capture. `compiled(f)` gives its twin in machine code, which is right for everything else; the
choice is made per engine, so both may live in one process.

numba compiles a twin once (see `native`) and its machine code is kept on disk. After that neither numba
nor LLVM is even loaded: the code is put into memory, its addresses are made those of that place (see
`image`; where that is not enough LLVM links it), and it is called through ctypes. A process that imports
numba and lets it load its own cache spends 0.75 s before the first packet, this way 0.01 s.
numba's cache also does not notice an edit of a kernel in another file; here the directory is keyed
by a hash of all kernel sources, of the compiler's version and of the processor.

Rules for kernels, each learnt the hard way:
- every load from an array is `int(a[i])`: in plain Python `b[0] << 24` on a uint8 array is 0 under
  NumPy 2, in numba it is right; from unsigned bytes `int(a[i]) & 0xFF`, for in numba the former is
  unsigned and turns what it meets into a float;
- arithmetic is signed 64-bit; what may wrap is masked to 32 bits in the same expression
  (`(h * K) & 0xFFFFFFFF` is the same number in both modes);
- arguments are arrays, named tuples of arrays, and integers; results are None, an integer, a
  truth or a tuple of integers;
- a kernel calls other kernels by bare name, never through a module;
- no exceptions, no strings, no Python objects.

Never: reads a capture.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import re
import sys
from array import array
from ast import literal_eval
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.util import source_hash
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np

from analyzer.errors import AnalyzerError

F = TypeVar("F", bound=Callable[..., Any])

_KERNELS: set[int] = set()
_COMPILED: dict[int, Any] = {}

MOST_RESULTS = 8
FINE = (0, -2)  # numba's return codes for a value and for None
ONE_TRUTH, NO_RESULT, ONE_RESULT = -2, -1, 0  # what a result is; k > 0 is a tuple of k
TABLES_REMEMBERED = 64
DATA = object.__basicsize__  # where an array says where its data are (`PyArrayObject_fields` of NumPy)
HASH = 8  # bytes of `source_hash`

Spec = tuple[Any, ...]
Entry = Callable[["array[int]"], Any]


def kernel(function: F) -> F:
    """Mark `function` as a kernel and return it unchanged."""
    _KERNELS.add(id(function))
    return function


def is_kernel(function: object) -> bool:
    """Whether `function` was marked as a kernel."""
    return id(function) in _KERNELS


def compiled(function: F) -> F:
    """The twin of a kernel in machine code: bounds checked, without the GIL."""
    twin = _COMPILED.get(id(function))
    if twin is None:
        if not is_kernel(function):
            raise TypeError(f"{getattr(function, '__qualname__', function)} is not a kernel")
        twin = _COMPILED[id(function)] = Twin(function)
    return cast(F, twin)


class Twin:
    """A kernel in machine code. Compiled, or loaded, when first called with arguments of a kind."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self._entries: dict[Spec, Entry] = {}
        self._tables: dict[int, tuple[Any, list[int], Spec]] = {}

    def __call__(self, *arguments: Any) -> Any:
        words: list[int] = []
        spec = tuple([self._flatten(argument, words) for argument in arguments])
        entry = self._entries.get(spec)
        if entry is None:
            entry = self._entries[spec] = load(self.function, spec)
        return entry(array("q", words))

    def forget(self) -> None:
        """Hold no table any more."""
        self._tables.clear()

    def _flatten(self, argument: Any, words: list[int]) -> Any:
        """Append the words of an argument; return what kind it is."""
        if isinstance(argument, np.ndarray):
            words.append(address(argument))
            words.extend(argument.shape)
            words.extend(argument.strides)
            return argument.dtype.char, argument.ndim, "C" if argument.flags.c_contiguous else "A"
        if isinstance(argument, tuple):
            # Tables live for the whole run: their words are worked out once.
            known = self._tables.get(id(argument))
            if known is None:
                own: list[int] = []
                spec = (type(argument), *[self._flatten(part, own) for part in argument])
                if len(self._tables) >= TABLES_REMEMBERED:
                    self._tables.clear()
                known = self._tables[id(argument)] = (argument, own, spec)
            words.extend(known[1])
            return known[2]
        words.append(int(argument))
        return "int"


def address(array: np.ndarray[Any, Any]) -> int:
    """Where the data of an array are. Its attribute `ctypes` says so too, in ten times the time, and a run
    hands over 15,000 arrays."""
    return ctypes.c_int64.from_address(id(array) + DATA).value


def forget_tables() -> None:
    """Hold no argument of any kernel any more: a run is over."""
    for twin in list(_COMPILED.values()):
        twin.forget()


def load(function: Callable[..., Any], spec: Spec) -> Entry:
    """Machine code for a kernel and a kind of arguments: from disk, else compiled and put there."""
    directory = cache_directory()
    code = function.__code__
    key = _digest(f"{_text(spec)} {code.co_code.hex()} {code.co_consts}")
    name = f"{function.__module__}.{function.__qualname__}-{key}.o"
    if directory is not None:
        with suppress(OSError, ValueError, RuntimeError):  # not there, or damaged: made anew
            return _link(_checked((directory / name).read_bytes()))
    from analyzer import native  # numba: only where something must be compiled

    image = native.build(function, spec)
    if directory is not None:
        _store(directory / name, image)
    return _link(image)


class Stored(NamedTuple):
    """A kernel on disk."""

    results: int  # what it returns: `NO_RESULT` and so on
    entry: int | str  # where it begins: an offset in an image, or the name of it in an object file
    addresses: list[int]  # see `image.Image`
    code: bytes


def pack(stored: Stored) -> bytes:
    """A line of text, then the addresses and the code."""
    results, entry, addresses, code = stored
    head = repr((results, entry, len(addresses)))
    return head.encode() + b"\0" + array("q", addresses).tobytes() + code


def unpack(data: bytes) -> Stored:
    """The opposite of `pack`."""
    head, _, rest = data.partition(b"\0")
    results, entry, count = literal_eval(head.decode())
    size = count * array("q").itemsize
    return Stored(results, entry, array("q", rest[:size]).tolist(), rest[size:])


_LOADED: list[Any] = []  # keep the code in memory


def _placed(code: bytes, entry: int, addresses: list[int]) -> int:
    """Put an image into memory; the address of its entry."""
    memory = mmap.mmap(-1, len(code))
    memory.write(code)
    window = np.frombuffer(memory, np.uint8)
    base = window.ctypes.data
    words = np.ndarray(len(code) - 7, np.int64, window.data, strides=(1,))  # one begins at every byte
    words[addresses] += base
    if ctypes.CDLL(None, use_errno=True).mprotect(
        ctypes.c_void_p(base), ctypes.c_size_t(len(code)), mmap.PROT_READ | mmap.PROT_EXEC
    ):
        # as SELinux and systemd may: to compile it anew, as where code is damaged, would not help
        raise AnalyzerError(f"compiled code cannot be run here: {os.strerror(ctypes.get_errno())}")
    _LOADED.append(window)
    return base + entry


def _linked(machine_code: bytes, symbol: str) -> int:
    """Have an object file put into memory by LLVM; the address of its entry."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(codemodel="jitdefault", jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(machine_code))
    engine.finalize_object()
    _LOADED.append(engine)
    return int(engine.get_function_address(symbol))


def _link(data: bytes) -> Entry:
    """Load what `native.build` made and return its entry as a function of words."""
    kind, start, addresses, code = unpack(data)
    address = _linked(code, start) if isinstance(start, str) else _placed(code, start, addresses)
    call = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)(address)
    trouble = (ctypes.c_void_p * 8)()

    def entry(block: array[int]) -> Any:
        result = (ctypes.c_int64 * MOST_RESULTS)()
        status = call(ctypes.addressof(result), ctypes.addressof(trouble), block.buffer_info()[0])
        if status not in FINE:
            raise RuntimeError("a kernel reached outside an array")
        if kind == NO_RESULT:
            return None
        if kind == ONE_TRUTH:
            return bool(result[0] & 1)
        return result[0] if kind == ONE_RESULT else tuple(result[:kind])

    return entry


def _checked(stored: bytes) -> bytes:
    """Code from disk, if it is what was put there: damaged code would crash."""
    digest, code = stored[:HASH], stored[HASH:]
    if source_hash(code) != digest:
        raise ValueError("damaged code")
    return code


def _store(path: Path, code: bytes) -> None:
    """Put code on disk, with its hash, whole or not at all."""
    import tempfile

    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(source_hash(code) + code)
        Path(file.name).replace(path)
    except OSError:
        return


def _text(spec: Any) -> str:
    if isinstance(spec, tuple):
        return "(" + ",".join(_text(part) for part in spec) + ")"
    return spec.__qualname__ if isinstance(spec, type) else str(spec)


def _digest(text: str) -> str:
    return source_hash(text.encode()).hex()


def source_key() -> str:
    """A hash of all that the machine code depends on: kernel sources, compiler, processor."""
    import llvmlite

    # A release of numba goes with one release of llvmlite, which is quick to ask.
    parts = [f"{sys.version} {llvmlite.__version__} {np.__version__}".encode(), _processor()]
    root = Path(__file__).parent
    for path in sorted(root.rglob("*.py")):
        text = path.read_bytes()
        name = path.relative_to(root).as_posix()
        if b"@kernel" in text or name in SHAPES:
            parts += [name.encode(), text]
    return source_hash(b"\0".join(parts)).hex()


SHAPES = ("tables.py", "native.py", "image.py")  # what the code is made of beside the kernels
CPU_INFO = Path("/proc/cpuinfo")
IDENTITY = re.compile(rb"(vendor_id|cpu family|model|flags|CPU |Features|isa|uarch)[^:]*:.*")
"""Lines that say what a processor is and can do (its clock, which is there as well, changes)."""


def _processor() -> bytes:
    """What code is made for."""
    try:
        with CPU_INFO.open("rb") as file:
            said = file.read(1 << 14).partition(b"\n\n")[0]  # of the first one
    except OSError:  # another system
        said = b""
    known = [line for line in said.split(b"\n") if IDENTITY.match(line)]
    if known:
        return b"\n".join(known)
    import llvmlite.binding as llvm

    return f"{llvm.get_host_cpu_name()} {llvm.get_host_cpu_features().flatten()}".encode()


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
    name = f"kernels-{source_key()}"
    for parent in _cache_parents():
        try:
            (parent / name).mkdir(parents=True, exist_ok=True, mode=0o700)
            # Code is loaded from here: the directory must be ours and nobody else's to write.
            status = (parent / name).stat()
            if status.st_uid == os.getuid() and not status.st_mode & 0o022:
                return parent / name
        except OSError:
            continue
    return None


def _cache_parents() -> Iterator[Path]:
    base = os.environ.get("LOCKSCOPE_CACHE") or os.environ.get("XDG_CACHE_HOME")
    with suppress(RuntimeError):  # a user without a home
        yield (Path(base) if base else Path.home() / ".cache") / "lockscope"
    import tempfile

    yield Path(tempfile.gettempdir()) / f"lockscope-{os.getuid()}"


def is_warm() -> bool:
    """Whether compiled kernels of this very source are on disk already."""
    directory = cache_directory()
    return directory is not None and any(directory.glob("*.o"))
