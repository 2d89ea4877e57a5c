"""The batch decoder against the one-message decoder, on the same bytes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cache
from typing import Any

import numpy as np

from analyzer.faults import Fault
from analyzer.schema.batch import Decoder
from analyzer.schema.columns import Column, columns
from analyzer.schema.rows import Columns
from analyzer.schema.scalar import decode_one
from analyzer.schema.xdr import Type

GAP = b"\xff"
HARD = {Fault.XDR_SHORT, Fault.XDR_LIMIT, Fault.XDR_DEPTH}


@cache
def decoder(declared: Type, wanted: tuple[str, ...] | None, compiled: bool) -> Decoder:
    return Decoder(declared, wanted, compiled)


def laid_out(messages: Sequence[bytes]) -> tuple[Any, Any, Any]:
    """Messages one after the other with a byte between them: memory, starts, stops."""
    lengths = np.array([len(message) for message in messages], np.int64)
    starts = np.cumsum(lengths + 1) - lengths
    memory = np.frombuffer(GAP + b"".join(message + GAP for message in messages), np.uint8)
    return memory, starts, starts + lengths


def run(
    declared: Type,
    messages: Sequence[bytes],
    compiled: bool,
    wanted: Collection[str] | None = None,
    sizes: Sequence[int] | None = None,
) -> tuple[Any, Any, Columns]:
    """Decode the messages as one batch: memory, starts, columns."""
    memory, starts, stops = laid_out(messages)
    wire = None if sizes is None else np.array(sizes, np.int64)
    made = decoder(declared, None if wanted is None else tuple(wanted), compiled)
    return memory, starts, made.decode(memory, starts, stops, wire)


def plain_rows(declared: Type, memory: Any, decoded: Columns) -> list[dict[str, Any]]:
    """A batch in the form in which `decode_one` gives one message; empty lists are left out."""
    return _rows({column.name: column for column in columns(declared)}, "", memory, decoded)


def _rows(known: dict[str, Column], prefix: str, memory: Any, decoded: Columns) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [{} for _ in range(decoded.rows)]
    for name, valid in decoded.valid.items():
        column = known[prefix + name]
        for i in np.flatnonzero(valid):
            rows[i][name] = _value(column, name, memory, decoded, i)
    for name, (parent, child) in decoded.children.items():
        for i, entry in zip(parent, _rows(known, f"{prefix}{name}.", memory, child), strict=True):
            rows[i].setdefault(name, []).append(entry)
    return rows


def _value(column: Column, name: str, memory: Any, decoded: Columns, i: Any) -> Any:
    if name in decoded.start:
        return memory[decoded.start[name][i] : decoded.stop[name][i]].tobytes()
    if column.dtype == "uint64":
        return int(decoded.unsigned(name)[i])
    value = int(decoded.values[name][i])
    if column.dtype == "bool":
        assert value in (0, 1)
        return bool(value)
    return value


def pruned(values: dict[str, Any], wanted: Collection[str] | None = None, prefix: str = "") -> dict[str, Any]:
    """The values without empty lists, and without what is not wanted."""
    kept = {}
    for name, value in values.items():
        full = prefix + name
        if not isinstance(value, list):
            if wanted is None or full in wanted:
                kept[name] = value
        elif value and (wanted is None or any(want.startswith(full + ".") for want in wanted)):
            kept[name] = [pruned(entry, wanted, full + ".") for entry in value]
    return kept


def assert_agree(
    declared: Type,
    messages: Sequence[bytes],
    compiled: bool,
    wanted: Collection[str] | None = None,
    sizes: Sequence[int] | None = None,
) -> Columns:
    """Both decoders say the same of every message; a projection says it of what is wanted."""
    memory, starts, batch = run(declared, messages, compiled, wanted, sizes)
    for i, (message, row) in enumerate(zip(messages, plain_rows(declared, memory, batch), strict=True)):
        one = decode_one(declared, message, None if sizes is None else sizes[i])
        fault = None if batch.fault[i] < 0 else Fault(int(batch.fault[i]))
        end = int(batch.end[i] - starts[i])
        assert row == pruned(one.values, wanted), message.hex()
        if wanted is None or one.fault in HARD:
            assert fault == one.fault, message.hex()
        if wanted is None:
            assert end == one.end, message.hex()
        elif one.fault not in HARD:
            # What is skipped is not looked at: soft faults there go unseen, others do not appear.
            assert fault not in HARD, message.hex()
            assert fault is None or one.fault is not None, message.hex()
            assert end == one.end, message.hex()
    return batch
