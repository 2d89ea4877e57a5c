"""Kernels: one source and two modes, and a cache that notices every edit."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from array import array
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from analyzer import image as image_module
from analyzer import kernels
from analyzer.errors import AnalyzerError
from analyzer.image import image_of
from analyzer.kernels import compiled, kernel

PACKAGE = Path(kernels.__file__).parent


@kernel
def double(a: Any) -> Any:
    return 2 * a


@kernel
def total(values: Any) -> Any:
    out = 0
    for i in range(len(values)):
        out += double(int(values[i]))
    return out


@kernel
def element(values: Any, at: Any) -> Any:
    return int(values[at])


def test_a_kernel_is_a_plain_function_and_has_a_compiled_twin() -> None:
    values = np.arange(5)
    assert total(values) == 20
    twin = compiled(total)
    assert twin is not total
    assert twin is compiled(total)
    assert twin(values) == 20
    assert total.__globals__["double"] is double, "the plain function still calls the plain one"


@kernel
def several(table: Any, window: Any) -> Any:
    table.wide[1, 2] = 7
    table.wide[2, 0] = table.narrow[0]
    table.wide[2, 1] = window[1]
    return int(table.wide[2, 0]), int(table.wide[2, 1]), len(table.wide)


@kernel
def nothing(values: Any) -> None:
    values[0] = 9


class Table(NamedTuple):
    narrow: Any
    wide: Any


def test_stages_in_threads_compile_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """numba's typing is one for the process, and breaks where two threads ask at once."""
    from analyzer import native

    inside: list[str] = []

    def slow(*_: Any) -> bytes:
        inside.append("in")
        time.sleep(0.02)
        inside.append("out")
        return b"code"

    monkeypatch.setattr(native, "_build", slow)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: native.build(double, ("int",)), range(4))) == [b"code"] * 4
    assert inside == ["in", "out"] * 4


def test_where_the_data_of_an_array_are() -> None:
    matrix = np.arange(12).reshape(3, 4)
    fixed = np.arange(3)
    fixed.flags.writeable = False
    for given in (matrix, matrix[1:, ::2], matrix.T, fixed, np.zeros(0), np.frombuffer(b"abc", np.uint8)):
        assert kernels.address(given) == given.ctypes.data


def test_tables_windows_and_results_pass_both_ways() -> None:
    raw = np.arange(16, dtype=np.uint8)
    window = np.ndarray(13, np.dtype("<u4"), raw.data, strides=(1,))  # a word at every byte
    for run in (several, compiled(several)):
        table = Table(np.array([-5], np.int16), np.zeros((3, 4), np.int64))
        assert run(table, window) == (-5, 0x04030201, 3)
        assert table.wide[1, 2] == 7
    values = np.zeros(1, np.int64)
    assert compiled(nothing)(values) is None
    assert values[0] == 9


@kernel
def truth(values: Any) -> Any:
    return int(values[0]) > 0


@kernel
def narrow(values: Any) -> Any:
    return values[0], 1


@kernel
def chosen(values: Any, at: Any) -> Any:
    """Enough cases for a jump table, and constants for a vector."""
    if at == 0:
        return int(values[0])
    if at == 1:
        return 17 * int(values[1])
    if at == 2:
        return int(values[2]) - int(values[0])
    if at == 3:
        return int(values[1]) // 3
    if at == 4:
        return -int(values[2])
    for i in range(len(values)):
        values[i] = (int(values[i]) * 3) ^ i
    return int(values.sum())


CASES = [chosen(np.array([5, 7, 11]), at) for at in range(6)]


def machine_code(monkeypatch: pytest.MonkeyPatch, function: Any, spec: kernels.Spec) -> tuple[bytes, str]:
    """What numba makes of a kernel before it is laid out, and the name of its entry."""
    from analyzer import native

    monkeypatch.setattr(native, "image_of", lambda *_: None)
    stored = kernels.unpack(native.build(function, spec))
    assert isinstance(stored.entry, str)
    return stored.code, stored.entry


SPEC: kernels.Spec = (("l", 1, "C"), "int")


def run_packed(data: bytes) -> list[int]:
    entry = kernels._link(data)
    found = []
    for at in range(6):
        values = np.array([5, 7, 11])
        found.append(entry(array("q", [values.ctypes.data, 3, 8, at])))
    return found


def test_llvm_links_what_is_not_laid_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on processors and systems whose object files nobody here takes apart."""
    code, symbol = machine_code(monkeypatch, chosen, SPEC)
    assert run_packed(kernels.pack(kernels.Stored(0, symbol, [], code))) == CASES


def test_what_is_laid_out_runs_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """On x86-64; the kernels of other processors are for LLVM to link."""
    code, symbol = machine_code(monkeypatch, chosen, SPEC)
    image = image_of(code, symbol)
    assert (image is not None) == (platform.machine() == "x86_64")
    if image is not None:
        assert image.addresses, "a kernel without an address inside shows nothing"
        for _ in range(3):
            stored = kernels.Stored(0, image.entry, image.addresses, image.code)
            assert run_packed(kernels.pack(stored)) == CASES


def test_nothing_is_laid_out_that_is_not_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    code, symbol = machine_code(monkeypatch, chosen, SPEC)
    assert image_of(b"not an object file", symbol) is None
    assert image_of(code, "another symbol") is None
    other = bytearray(code)
    other[18:20] = (183).to_bytes(2, "little")  # e_machine: EM_AARCH64
    assert image_of(bytes(other), symbol) is None
    monkeypatch.setattr(image_module, "ABSOLUTE", 2)  # R_X86_64_PC32
    assert image_of(code, symbol) is None


def test_a_system_that_runs_no_such_code_is_told_of_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmap.PROT_EXEC", 1 << 20)
    with pytest.raises(AnalyzerError, match="compiled code cannot be run here: Invalid argument"):
        kernels._placed(bytes(64), 0, [])


def test_what_cannot_be_run_here_is_not_compiled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from analyzer import native

    def refuse(_data: bytes) -> Any:
        raise AnalyzerError("compiled code cannot be run here: no")

    kernels.load(chosen, SPEC)
    monkeypatch.setattr(kernels, "_link", refuse)
    monkeypatch.setattr(native, "build", lambda *_: pytest.fail("compiled again"))
    with pytest.raises(AnalyzerError, match="compiled code cannot be run here: no"):
        kernels.load(chosen, SPEC)


def test_what_is_packed_is_unpacked() -> None:
    for stored in (
        kernels.Stored(-1, 12, [8, 2**40], b"\0code\0"),
        kernels.Stored(3, "a symbol's name", [], b""),
    ):
        assert kernels.unpack(kernels.pack(stored)) == stored


def test_a_truth_is_a_truth_in_both_modes() -> None:
    for at, expected in ((0, False), (1, True)):
        assert truth(np.arange(3)[at:]) is expected
        assert compiled(truth)(np.arange(3)[at:]) is expected


def test_a_result_of_another_size_is_refused_when_compiled() -> None:
    with pytest.raises(TypeError, match="not 64-bit integers"):
        compiled(narrow)(np.zeros(1, np.int16))


def test_what_is_no_kernel_is_refused() -> None:
    with pytest.raises(TypeError, match="is not a kernel"):
        compiled(test_what_is_no_kernel_is_refused)


def test_bounds_are_checked() -> None:
    assert compiled(element)(np.arange(3), 2) == 2
    with pytest.raises(RuntimeError, match="outside an array"):
        compiled(element)(np.arange(3), 3)


def test_plain_kernels_do_not_import_numba() -> None:
    script = (
        "import sys, numpy as np\n"
        "from analyzer.index import new_slots, put\n"
        "put(new_slots(4), np.zeros(4, np.int64), np.zeros(4, np.int64), 0)\n"
        "import analyzer.frames.dissector, analyzer.capture.find\n"
        "print('numba' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


CALL = """
import sys
import numpy as np
from analyzer.frames.words import be16
from analyzer.frames.transport import read_udp
from analyzer.kernels import cache_directory, compiled
memory = np.arange(100, dtype=np.uint8)
twin = compiled(read_udp)
print(*twin(memory, 10, 100, 8, 0), int("numba" in sys.modules), cache_directory().name)
"""


def call(root: Path) -> list[str]:
    """The result of a compiled kernel, whether it had to be compiled, and the cache's name."""
    environment = {**os.environ, "LOCKSCOPE_CACHE": str(root / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [sys.executable, "-c", CALL], cwd=root, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_the_cache_notices_an_edit_of_a_kernel_in_another_module(tmp_path: Path) -> None:
    """`read_udp` of one module calls `be16` of another: numba alone would not notice."""
    shutil.copytree(PACKAGE, tmp_path / "analyzer", ignore=shutil.ignore_patterns("__pycache__"))
    first, second = call(tmp_path), call(tmp_path)
    assert first[1:3] == [str(10 * 256 + 11), str(12 * 256 + 13)]
    assert first[4:] != second[4:]
    assert (first[4], second[4]) == ("1", "0"), "the second run takes it from the cache, without numba"
    words = tmp_path / "analyzer" / "frames" / "words.py"
    text = words.read_text()
    assert "(byte(memory, at) << 8)" in text
    words.write_text(text.replace("(byte(memory, at) << 8)", "(byte(memory, at) << 9)"))
    third = call(tmp_path)
    assert third[1:3] == [str(10 * 512 | 11), str(12 * 512 | 13)]
    assert third[4] == "1"
    assert third[5] != second[5]


def test_a_damaged_cache_is_made_anew(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "analyzer", ignore=shutil.ignore_patterns("__pycache__"))
    first = call(tmp_path)
    for code in (tmp_path / "cache").rglob("*.o"):
        code.write_bytes(code.read_bytes()[:200])
    assert call(tmp_path)[:4] == first[:4]
    assert call(tmp_path)[4] == "0"


def key_with(monkeypatch: pytest.MonkeyPatch, root: Path) -> str:
    monkeypatch.setattr(kernels, "__file__", str(root / "kernels.py"))
    return kernels.source_key()


def test_the_key_covers_sources_with_kernels_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.py").write_text("@kernel\ndef f(): ...\n")
    (tmp_path / "b.py").write_text("text = 1\n")
    before = key_with(monkeypatch, tmp_path)
    (tmp_path / "b.py").write_text("text = 2\n")
    assert key_with(monkeypatch, tmp_path) == before
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.py").rename(tmp_path / "deep" / "a.py")
    moved = key_with(monkeypatch, tmp_path)
    (tmp_path / "deep" / "a.py").write_text("@kernel\ndef g(): ...\n")
    assert len({before, moved, key_with(monkeypatch, tmp_path)}) == 3


def test_the_key_is_of_the_processor_and_not_its_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = []
    info = tmp_path / "cpuinfo"
    monkeypatch.setattr(kernels, "CPU_INFO", info)
    for flags, clock in (("sse4_2", "2000.1"), ("sse4_2", "2900.7"), ("sse4_2 avx2", "2000.1")):
        info.write_text(f"processor\t: 0\ncpu MHz\t\t: {clock}\nflags\t\t: {flags}\n\nprocessor\t: 1\n")
        keys.append(kernels.source_key())
    assert keys[0] == keys[1] != keys[2]
    info.unlink()
    asked = kernels.source_key()  # LLVM knows
    assert asked not in keys
    assert asked == kernels.source_key()


def test_the_cache_goes_where_it_may_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "_directory", False)
    monkeypatch.setenv("LOCKSCOPE_CACHE", str(tmp_path / "mine"))
    directory = kernels.cache_directory()
    assert directory is not None
    assert directory.parent == tmp_path / "mine" / "lockscope"
    assert not kernels.is_warm()
    (directory / "x.o").write_bytes(b"")
    assert kernels.is_warm()


def test_a_user_without_a_home_has_a_cache_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise RuntimeError

    monkeypatch.setattr(kernels, "_directory", False)
    for name in ("LOCKSCOPE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", nowhere)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    directory = kernels.cache_directory()
    assert directory is not None
    assert directory.parent.parent == tmp_path


def test_without_a_place_to_write_there_is_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no directory")
    monkeypatch.setattr(kernels, "_directory", False)
    monkeypatch.setenv("LOCKSCOPE_CACHE", str(blocked))
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(blocked))
    assert kernels.cache_directory() is None
    assert not kernels.is_warm()
