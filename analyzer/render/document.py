"""An analysis as JSON: `lockscope.analysis/1`, and its parts as JSON lines.

In: a `View`. Out: plain dicts, and their text.

Theory. The shape is a contract: a key is never missing and never changes its type, what does not apply is
null. New keys may be added. Text of the wire is cleaned, bytes are lower-case hex, times are RFC 3339 with
ns in UTC.

Never: judges.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from analyzer.render.clean import clean
from analyzer.render.times import rfc3339

if TYPE_CHECKING:
    from analyzer.engine import CaptureInfo
    from analyzer.findings.rule import Finding
    from analyzer.render.view import View

Json = dict[str, Any]

SCHEMA = "lockscope.analysis/1"
EOF_OFFSET = 2**64 - 1
LINK_TYPES = {
    0: "NULL",
    1: "ETHERNET",
    6: "IEEE802_5",
    9: "PPP",
    12: "RAW",
    14: "RAW",
    101: "RAW",
    105: "IEEE802_11",
    108: "LOOP",
    113: "LINUX_SLL",
    127: "IEEE802_11_RADIOTAP",
    228: "IPV4",
    229: "IPV6",
    276: "LINUX_SLL2",
}
"""LINKTYPE_ names (www.tcpdump.org/linktypes.html); one that is not here stays a number."""

GROUPS = {
    "nfs": ("NFS",),
    "nlm": ("NLM",),
    "nsm": ("NSM",),
    "mount": ("MOUNT",),
    "portmap": ("PORTMAP", "RPCBIND"),
}


def document(view: View) -> Json:
    """The whole analysis."""
    return {
        "schema": SCHEMA,
        "captures": [capture(info) for info in view.analysis.captures],
        "health": health(view),
        "counts": counts(view),
        "findings": [finding(each) for each in view.findings],
    }


def text(view: View) -> str:
    """The whole analysis as text, indented so that a diff shows what changed."""
    return json.dumps(document(view), indent=1, ensure_ascii=False) + "\n"


def lines(view: View) -> Iterator[str]:
    """The parts, one object a line, each with its `type`."""
    whole = document(view)
    for info in whole["captures"]:
        yield line({"type": "capture", "schema": SCHEMA} | info)
    yield line({"type": "health"} | whole["health"])
    yield line({"type": "counts"} | whole["counts"])
    for each in whole["findings"]:
        yield line({"type": "finding"} | each)


def line(entry: Json) -> str:
    """One JSON object on one line."""
    return json.dumps(entry, ensure_ascii=False) + "\n"


def capture(info: CaptureInfo) -> Json:
    """What one file was."""
    return {
        "path": clean(info.path),
        "packets": info.packets,
        "bytes": info.bytes,
        "start": None if info.start is None else rfc3339(info.start),
        "end": None if info.end is None else rfc3339(info.end),
        "link_types": [LINK_TYPES.get(number, number) for number in info.link_types],
        "complete": info.complete,
    }


def health(view: View) -> Json:
    """How much was seen and understood.

    `damage` says by file what was wrong with it, `places` has the first frame of each fault (0: the file).
    """
    seen = view.analysis.health
    return {
        "frames": seen.frames,
        "messages": seen.messages,
        "orphan_replies": seen.orphan_replies,
        "unanswered_calls": seen.unanswered_calls,
        "retransmissions": seen.retransmissions,
        "tcp_gaps": seen.tcp_gaps,
        "truncated_frames": seen.truncated_frames,
        "dropped_by_capture": seen.dropped_by_capture,
        "settled_locks": seen.settled_locks,
        "faults": dict(seen.faults),
        "places": dict(seen.places),
        "meanings": dict(seen.meanings),
        "damage": {
            clean(info.path): clean(info.damage) for info in view.analysis.captures if info.damage is not None
        },
    }


def counts(view: View) -> Json:
    """Calls by program and procedure."""
    by_procedure = view.analysis.counts
    totals: Json = dict.fromkeys(GROUPS, 0)
    for label, number in by_procedure.items():
        program = label.partition(" ")[0].rstrip("0123456789")
        for group, programs in GROUPS.items():
            if program in programs:
                totals[group] += number
    return totals | {"by_procedure": dict(by_procedure)}


def finding(found: Finding) -> Json:
    """One finding."""
    owner, extent = None, None
    if found.owner is not None:
        caller, svid, oh = found.owner
        owner = {"caller": clean(caller), "svid": svid, "oh": oh.hex()}
    if found.range is not None:
        start, end = found.range
        extent = {"start": start, "end": None if end == EOF_OFFSET else end}
    return {
        "id": found.id,
        "code": found.code,
        "family": found.family,
        "severity": found.severity.name.lower(),
        "confidence": found.confidence.name.lower(),
        "server": found.server,
        "client": found.client,
        "peer": found.peer,
        "export": _text(found.export),
        "path": _text(found.path),
        "fh": found.fh,
        "owner": owner,
        "range": extent,
        "first_time": rfc3339(found.first_time),
        "last_time": rfc3339(found.last_time),
        "frames": list(found.frames),
        "count": found.count,
        "message": clean(found.message),
        "remedy": clean(found.remedy),
        "caused_by": list(found.caused_by),
    }


def _text(value: str | None) -> str | None:
    return None if value is None else clean(value)
