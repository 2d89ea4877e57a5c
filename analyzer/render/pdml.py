"""RPC messages as tshark decodes them, as far as `analyzer.render.wireshark` has names for their fields.

In: a capture file. Out: for each message the fields that it has, in the order of the wire.

Theory. PDML is the one output of tshark that keeps the order of fields and shows where a message of a frame
ends and the next begins. It is large, so it is read while tshark writes it, element by element, and nothing
of it is kept but the fields that are asked for. It cuts long text wherever it falls, within a character of
UTF-8 too, which no parser of XML takes: what is no text is replaced on the way. Numbers are taken as
Wireshark shows them, text and bytes as they were on the wire, because Wireshark shows text escaped.

Never: holds a capture; believes that tshark ends well.
"""

from __future__ import annotations

import codecs
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any
from xml.parsers import expat  # what is parsed is tshark's, with the wire's text escaped

from analyzer.errors import AnalyzerError

PROGRAMS = ("nfs", "nlm", "mount", "portmap", "stat", "nfsacl")
"""What Wireshark calls the programs that we decode."""

CHUNK = 1 << 18
NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


@dataclass(slots=True)
class Shown:
    """One message. `fields` are name, what Wireshark shows of the value, and its bytes in hex."""

    frame: int
    fields: list[tuple[str, str, str]] = field(default_factory=list)

    def first(self, name: str) -> str | None:
        """What is shown of the first field of a name."""
        return next((show for known, show, _ in self.fields if known == name), None)


def shown(
    tshark: str, path: str, preferences: dict[str, str], names: frozenset[str], first: int | None
) -> Iterator[Shown]:
    """The messages of a capture, of its `first` frames only where that is given."""
    command = [tshark, "-n", "-r", path, "-Y", "rpc", "-T", "pdml", "-J", " ".join(("rpc", *PROGRAMS))]
    for preference, value in preferences.items():
        command += ["-o", f"{preference}:{value}"]
    if first is not None:
        command += ["-c", str(first)]
    with (
        tempfile.TemporaryFile() as complaints,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complaints) as process,
    ):
        assert process.stdout is not None
        number = 0
        try:
            for message in _Reader(names).read(process.stdout):
                number += 1
                yield message
        except BaseException as error:  # whoever reads may stop before tshark has said all
            process.kill()
            if isinstance(error, expat.ExpatError):
                raise AnalyzerError(f"{path}: what tshark says of it cannot be read: {error}") from None
            raise
        if process.wait() > 0 and not number:  # it complains of captures that are cut short, too
            complaints.seek(0)
            said = complaints.read().decode(errors="replace").splitlines() or ["tshark failed"]
            raise AnalyzerError(f"{path}: {said[-1]}")


class _Reader:
    """Gathers messages from elements."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names
        self._done: list[Shown] = []
        self._frame = 0
        self._protocol = ""
        self._message = Shown(0)

    def read(self, stream: IO[bytes]) -> Iterator[Shown]:
        """All messages of a stream."""
        parser = expat.ParserCreate()
        parser.StartElementHandler = self._element
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        some = False
        while chunk := stream.read(CHUNK):
            some = True
            parser.Parse(NOT_XML.sub("?", decoder.decode(chunk)))
            done, self._done = self._done[:-1], self._done[-1:]  # the last may go on
            yield from filter(_is_message, done)
        if some:
            parser.Parse("", True)  # complains of an end that is missing
        yield from filter(_is_message, self._done)

    def _element(self, tag: str, known: dict[str, Any]) -> None:
        name = known.get("name", "")
        if tag == "field":
            if name in self._names and "hide" not in known and self._belongs(name):
                self._message.fields.append((name, known.get("show", ""), known.get("value", "")))
            elif name == "num" and self._protocol == "geninfo":
                self._frame = int(known["show"])
        elif tag == "proto":
            self._protocol = name
            if name == "rpc":
                self._message = Shown(self._frame)
                self._done.append(self._message)

    def _belongs(self, name: str) -> bool:
        """The header belongs to RPC: a program's tree repeats parts of it."""
        return name.startswith("rpc.") == (self._protocol == "rpc")


def _is_message(message: Shown) -> bool:
    """What Wireshark calls RPC without a head is the rest of something that it lost."""
    return message.first("rpc.xid") is not None
