"""Every message of a capture as lockscope decodes it, against Wireshark's decoding, field by field.

In: a capture, tshark. Out: a `Comparison`: how many values of which field agree, and each that does not.

Theory. Both sides are read side by side, in the order of frames. A message is known by its frame, xid and
type. Of a message the values of each of Wireshark's fields are compared as a list, in the order of the wire:
so the tenth name of a listing is compared with the tenth name, and what one side has too many shows. Fields
are compared that both sides name; where Wireshark has a field that we declare and did not find, that is a
difference too. A reply without its call says nothing to Wireshark and is only counted.

Never: decides who is right; holds more of a capture than what waits for its other side.
"""

from __future__ import annotations

import subprocess
import textwrap
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from analyzer.capture.find import find_captures
from analyzer.capture.merge import Merger
from analyzer.engine import unpacked_size, worth_compiling
from analyzer.errors import AnalyzerError
from analyzer.faults import MEANING, new_faults
from analyzer.front import ROWS, Delivery, Front
from analyzer.frozen import frozen
from analyzer.messages.row import matrix_of
from analyzer.protocols import REGISTRY, find, procedure_label
from analyzer.protocols.rpc import AUTH_ERROR, AUTH_SYS, AUTH_SYS_BODY, GSS_BODY, RPC_MISMATCH, RPCSEC_GSS
from analyzer.render.clean import clean
from analyzer.render.dissect import PREFERENCES, found_tshark
from analyzer.render.pdml import Shown, shown
from analyzer.render.wireshark import HEADER, IN_AUTH_SYS, IN_GSS, NAMES, known_reason, name_of, why_not
from analyzer.schema.columns import columns
from analyzer.schema.scalar import Decoded, decode_one
from analyzer.schema.xdr import Type
from analyzer.tables import Bytes, Messages

PRIVACY = 3
CALL_HEAD = (
    ("rpc.version", "rpcvers"),
    ("rpc.program", "program"),
    ("rpc.programversion", "version"),
    ("rpc.procedure", "procedure"),
    ("rpc.auth.flavor", "flavor"),
    ("rpc.auth.length", "cred_size"),
)
REPLY_HEAD = (*CALL_HEAD[1:4], ("rpc.auth.flavor", "flavor"))
FIRST_ONLY = ("rpc.auth.flavor", "rpc.auth.length")
"""Wireshark shows a call's verifier under the same names, behind the credentials; we look at these alone."""

ASKED = frozenset(
    {*HEADER, *IN_AUTH_SYS.values(), *IN_GSS.values()}
    | {name for rules in NAMES.values() for _, name in rules}
)
MASK = 0xFFFFFFFF
WIDTH = 110
MOST_WAITING = 10_000  # messages of one side that wait for the other
MOST_DIFFERENCES = 1000  # of a capture, on paper
MOST_VALUES = 8  # of a difference
MOST_TEXT = 64  # characters of a value
BULK = "nfs.data"  # of which we keep the length
NEVER_EMPTY = "nfs.fhandle"  # Wireshark has no field for a handle of no bytes

Key = tuple[int, int, int]  # frame, xid, message type
Value = int | bytes | str


@dataclass(slots=True)
class Told:
    """One message as we decode it. `values` are Wireshark's name, our column, and the value."""

    key: Key
    title: str  # `NLM4 LOCK call`
    orphan: bool
    values: list[tuple[str, str, Value]]
    declared: frozenset[str]  # Wireshark's names of all columns that such a message may have
    silent: frozenset[tuple[str, str]]  # columns for which Wireshark has no name, and why
    fault: str | None  # what stopped our decoding


@frozen
class Difference:
    """Where the two differ: a field, or a whole message where `name` is empty."""

    frame: int
    message: str
    column: str
    name: str
    ours: tuple[Value, ...]
    theirs: tuple[Value, ...]
    remark: str | None = None  # why, where that is known


@dataclass(slots=True)
class Comparison:
    """What was compared."""

    messages: Counter[str] = field(default_factory=Counter)
    values: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    orphans: int = 0
    silent: dict[str, set[tuple[str, str]]] = field(default_factory=lambda: defaultdict(set))
    differences: list[Difference] = field(default_factory=list)


def compare(tshark: str, path: str, preferences: dict[str, str], first: int | None = None) -> Comparison:
    """Compare a capture, or its `first` frames."""
    made = Comparison()
    alone: tuple[list[Told], list[Shown]] = [], []
    for mine, other in _pairs(ours(path, first), shown(tshark, path, preferences, ASKED, first)):
        if mine is not None and other is not None:
            _compare(made, mine, other)
        elif mine is not None:
            mine.values.clear()  # of a lonely message its name is enough
            alone[0].append(mine)
        elif other is not None:
            alone[1].append(other)
    _lonely(made, *alone)
    made.differences.sort(key=lambda difference: difference.frame)
    return made


def _compare(made: Comparison, mine: Told, other: Shown) -> None:
    """One message that both sides have."""
    made.messages[mine.title] += 1
    made.silent[mine.title] |= mine.silent
    told: dict[str, list[tuple[str, Value]]] = defaultdict(list)
    for name, column, value in mine.values:
        told[name].append((column, value))
    seen: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for name, show, raw in other.fields:
        if name in told or name in mine.declared:
            seen[name].append((show, raw))
    for name in told | seen:
        ours_of = [value for _, value in told[name]]
        there = seen[name][:1] if name in FIRST_ONLY else seen[name]
        theirs_of = [_read(name, show, raw, ours_of[:1]) for show, raw in there]
        if ours_of == theirs_of:
            made.values[mine.title][name] += len(ours_of)
        else:
            column = " ".join(dict.fromkeys(column for column, _ in told[name]))
            remark = known_reason(mine.title, name) or mine.fault
            sides = tuple(ours_of), tuple(theirs_of)
            made.differences.append(Difference(mine.key[0], mine.title, column, name, *sides, remark))


def _read(name: str, show: str, raw: str, like: list[Value]) -> Value:
    """What Wireshark shows, as the type that our values have."""
    try:
        if name == BULK:
            return len(raw) // 2
        if like and isinstance(like[0], bytes):
            return bytes.fromhex(raw)
        return int(show, 0) & MASK if show.startswith("-") else int(show, 0)
    except ValueError:
        return show


def _lonely(made: Comparison, mine: Iterable[Told], others: Iterable[Shown]) -> None:
    """Messages that have no partner; one that the other side sees in another frame is named with it."""
    elsewhere: dict[tuple[int, int], deque[Shown]] = defaultdict(deque)
    for other in others:
        elsewhere[_key(other)[1:]].append(other)
    for told in mine:
        partners = elsewhere[told.key[1:]]
        if partners:
            frame = partners.popleft().frame
            made.differences.append(
                Difference(told.key[0], told.title, "", "frame", (told.key[0],), (frame,))
            )
        elif told.orphan:
            made.orphans += 1
        else:
            made.differences.append(
                Difference(told.key[0], told.title, "", "", ("a message",), (), told.fault)
            )
    for partners in elsewhere.values():
        for other in partners:
            made.differences.append(Difference(other.frame, _title(other), "", "", (), ("a message",)))


def _pairs(mine: Iterator[Told], others: Iterator[Shown]) -> Iterator[tuple[Told | None, Shown | None]]:
    """Messages of both sides with the same key; what finds no partner comes alone, sooner or later."""
    waiting: dict[Key, deque[Told]] = {}
    early: dict[Key, deque[Shown]] = {}
    told, other = next(mine, None), next(others, None)
    while told is not None or other is not None:
        if other is None or (told is not None and told.key[0] <= other.frame):
            assert told is not None
            if found := _taken(early, told.key):
                yield told, found
            else:
                waiting.setdefault(told.key, deque()).append(told)
            told = next(mine, None)
        else:
            if known := _taken(waiting, _key(other)):
                yield known, other
            else:
                early.setdefault(_key(other), deque()).append(other)
            other = next(others, None)
        while len(waiting) > MOST_WAITING:
            yield from ((one, None) for one in waiting.pop(next(iter(waiting))))
        while len(early) > MOST_WAITING:
            yield from ((None, one) for one in early.pop(next(iter(early))))
    yield from ((one, None) for ones in waiting.values() for one in ones)
    yield from ((None, one) for shows in early.values() for one in shows)


def _taken(waiting: dict[Key, deque[Any]], key: Key) -> Any:
    """The first that waits under a key, or None."""
    queue = waiting.get(key)
    if queue is None:
        return None
    found = queue.popleft()
    if not queue:
        del waiting[key]
    return found


def _key(other: Shown) -> Key:
    return other.frame, int(other.first("rpc.xid") or "-1", 0), int(other.first("rpc.msgtyp") or "-1", 0)


def _title(other: Shown) -> str:
    numbers = [other.first(f"rpc.{name}") for name in ("program", "programversion", "procedure")]
    label = procedure_label(*(int(number) for number in numbers if number)) if all(numbers) else "RPC"
    return f"{label} {'reply' if other.first('rpc.msgtyp') == '1' else 'call'}"


# -- ours -------------------------------------------------------------------------------------


def ours(path: str, first: int | None = None) -> Iterator[Told]:
    """The messages of a capture as we decode them."""
    compiled, faults = worth_compiling(unpacked_size([path])), new_faults()
    front = Front(compiled, faults)
    merger = Merger([path], front.memory, front.room, compiled, faults, ROWS)
    for block in merger.blocks():
        for delivery in front.block(block.rows, block.packets):
            yield from _told(front.memory, delivery, first)
        if first is not None and merger.frames >= first:
            break
    for delivery in front.finish():
        yield from _told(front.memory, delivery, first)


def _told(memory: Bytes, delivery: Delivery, first: int | None) -> Iterator[Told]:
    for row in matrix_of(delivery.messages)[:, : delivery.rows].T.tolist():
        m = Messages._make(row)
        if first is None or m.frame <= first:
            yield _message(memory, m)


def _message(memory: Bytes, m: Any) -> Told:
    direction = "reply" if m.reply else "call"
    title = procedure_label(m.program, m.version, m.procedure) if m.program >= 0 else "RPC"
    credentials = _credentials(memory, m)
    body, values, fault = _body(memory, m)
    if fault is None and credentials is not None and credentials.fault is not None:
        fault = f"in the credentials: {MEANING[credentials.fault]}"
    program = REGISTRY.get((m.program, m.version))
    declared: frozenset[str] = frozenset()
    silent: frozenset[tuple[str, str]] = frozenset()
    told = list(_header(m, credentials))
    if body is not None and program is not None:
        message = f"{title.partition(' ')[2]} {direction}"
        declared, silent = _known(program.label, m.version, message, body)
        for column, value in _flat("", values):
            name = name_of(program.label, m.version, message, column)
            if name is not None and not (name == NEVER_EMPTY and value == b""):
                told.append((name, column, value))
    key = m.frame, m.xid, m.reply
    orphan = bool(m.reply) and m.call < 0
    return Told(key, f"{title} {direction}", orphan, told, declared, silent, fault)


def _body(memory: Bytes, m: Any) -> tuple[Type | None, dict[str, Any], str | None]:
    """The declaration of arguments or results, their values, and what is wrong with them."""
    declared = find(m.program, m.version, m.procedure)
    body = declared.body(m.reply) if declared is not None else None
    if body is None or m.gss == PRIVACY or m.body < 0 or (m.reply and (m.call < 0 or m.status != 0)):
        return None, {}, None
    decoded = decode_one(body, memory[m.body : m.body + m.body_kept].tobytes(), m.body_size)
    return body, decoded.values, MEANING[decoded.fault] if decoded.fault is not None else None


_FOUND: dict[tuple[str, int, str], tuple[frozenset[str], frozenset[tuple[str, str]]]] = {}


def _known(
    program: str, version: int, message: str, body: Type
) -> tuple[frozenset[str], frozenset[tuple[str, str]]]:
    """Wireshark's names for the columns of a message, and the columns for which there are none."""
    key = program, version, message
    if key not in _FOUND:
        names = {column.name: name_of(*key, column.name) for column in columns(body)}
        silent = {(column, why_not(*key, column) or "") for column, name in names.items() if name is None}
        _FOUND[key] = frozenset(name for name in names.values() if name), frozenset(silent)
    return _FOUND[key]


def _credentials(memory: Bytes, m: Any) -> Decoded | None:
    """What a call says of its sender, where it says it in a way that we declare."""
    declared = {AUTH_SYS: AUTH_SYS_BODY, RPCSEC_GSS: GSS_BODY}.get(m.flavor)
    if m.reply or m.cred < 0 or declared is None:
        return None
    return decode_one(declared, memory[m.cred : m.cred + m.cred_size].tobytes())


def _header(m: Any, credentials: Decoded | None) -> Iterator[tuple[str, str, Value]]:
    """Values of the RPC header."""
    yield "rpc.xid", "xid", m.xid
    yield "rpc.msgtyp", "reply", m.reply
    for name, column in REPLY_HEAD if m.reply else CALL_HEAD:
        if getattr(m, column) >= 0:
            yield name, column, getattr(m, column)
    if m.reply:
        yield from _outcome(m)
    if credentials is not None:
        names = IN_AUTH_SYS if m.flavor == AUTH_SYS else IN_GSS
        for column, value in _flat("", credentials.values):
            yield names[column], column, value


def _outcome(m: Any) -> Iterator[tuple[str, str, Value]]:
    """`status` taken apart into the numbers that it was made of."""
    if m.status < 0:
        return
    yield "rpc.replystat", "status", int(m.status >= RPC_MISMATCH)
    if m.status < RPC_MISMATCH:
        yield "rpc.state_accept", "status", m.status
    else:
        yield "rpc.state_reject", "status", int(m.status >= AUTH_ERROR)
    if m.status >= AUTH_ERROR:
        yield "rpc.state_auth", "status", m.status - AUTH_ERROR
    if m.low >= 0:
        kind = "version" if m.status == RPC_MISMATCH else "programversion"
        yield f"rpc.{kind}.min", "low", m.low
        yield f"rpc.{kind}.max", "high", m.high


def _flat(table: str, values: dict[str, Any]) -> Iterator[tuple[str, Value]]:
    """Columns and values of a message in the order of the wire."""
    for name, value in values.items():
        if isinstance(value, list):
            for entry in value:
                yield from _flat(f"{table}{name}.", entry)
        elif isinstance(value, bytes):
            yield table + name, value
        else:
            yield table + name, int(value) & MASK if value < 0 else int(value)


# -- said -------------------------------------------------------------------------------------


def reports(paths: Sequence[str], first: int | None) -> Iterator[tuple[Iterator[str], bool]]:
    """Of each capture what there is to say, and whether the two sides differ."""
    if first is not None and first < 1:
        raise AnalyzerError(f"--first {first}: is no number of frames")
    tshark = found_tshark()
    said = subprocess.run([tshark, "-v"], capture_output=True, text=True, check=False).stdout
    version = said.partition("\n")[0] or "tshark of an unknown version"
    for path in find_captures(paths)[0]:
        made = compare(tshark, path, PREFERENCES, first)
        yield report(path, made, first, version), bool(made.differences)


def report(path: str, made: Comparison, first: int | None, version: str) -> Iterator[str]:
    """What was compared, what was not, and each difference, as lines."""
    some = f" (first {first} frames)" if first is not None else ""
    equal = sum(sum(counted.values()) for counted in made.values.values())
    yield f"{clean(path)}{some}: {sum(made.messages.values())} messages on both sides, {equal} values equal"
    yield f"compared with {clean(version)}"
    yield f"differences: {len(made.differences)}"
    if made.orphans:
        yield f"replies without a call, of which Wireshark says nothing: {made.orphans}"
    for title, number in sorted(made.messages.items()):
        counted = made.values[title]
        yield ""
        yield f"{title}: {number} messages, {sum(counted.values())} values"
        said = ", ".join(f"{name} {times}" for name, times in sorted(counted.items()))
        yield from textwrap.wrap(said, WIDTH, initial_indent="    ", subsequent_indent="    ")
        for why, columns_of in _by_reason(made.silent[title]):
            yield f"    not compared: {', '.join(columns_of)} ({why})"
    if made.differences:
        yield ""
    for difference in made.differences[:MOST_DIFFERENCES]:
        yield _line(difference)
    if len(made.differences) > MOST_DIFFERENCES:
        yield f"and {len(made.differences) - MOST_DIFFERENCES} more"


def _by_reason(silent: set[tuple[str, str]]) -> Iterator[tuple[str, list[str]]]:
    for why in sorted({why for _, why in silent}):
        yield why, sorted(column for column, each in silent if each == why)


def _line(difference: Difference) -> str:
    """One difference on one line."""
    what = " ".join(filter(None, (difference.column, f"({difference.name})" if difference.name else "")))
    sides = f"lockscope {_values(difference.ours)}, Wireshark {_values(difference.theirs)}"
    remark = f" [{difference.remark}]" if difference.remark else ""
    return f"frame {difference.frame}, {difference.message}{' ' if what else ''}{what}: {sides}{remark}"


def _values(values: tuple[Value, ...]) -> str:
    texts = [value.hex() or "empty" if isinstance(value, bytes) else clean(str(value)) for value in values]
    shown_of = " ".join(text[:MOST_TEXT] for text in texts[:MOST_VALUES]) or "nothing"
    return f"{shown_of} and {len(texts) - MOST_VALUES} more" if len(texts) > MOST_VALUES else shown_of
