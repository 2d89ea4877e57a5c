"""RPC messages without names: what identifies somebody is replaced where it stands.

In: the messages of a block, before anything else reads them; `Pseudonyms`. Out: the same messages, each as
long as it was.

Theory. A message says by its declaration where its names, paths, owners and handles are; there they are
overwritten in memory, so that tables, findings and reports are made of pseudonyms alone and no later place
can forget one. Replacements have the length of what they replace, so that lengths, record marks and TCP's
sequence numbers stay true. What no declaration explains (programs that are only counted, credentials other
than AUTH_SYS, verifiers, what follows a fault, calls within calls, data that is read or written) is
overwritten with zeros. Numbers stay: cookies, svids, users and groups, sizes, times, ports, xids.

Never: changes a length; lets through bytes that it does not understand.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from analyzer.errors import AnalyzerError
from analyzer.faults import Fault
from analyzer.messages.row import matrix_of
from analyzer.protocols import find
from analyzer.protocols.rpc import AUTH_NONE, AUTH_SYS, AUTH_SYS_BODY
from analyzer.render.pseudonyms import Pseudonyms
from analyzer.schema.scalar import Span, spans
from analyzer.schema.xdr import Text, padded
from analyzer.tables import Bytes, Messages

if TYPE_CHECKING:
    from analyzer.engine import Analysis
    from analyzer.render.view import Filters

PRIVACY = 3
HANDLES = ("fh", "dir_fh", "from_dir_fh", "to_dir_fh", "link_dir_fh")
OWNERS = ("oh", "priv")
HARMLESS = ("cookie", "verf", "cookieverf", "netid", "nc_netid", "nc_proto", "nc_protofmly")
"""Numbers that count or tell restarts apart, and names of transports."""
BLANKED = ("args", "res", "buf", "data")
"""A message within a message, an address in a form of its own, file contents."""
LEAST_KEY = 16  # bytes
ACCEPTED, CALL_HEAD, REPLY_HEAD = 0, 32, 20
STOPS = (Fault.XDR_SHORT, Fault.XDR_LIMIT, Fault.XDR_DEPTH)
LENGTH_WORD = 4  # of the field at which a message stops: without it the fault would be another one


class Veil:
    """Rewrites messages: give it to `analyze` as its first tap. `lost` counts what could not be shown."""

    def __init__(self, names: Pseudonyms) -> None:
        self.names = names
        self.lost: Counter[str] = Counter()

    def __call__(self, memory: Bytes, messages: Messages, count: int, engine: Any) -> None:
        """Rewrite the messages of a block, and have hosts and files called otherwise from here on."""
        engine.sessions.hosts.alias = self.names.host
        engine.places.paths[:] = [capture_name(at) for at, _ in enumerate(engine.places.paths, 1)]
        for row in matrix_of(messages)[:, :count].T.tolist():
            m = Messages._make(row)
            start, stop = int(m.start), int(m.start) + int(m.kept)
            memory[start:stop] = memoryview(self.message(memory[start:stop].tobytes(), m))

    @staticmethod
    def rename(analysis: Analysis) -> None:
        """Have the captures of an analysis called otherwise."""
        for at, info in enumerate(analysis.captures, 1):
            if info.damage is not None:
                info.damage = info.damage.replace(info.path, capture_name(at))
            info.path = capture_name(at)

    def message(self, raw: bytes, m: Any) -> bytes:
        """A message whose columns are `m`; its bytes begin at `m.start`."""
        out = bytearray(raw)
        if m.reply:
            _blank_verifier(out, REPLY_HEAD - 8)
        elif m.cred >= 0:
            self._credentials(out, m)
        begin = int(m.body - m.start)
        if 0 <= begin < len(out):
            out[begin:] = self._body(bytes(out[begin:]), m)
        return bytes(out)

    def _credentials(self, out: bytearray, m: Any) -> None:
        begin, size = int(m.cred - m.start), int(m.cred_size)
        if m.flavor == AUTH_SYS:
            body = bytes(out[begin : begin + size])
            out[begin : begin + len(body)] = self._replaced(AUTH_SYS_BODY, body, len(body))
        elif m.flavor != AUTH_NONE and m.gss <= 0:
            _blank(out, begin, begin + size)
        _blank_verifier(out, begin + padded(size))

    def _body(self, body: bytes, m: Any) -> bytes:
        declared = find(m.program, m.version, m.procedure)
        said = declared.body(m.reply) if declared is not None else None
        if said is None or m.gss == PRIVACY or (m.reply and m.status != ACCEPTED):
            return bytes(len(body))
        kept = body[: m.body_kept]
        return self._replaced(said, kept, m.body_size) + bytes(len(body) - len(kept))

    def _replaced(self, declared: Any, data: bytes, size: int) -> bytes:
        """Arguments, results or credentials, without what identifies and without what is not understood."""
        found, decoded = spans(declared, data, size)
        out = bytearray(data)
        for span in found:
            out[span.start : span.stop] = self._span(span, data[span.start : span.stop])
        _blank(out, decoded.end + (LENGTH_WORD if decoded.fault in STOPS else 0), len(out))
        return bytes(out)

    def _span(self, span: Span, data: bytes) -> bytes:
        if span.name in HARMLESS:
            return data
        if not span.kept or span.name in BLANKED:
            return bytes(len(data))
        if isinstance(span.type, Text):
            return self.names.text(data)
        treat: Callable[[bytes], bytes] = self.names.handle if span.name in HANDLES else self.names.owner
        return treat(data)

    # -- what a user names ----------------------------------------------------------------------

    def filters(self, wanted: Filters) -> Filters:
        """Filters that mean the same of what is rewritten."""
        return replace(
            wanted,
            client=self._host(wanted.client),
            server=self._host(wanted.server),
            file=self._file(wanted.file),
        )

    def _host(self, host: str | None) -> str | None:
        return None if host is None else self.names.text(host.strip("[]").encode()).decode("utf-8", "replace")

    def _file(self, file: str | None) -> str | None:
        if file is None:
            return None
        try:
            return self.names.handle(bytes.fromhex(file)).hex()
        except ValueError:
            return self.names.text(file.encode()).decode("utf-8", "replace")


def capture_name(number: int) -> str:
    """What a capture file is called where its own name may tell too much."""
    return f"capture-{number}"


def veil(wanted: bool, path: str | None) -> Veil:
    """A veil with the key in a file, or with a new one; raises where only a key is given."""
    if not wanted:
        raise AnalyzerError("--anonymize-key: is of use with --anonymize only")
    if path is None:
        return veil_of(None)
    with open(path, "rb") as stream:  # noqa: PTH123 (a pipe is welcome)
        return veil_of(stream.read(1 << 16), f"{path}: ")


def veil_of(key: bytes | None, where: str = "") -> Veil:
    """A veil with a key, or with a new one; raises where the key is too short to be one."""
    if key is None:
        key = os.urandom(LEAST_KEY)
    if len(key) < LEAST_KEY:
        raise AnalyzerError(f"{where}a key has at least {LEAST_KEY} bytes; head -c 32 /dev/urandom makes one")
    return Veil(Pseudonyms(key))


def _blank(out: bytearray, start: int, stop: int) -> None:
    """Overwrite what is there of some bytes."""
    stop = min(stop, len(out))
    if start < stop:
        out[start:stop] = bytes(stop - start)


def _blank_verifier(out: bytearray, at: int) -> None:
    """Blank the body of a verifier whose flavor stands at `at`."""
    size = int.from_bytes(out[at + 4 : at + 8], "big")
    _blank(out, at + 8, at + 8 + min(size, 400))
