"""The frames of a finding as Wireshark dissects them, beside what lockscope decodes.

In: the frames, read again, and the captures. Out: lines of text, two blocks for each frame.

Theory. Whoever doubts a finding trusts Wireshark. It is asked through pyshark, about the capture itself
where that is one plain file: a message needs its earlier TCP segments, a reply its call. Of several or
packed captures it sees the evidence only.

Never: believes either side; writes text of the wire that was not cleaned.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from analyzer.capture import shark
from analyzer.capture.source import open_source
from analyzer.errors import AnalyzerError
from analyzer.render.clean import clean
from analyzer.render.evidence import write_evidence
from analyzer.render.times import clock
from analyzer.schema.columns import Column, columns
from analyzer.schema.xdr import U32

if TYPE_CHECKING:
    from analyzer.findings.rule import Finding
    from analyzer.render.reread import Frame, Message

# Lock traffic has no fixed ports: RPC must be looked for before Wireshark goes by a port's usual owner.
PREFERENCES = {
    "tcp.try_heuristic_first": "TRUE",
    "udp.try_heuristic_first": "TRUE",
    "tcp.reassemble_out_of_order": "TRUE",
}
OF_TCP = ("srcport", "dstport", "stream", "len", "seq", "ack", "flags", "_ws_expert")
"""What is shown of a TCP segment in which no RPC message ends."""
MOST_ENTRIES = 32  # of a list
MOST_TEXT = 400  # characters of a line

Shown = Mapping[int, Sequence[str]]


def found_tshark() -> str:
    """Where tshark is; raises where it is not."""
    return shark.tshark_path("dissect asks it")


def side_by_side(finding: Finding, frames: Sequence[Frame], paths: Sequence[str]) -> Iterator[str]:
    """The whole text of `dissect`."""
    alone = len(paths) == 1 and not _is_packed(paths[0])
    shown = _asked(paths[0], {frame.number: frame.number for frame in frames}) if alone else _aside(frames)
    yield f"{finding.id}: {clean(finding.message)}"
    if not alone:
        yield "(Wireshark sees these frames only: the capture is not one plain file)"
    for frame in frames:
        yield ""
        yield f"frame {frame.number}, {clock(frame.time)} UTC"
        yield "  lockscope"
        yield from (f"    {line}"[:MOST_TEXT] for line in ours(frame))
        yield "  Wireshark"
        theirs = shown.get(frame.number, ("shows no such frame",))
        yield from (f"    {line}"[:MOST_TEXT] for line in theirs)


def _is_packed(path: str) -> bool:
    with open_source(path) as source:
        return source.packed


# -- ours -------------------------------------------------------------------------------------


def ours(frame: Frame) -> Iterator[str]:
    """What lockscope decodes of a frame."""
    for message in frame.messages:
        yield f"{message.title}, {message.route}"
        yield f"  xid: 0x{message.xid:08x}"
        if message.status is not None:
            yield f"  rpc status: {message.status}"
        yield from (f"  {line}" for line in _values(message))
        if message.remark is not None:
            yield f"  ({message.remark})"
    yield from frame.events
    if not frame.messages and not frame.events:
        yield frame.title


def _values(message: Message) -> Iterator[str]:
    if message.body is not None:
        known = {column.name: column for column in columns(message.body)}
        yield from _lines(known, "", message.values)


def _lines(known: Mapping[str, Column], table: str, values: Mapping[str, Any]) -> Iterator[str]:
    for name, value in values.items():
        if not isinstance(value, list):
            yield f"{name or 'value'}: {_text(known.get(table + name), value)}"
            continue
        yield f"{name}: {len(value)} entries"
        for entry in value[:MOST_ENTRIES]:
            for at, line in enumerate(_lines(known, f"{table}{name}.", entry)):
                yield f"{'  ' if at else '- '}{line}"
        if len(value) > MOST_ENTRIES:
            yield f"- and {len(value) - MOST_ENTRIES} more"


def _text(column: Column | None, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, bytes):
        return clean(value) if column is not None and column.dtype == "text" else value.hex()
    name = column.type.names.get(value) if column is not None and isinstance(column.type, U32) else None
    return f"{name} ({value})" if name else str(value)


# -- theirs -----------------------------------------------------------------------------------


def _aside(frames: Sequence[Frame]) -> Shown:
    """What Wireshark makes of these frames alone."""
    with tempfile.NamedTemporaryFile(prefix="lockscope.", suffix=".pcapng") as stream:
        write_evidence(stream, frames)
        stream.flush()
        return _asked(stream.name, {place: frame.number for place, frame in enumerate(frames, 1)})


def _asked(path: str, numbers: Mapping[int, int]) -> Shown:
    """What Wireshark makes of some frames of a file; `numbers` has their own for those of the file."""
    tshark, shown = found_tshark(), dict[int, list[str]]()
    chosen = " or ".join(f"frame.number == {number}" for number in numbers)
    try:
        with shark.opened(path, tshark, display_filter=chosen, override_prefs=PREFERENCES) as packets:
            for packet in packets:
                shown[numbers[int(packet.number)]] = list(theirs(packet))
    except Exception as error:  # pyshark lets through whatever asyncio, lxml and tshark raise
        if len(shown) < len(numbers):  # at the end of a capture that is cut short tshark complains
            why = (str(error).splitlines() or [""])[0]
            raise AnalyzerError(
                f"{path}: pyshark could not ask tshark: {type(error).__name__}: {why}"
            ) from error
    if not shown:
        raise AnalyzerError(f"{path}: pyshark could not ask tshark: it shows none of these frames")
    return shown


def theirs(packet: Any) -> Iterator[str]:
    """What Wireshark makes of a packet: from RPC on, or, without RPC, the last layer that it knows."""
    layers = list(packet.layers)
    names = [layer.layer_name.lower() for layer in layers]
    if "rpc" in names:
        chosen = [layer for layer in layers[names.index("rpc") :] if layer.layer_name.lower() != "data"]
    else:
        chosen = [layer for layer, name in zip(layers, names, strict=True) if name != "data"][-1:]
    for layer in chosen:
        yield clean(layer.layer_name.upper())
        fields = [
            field
            for name in layer.field_names
            if layer.layer_name != "tcp" or name in OF_TCP
            for field in layer.get_field(name).all_fields
            if not field.hide and (field.showname or field.show)
        ]
        for field in sorted(fields, key=_place):
            yield f"  {clean(_line(field))}"


def _line(field: Any) -> str:
    """Name and value of a field; bytes that Wireshark leaves out of the line are put in."""
    if not field.showname:
        return str(field.show)
    return str(field.showname).replace("<DATA>", field.show or "")


def _place(field: Any) -> tuple[int, int]:
    """Where a field is, the outer before the inner: pyshark gives fields of one name together."""
    place, size = (int(text) if (text or "").isdigit() else 0 for text in (field.pos, field.size))
    return place, -size
