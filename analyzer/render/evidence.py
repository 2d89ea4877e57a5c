"""The frames of findings as a small capture, each with a comment that says why it is there.

In: a `View` and the findings. Out: a pcapng, to attach to a ticket.

Theory. A frame is copied as it was captured: its bytes, its length on the wire, its time in ns; there is
one interface for each link type. The comments say which frame of which file it was, what is in it, and
which findings rest on it. dpkt packs the blocks; its `Writer` is not used: it cannot write ns, takes time 0
for now, and its packet block gives what was captured for the length on the wire.

Never: writes a comment that was not cleaned.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from analyzer.errors import AnalyzerError
from analyzer.render.clean import clean
from analyzer.render.reread import Alias, Frame, reread

if TYPE_CHECKING:
    from analyzer.findings.rule import Finding
    from analyzer.render.view import View

MOST_COMMENTS = 16  # findings named on one frame
MOST_TEXT = 8192  # bytes of one comment
NANOSECONDS = b"\x09"
WIRE_LENGTH = slice(24, 28)  # of an Enhanced Packet Block (pcapng 4.3)


def chosen(view: View, finding: str | None, code: str | None) -> list[Finding]:
    """The finding with this id, or all with this code; raises where there is none."""
    found = [one for one in view.findings if one.id == finding or one.code == code]
    if not found:
        what = f"id {finding}" if finding is not None else f"code {code}"
        raise AnalyzerError(f"no finding has the {what} here; lockscope analyze lists those that there are")
    return found


def frames_of(view: View, findings: Sequence[Finding], alias: Alias = str) -> list[Frame]:
    """The frames that the findings rest on, with addresses as `alias` says them."""
    numbers = {number for finding in findings for number in finding.frames}
    return reread([info.path for info in view.analysis.captures], numbers, alias)


def comments(frame: Frame, findings: Sequence[Finding]) -> list[str]:
    """What is said about a frame."""
    mine = [finding for finding in findings if frame.number in finding.frames]
    place = "" if frame.place == frame.number else f", frame {frame.place}"
    texts = [
        f"frame {frame.number}{place} of {Path(frame.path).name}: {frame.title}",
        *(
            f"{one.code} ({one.severity.name.lower()}, {one.confidence.name.lower()}): {one.message}"
            for one in mine[:MOST_COMMENTS]
        ),
    ]
    if len(mine) > MOST_COMMENTS:
        texts.append(f"and {len(mine) - MOST_COMMENTS} more findings")
    return [clean(text).encode()[:MOST_TEXT].decode("utf-8", "ignore") for text in texts]


def write_evidence(stream: IO[bytes], frames: Sequence[Frame], findings: Sequence[Finding] = ()) -> None:
    """Write the frames, with comments about the findings."""
    from dpkt import pcapng

    links = list(dict.fromkeys(frame.link & 0xFFFF for frame in frames))
    stream.write(bytes(pcapng.SectionHeaderBlockLE(opts=_options([_application()]))))
    for link in links:
        resolution = pcapng.PcapngOptionLE(code=pcapng.PCAPNG_OPT_IF_TSRESOL, data=NANOSECONDS)
        interface = pcapng.InterfaceDescriptionBlockLE(linktype=link, snaplen=0, opts=_options([resolution]))
        stream.write(bytes(interface))
    for frame in frames:
        stream.write(_packet(frame, links.index(frame.link & 0xFFFF), comments(frame, findings)))


def _packet(frame: Frame, interface: int, texts: Sequence[str]) -> bytes:
    from dpkt import pcapng

    ticks = max(frame.time, 0)  # before 1970 there is no time
    block = pcapng.EnhancedPacketBlockLE(
        iface_id=interface,
        ts_high=ticks >> 32,
        ts_low=ticks & 0xFFFFFFFF,
        pkt_data=frame.data,
        opts=_options([pcapng.PcapngOptionLE(code=pcapng.PCAPNG_OPT_COMMENT, text=text) for text in texts]),
    )
    packed = bytearray(bytes(block))
    packed[WIRE_LENGTH] = frame.wire.to_bytes(4, "little")
    return bytes(packed)


def _application() -> Any:
    from dpkt import pcapng

    from analyzer import __version__

    return pcapng.PcapngOptionLE(
        code=pcapng.PCAPNG_OPT_SHB_USERAPPL, data=f"lockscope {__version__}".encode()
    )


def _options(options: Sequence[Any]) -> list[Any]:
    """Options, and the one that ends them."""
    from dpkt import pcapng

    return [*options, pcapng.PcapngOptionLE()]
