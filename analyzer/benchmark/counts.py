"""How many calls a program saw, by what it printed.

In: the output of a program, as a stream of lines. Out: a number.

Never: holds a whole output in memory: what was exported is as large as the capture.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

_PROGRAM_LINE = re.compile(rb"^\S+\(\d+\)\s+\d+\s+(\d+)\s")
_GROUPS = ("nfs", "nlm", "nsm", "mount", "portmap")
CALL = b"0"  # rpc.msgtyp (RFC 5531 9)


def analyzed(output: Iterable[bytes]) -> int:
    """The calls that `lockscope analyze --format json` counted."""
    counts = json.loads(b"".join(output))["counts"]
    return sum(counts[group] for group in _GROUPS)


def exported(output: Iterable[bytes]) -> int:
    """The calls that `lockscope export --table calls` wrote: rows that have a `call_frame`."""
    return sum(not line.startswith(b",") for line in output) - 1


def programs(output: Iterable[bytes]) -> int:
    """The calls that `tshark -z rpc,programs` counted, all programs together."""
    return sum(int(found[1]) for found in map(_PROGRAM_LINE.match, output) if found)


def fields(output: Iterable[bytes]) -> int:
    """The calls that `tshark -T fields` wrote, `rpc.msgtyp` third; a frame may have several messages."""
    return sum(line.split(b"\t")[2].split(b",").count(CALL) for line in output)
