"""Arrow arrays made of their buffers.

In: NumPy columns, or Python values with None. Out: Arrow arrays.

Theory. `pa.array` asks pandas whether its argument is one of its own, and so imports it, which takes longer
than most exports. What is made of buffers asks nobody, and what NumPy holds already is not copied.

Never: imports pandas.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Missing = NDArray[np.bool_] | None


def validity(missing: Missing) -> Any:
    """The bits that say where a value is; None where all are."""
    if missing is None or not missing.any():
        return None
    return pa.py_buffer(np.packbits(~missing, bitorder="little"))


def numbers(values: NDArray[Any], kind: Any, missing: Missing = None) -> Any:
    """An array of numbers, times or bools; `values` must have the width of `kind`."""
    bits = (
        np.packbits(values, bitorder="little") if pa.types.is_boolean(kind) else np.ascontiguousarray(values)
    )
    return pa.Array.from_buffers(kind, len(values), [validity(missing), pa.py_buffer(bits)])


def strings(values: Sequence[str | None]) -> Any:
    """An array of text."""
    raw = [b"" if value is None else value.encode() for value in values]
    offsets = np.zeros(len(raw) + 1, np.int32)
    np.cumsum([len(value) for value in raw], out=offsets[1:])
    missing = np.fromiter((value is None for value in values), np.bool_, len(raw))
    return pa.StringArray.from_buffers(
        len(raw), pa.py_buffer(offsets), pa.py_buffer(b"".join(raw)), validity(missing)
    )


def words(codes: NDArray[Any], known: Sequence[str], missing: Missing = None, ordered: bool = False) -> Any:
    """An array of words by number; a negative number is null."""
    gone = codes < 0 if missing is None else missing
    indices = numbers(codes.astype(np.int32), pa.int32(), gone)
    return pa.DictionaryArray.from_arrays(indices, strings(known), ordered=ordered)


def integers(values: Sequence[int | None], kind: Any) -> Any:
    """An array of 64-bit integers, or of what Arrow stores as such."""
    dtype = np.uint64 if pa.types.is_unsigned_integer(kind) else np.int64
    missing = np.fromiter((value is None for value in values), np.bool_, len(values))
    whole = np.fromiter((value or 0 for value in values), dtype, len(values))
    return numbers(whole, kind, missing)


def bools(values: Sequence[bool | None]) -> Any:
    """An array of bools."""
    missing = np.fromiter((value is None for value in values), np.bool_, len(values))
    return numbers(np.fromiter((bool(value) for value in values), np.bool_, len(values)), pa.bool_(), missing)


def lists(values: Sequence[Sequence[int]]) -> Any:
    """An array of lists of integers."""
    offsets = np.zeros(len(values) + 1, np.int32)
    np.cumsum([len(value) for value in values], out=offsets[1:])
    flat = integers([number for value in values for number in value], pa.int64())
    return pa.ListArray.from_arrays(numbers(offsets, pa.int32()), flat)


def taken_apart(array: Any) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The 64-bit values of an array (anything where they are missing), and where they are."""
    valid, data = array.buffers()
    rows = slice(array.offset, array.offset + len(array))
    values = np.frombuffer(data, np.int64)[rows]
    if valid is None:
        return values, np.zeros(len(array), np.bool_)
    return values, np.unpackbits(np.frombuffer(valid, np.uint8), bitorder="little")[rows] == 0
