"""Captured frames without names: addresses replaced, messages rewritten, all else blank.

In: frames as they were captured, with the messages that end in them; a `Veil`. Out: the same frames, of the
same length, and what had to be blanked or left out.

Theory. A frame starts out as zeros. Headers that are understood are copied, those of tunnels too, with
hardware and IP addresses replaced and without IP options; so are the RPC messages that lie in it whole,
rewritten. A copy of a message that TCP sent again is known by its bytes. Whatever is not copied stays blank:
fragments of messages, packets of other programs, trailers. IP's checksum is made anew, those of TCP, UDP and
ICMP are zero, which Wireshark does not check unless told to. A frame of a link layer that is not understood
is left out.

Never: copies a byte of which it does not know what it is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from analyzer.frames.link import (
    BRIDGED,
    ETHERNET,
    FDDI,
    IPV4,
    IPV6,
    SLL,
    SLL2,
    TOKEN_RING,
    UNKNOWN,
    behind_type,
    find_ip,
)
from analyzer.frames.tunnels import MOST_LAYERS, carried
from analyzer.protocols.rpc import RPCSEC_GSS
from analyzer.render.anonymous import PRIVACY, Veil, capture_name
from analyzer.render.evidence import frames_of
from analyzer.render.reread import Frame, Message
from analyzer.schema.xdr import padded
from analyzer.tables import Messages

if TYPE_CHECKING:
    from analyzer.findings.rule import Finding
    from analyzer.render.view import View

TCP, UDP, ICMP, ICMP6 = 6, 17, 1, 58
CARDS = {ETHERNET: (0, 6), SLL: (6,), SLL2: (12,), TOKEN_RING: (2, 8), FDDI: (1, 7)}
"""Where a link layer has hardware addresses."""
CARD = 6
EXTENSIONS = (0, 43, 60)  # of IPv6: hop by hop, routing, destination
FRAGMENT = 44
TUNNEL_HEAD = 16  # of UDP and VXLAN or GENEVE; options follow
MARK = 4

FRAGMENTS = "messages are not whole in one frame, or not decoded, and are blank"
LINKS = "frames of a link layer that is not understood are left out"


def veiled(
    view: View, found: Sequence[Finding], findings: Sequence[Finding], veil: Veil
) -> tuple[list[Frame], list[Finding]]:
    """The frames of findings without names, and the findings as those of the veiled analysis say them."""
    frames = frames_of(view, found, veil.names.host)
    rewriter = VeiledFrames(veil, frames, [info.path for info in view.analysis.captures])
    waiting: dict[Any, list[Finding]] = defaultdict(list)
    for finding in findings:
        waiting[_mark(finding)].append(finding)
    others = [waiting[_mark(finding)].pop(0) for finding in found if waiting[_mark(finding)]]
    return rewriter.all(frames), others


def _mark(finding: Finding) -> Any:
    """What a finding has in common with itself under other names."""
    return finding.code, finding.frames, finding.first_time, finding.last_time, finding.count


class VeiledFrames:
    """Rewrites frames; what could not be is counted in `lost` of the veil."""

    def __init__(self, veil: Veil, frames: Sequence[Frame], captures: Sequence[str]) -> None:
        self._veil = veil
        self._known: dict[bytes, list[Message]] = {}
        for frame in frames:
            for message in frame.messages:
                self._known.setdefault(message.raw[:8], []).append(message)
        self._copied = 0
        self._paths = {path: capture_name(at) for at, path in enumerate(captures, 1)}

    def all(self, frames: Sequence[Frame]) -> list[Frame]:
        """The frames that can be shown."""
        return [shown for frame in frames if (shown := self._frame(frame)) is not None]

    def _frame(self, frame: Frame) -> Frame | None:
        out = bytearray(len(frame.data))
        before = self._copied
        at = self._link(frame.link & 0xFFFF, frame.data, out)
        if at is None:
            self._veil.lost[LINKS] += 1
            return None
        self._internet(frame.data, at, out, frame.messages)
        missing = len(frame.messages) - (self._copied - before)
        if missing > 0:
            self._veil.lost[FRAGMENTS] += missing
        return replace(frame, data=bytes(out), path=self._paths[frame.path])

    def _link(self, link: int, data: bytes, out: bytearray) -> int | None:
        """Copy the head of the link layer; where the packet begins, or None."""
        kind, at = find_ip(np.frombuffer(data, np.uint8), 0, len(data), link)
        if kind == UNKNOWN:
            return None
        if kind in (IPV4, IPV6):
            out[:at] = data[:at]
        for place in CARDS.get(link, ()):
            self._card(data, place, out)
        return int(at) if kind in (IPV4, IPV6) else len(data)

    def _card(self, data: bytes, at: int, out: bytearray) -> None:
        if at + CARD <= len(data):
            out[at : at + CARD] = self._veil.names.mac(data[at : at + CARD])

    # -- IP -----------------------------------------------------------------------------------

    def _internet(
        self, data: bytes, at: int, out: bytearray, messages: Sequence[Message] | None, layer: int = 0
    ) -> None:
        """A packet; `messages` is None for one that an ICMP message quotes."""
        version = data[at] >> 4 if at < len(data) else 0
        if version == 4 and at + 20 <= len(data):
            self._ip4(data, at, out, messages, layer)
        elif version == 6 and at + 40 <= len(data):
            self._ip6(data, at, out, messages, layer)

    def _ip4(
        self, data: bytes, at: int, out: bytearray, messages: Sequence[Message] | None, layer: int
    ) -> None:
        size = 4 * (data[at] & 15)
        stop = at + size
        out[at : at + 20] = data[at : at + 20]
        for place in (at + 12, at + 16):
            out[place : place + 4] = self._veil.names.address(data[place : place + 4])
        out[at + 10 : at + 12] = bytes(2)
        if size < 20 or stop > len(data):
            return
        out[at + 10 : at + 12] = _checksum(out[at:stop])
        total = int.from_bytes(data[at + 2 : at + 4], "big") or len(data) - at
        is_fragment = int.from_bytes(data[at + 6 : at + 8], "big") & 0x3FFF
        if not is_fragment:
            self._transport(data[: at + total], stop, data[at + 9], out, messages, layer)

    def _ip6(
        self, data: bytes, at: int, out: bytearray, messages: Sequence[Message] | None, layer: int
    ) -> None:
        out[at : at + 40] = data[at : at + 40]
        for place in (at + 8, at + 24):
            out[place : place + 16] = self._veil.names.address(data[place : place + 16])
        following, place = data[at + 6], at + 40
        total = int.from_bytes(data[at + 4 : at + 6], "big") or len(data)
        while following in EXTENSIONS and place + 8 <= len(data):
            out[place : place + 2] = data[place : place + 2]
            following, place = data[place], place + 8 * (data[place + 1] + 1)
        if following == FRAGMENT and place + 8 <= len(data):
            out[place : place + 8] = data[place : place + 8]
        else:
            self._transport(data[: at + 40 + total], place, following, out, messages, layer)

    # -- transport ----------------------------------------------------------------------------

    def _transport(
        self,
        data: bytes,
        at: int,
        protocol: int,
        out: bytearray,
        messages: Sequence[Message] | None,
        layer: int,
    ) -> None:
        if messages is not None and layer < MOST_LAYERS:
            inside = self._tunnel(data, at, protocol, out)
            if inside:
                self._internet(data, inside, out, messages, layer + 1)
                return
        head = {TCP: 20, UDP: 8, ICMP: 8, ICMP6: 8}.get(protocol)
        if head is None or at + 8 > len(data):
            return
        if protocol == TCP and at + head <= len(data):
            head = max(head, 4 * (data[at + 12] >> 4))
        stop = min(at + head, len(data))
        if messages is None:
            stop = at + 8  # of what is quoted: ports, and no more
        out[at:stop] = data[at:stop]
        sums = at + {TCP: 16, UDP: 6}.get(protocol, 2)
        out[sums : min(sums + 2, stop)] = bytes(max(0, min(sums + 2, stop) - sums))
        if messages is None:
            return
        if protocol in (TCP, UDP):
            out[stop : len(data)] = self._payload(data[stop:], messages, MARK if protocol == TCP else 0)
        else:
            self._internet(data, stop, out, None)

    def _tunnel(self, data: bytes, at: int, protocol: int, out: bytearray) -> int:
        """Copy the head of a tunnel; where the packet in it begins, or 0 where there is none."""
        memory = np.frombuffer(data, np.uint8)
        kind, inner = carried(memory, at, len(data), protocol)
        if not kind:
            return 0
        version, begin = behind_type(memory, inner, len(data), kind)
        if version not in (IPV4, IPV6) or begin >= len(data) or data[begin] >> 4 != version:
            return 0
        stop = at + TUNNEL_HEAD if protocol == UDP else inner
        out[at:stop] = data[at:stop]
        out[inner:begin] = data[inner:begin]
        if protocol == UDP:
            out[at + 6 : at + 8] = bytes(2)
        if kind == BRIDGED:
            for place in (inner, inner + CARD):
                self._card(data, place, out)
        return int(begin)

    def _payload(self, payload: bytes, messages: Sequence[Message], mark: int) -> bytes:
        """The messages that are whole in a payload, each behind its record mark."""
        out = bytearray(len(payload))
        at = 0
        for message in messages:
            place = payload.find(message.raw, at) if message.raw else -1
            if place < mark or message.row is None:
                continue
            at = self._copy(payload, out, place, message.raw, message.row, mark)
        if not messages:
            self._repeated(payload, out, mark)
        return bytes(out)

    def _repeated(self, payload: bytes, out: bytearray, mark: int) -> None:
        """Copies of messages that were whole in another frame, from the first byte on: known by their bytes,
        or calls, which say themselves what they are."""
        at = 0
        while at + mark < len(payload):
            begin = at + mark
            known = self._known.get(payload[begin : begin + 8], ())
            match = next((one for one in known if payload.startswith(one.raw, begin)), None)
            raw, row = (match.raw, match.row) if match is not None else _call(payload[at:], mark)
            if row is None:
                return
            at = self._copy(payload, out, begin, raw, row, mark)

    def _copy(self, payload: bytes, out: bytearray, place: int, raw: bytes, row: Any, mark: int) -> int:
        """Copy a message rewritten; where it ends."""
        stop = place + len(raw)
        out[place - mark : place] = payload[place - mark : place]
        out[place:stop] = self._veil.message(raw, row)
        self._copied += 1
        return stop


def _call(record: bytes, mark: int) -> tuple[bytes, Any]:
    """A call at the beginning of some bytes, and its columns; None where there is no whole one."""
    size = int.from_bytes(record[:mark], "big") & 0x7FFFFFFF if mark else len(record)
    raw = record[mark : mark + size]
    words = [int.from_bytes(raw[at : at + 4], "big") for at in range(0, 32, 4)]
    verifier = 32 + padded(words[7])
    if len(raw) < max(size, 40) or words[1:3] != [0, 2] or verifier + 8 > size:
        return b"", None
    body = verifier + 8 + padded(int.from_bytes(raw[verifier + 4 : verifier + 8], "big"))
    row: Any = Messages._make([-1] * len(Messages._fields))
    row = row._replace(start=0, kept=size, size=size, reply=0, flavor=words[6], cred=32, cred_size=words[7])
    row = row._replace(program=words[3], version=words[4], procedure=words[5])
    row = row._replace(gss=PRIVACY if words[6] == RPCSEC_GSS else 0)
    return raw, row._replace(body=body, body_kept=max(0, size - body), body_size=max(0, size - body))


def _checksum(header: bytes | bytearray) -> bytes:
    """The Internet checksum (RFC 1071)."""
    total = sum(int.from_bytes(header[at : at + 2], "big") for at in range(0, len(header), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return (0xFFFF - total).to_bytes(2, "big")
