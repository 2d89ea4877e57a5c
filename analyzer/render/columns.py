"""The columns of every table: name, type, meaning, unit, once.

In: nothing. Out: `TABLES`: for each table its columns in order.

Theory. CSV, Parquet, JSON lines, DataFrames and the reference page all follow this list, so that they
cannot disagree, and a table without rows has its types all the same.

Never: holds a value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache

from analyzer.frozen import frozen

SEVERITIES = ("info", "low", "medium", "high", "critical")
CONFIDENCES = ("possible", "probable", "definite")

KINDS = {
    "int": "Int64",
    "uint": "UInt64",
    "bool": "boolean",
    "text": "string",
    "wire": "string",  # text as the wire has it
    "path": "category",
    "hex": "string",
    "category": "category",
    "severity": "ordered category",
    "confidence": "ordered category",
    "time": "datetime64[ns, UTC]",
    "duration": "timedelta64[ns]",
    "list": "list of Int64",
}
"""What each kind of column is in a DataFrame."""


@frozen
class Column:
    """One column of a table."""

    name: str
    kind: str
    meaning: str
    unit: str = ""


def _c(name: str, kind: str, meaning: str, unit: str = "") -> Column:
    return Column(name, kind, meaning, unit)


SERVER = _c("server", "category", "the host that keeps the lock or the export")
CLIENT = _c("client", "category", "the host that asks for it")
OF_FILE = (
    _c("export", "path", "export the file is in"),
    _c("path", "path", "path on the server, `...` in front where it does not reach a mount"),
    _c("fh", "hex", "file handle"),
)
OF_OWNER = (
    _c("caller_name", "wire", "host of the owner, as it calls itself"),
    _c("svid", "int", "owner's process number, or a stand-in for it"),
    _c("oh", "hex", "owner, opaque"),
)
OF_RANGE = (
    _c("start", "uint", "first byte", "bytes"),
    _c("end", "uint", "last byte, null for the end of the file", "bytes"),
)
EXCLUSIVE = _c("exclusive", "bool", "write lock rather than read lock")


def _place(name: str, meaning: str) -> tuple[Column, Column]:
    return _c(f"{name}_time", "time", meaning), _c(f"{name}_frame", "int", f"{meaning}: the frame")


def _end(name: str, meaning: str) -> tuple[Column, ...]:
    return *_place(name, meaning), _c(f"{name}_reason", "category", f"{meaning}: how")


OF_EVERY_CALL = (
    _c("call_frame", "int", "frame in which the call is complete; null for a reply without a call"),
    _c("call_first_frame", "int", "frame in which the call begins"),
    _c("reply_frame", "int", "frame in which the first reply is complete; null where none was seen"),
    _c("retransmit_of", "int", "for a copy sent again: `call_frame` of the first"),
    _c("file", "category", "capture the row's first message is in"),
    _c("frame_in_file", "int", "its frame there"),
    _c("time", "time", "time of `call_frame`, or of the reply where there is no call"),
    _c("latency", "duration", "from call to first reply"),
    _c("client", "category", "sender of the call"),
    _c("client_port", "int", "its port"),
    _c("server", "category", "receiver of the call"),
    _c("server_port", "int", "its port"),
    _c("transport", "category", "TCP or UDP"),
    _c("xid", "int", "what pairs call and reply"),
    _c("program", "category", "RPC program; a number where it is unknown"),
    _c("version", "int", "version of the program"),
    _c("procedure", "category", "procedure; a number where it is unknown"),
    _c("rpc_status", "category", "what RPC says of the call"),
    _c("status", "category", "what the procedure says, in the standard's spelling"),
    _c("auth", "category", "credential flavor of the call"),
    _c("uid", "int", "user of an AUTH_SYS call"),
    _c("gid", "int", "group of an AUTH_SYS call"),
    _c("machine", "wire", "host name in an AUTH_SYS call"),
    _c("retransmits", "int", "copies of this call that were sent later"),
    _c("call_bytes", "int", "size of the call message", "bytes"),
    _c("reply_bytes", "int", "size of the reply message", "bytes"),
)

LOCKS = (
    _c("lock", "int", "number of the lock in this capture"),
    SERVER,
    *OF_FILE,
    CLIENT,
    *OF_OWNER,
    *OF_RANGE,
    EXCLUSIVE,
    _c("how", "category", "how it was granted: reply, poll, callback, reclaim, duplicate"),
    _c("version", "int", "NLM version"),
    _c("transport", "category", "TCP or UDP"),
    _c("request_frame", "int", "frame of the first LOCK call"),
    *_place("granted", "when the server granted it"),
    *_place("believed", "when the client learnt of it"),
    *_end("server_end", "when the server let go of it"),
    *_end("client_end", "when the client let go of it"),
    _c("ledger", "category", "at the end: held by both, leak (server only), lost (client only), released"),
    _c("server_side", "category", "held or free, as the server must believe"),
    _c("client_side", "category", "held or free, as the client must believe"),
    _c("waiters", "int", "requests that waited behind it"),
    _c("denials", "int", "requests that it was the reason to refuse"),
    _c("reclaims", "int", "times it was taken again after a restart"),
    _c("overruled_by", "int", "lock that was granted over it"),
)
WAITS = (
    _c("wait", "int", "number of the wait in this capture"),
    SERVER,
    *OF_FILE,
    CLIENT,
    *OF_OWNER,
    *OF_RANGE,
    EXCLUSIVE,
    *_place("since", "when the request was made"),
    *_end("ended", "when the wait was over"),
    _c("waited", "duration", "how long it lasted"),
    _c("polls", "int", "times the client asked again"),
    _c("callbacks", "int", "GRANTED callbacks for it"),
    _c("lock", "int", "the lock it ended in"),
    _c("blockers", "list", "locks it waited behind"),
)
MOUNTS = (
    SERVER,
    CLIENT,
    _c("export", "path", "path as mounted"),
    _c("state", "category", "mounted, in use (no MNT seen), unmounted, used after unmount"),
    _c("mounts", "int", "MNT that succeeded"),
    _c("umounts", "int", "UMNT and UMNTALL that were answered"),
    _c("open", "int", "mounts that no UMNT has ended"),
    _c("before_capture", "bool", "whether it was in use before the first MNT seen"),
    *_place("first_mnt", "first MNT"),
    *_place("last_umnt", "last UMNT"),
    *_place("first_nfs", "first NFS call on the export"),
    *_place("last_nfs", "last NFS call on the export"),
    _c("nfs_calls", "int", "NFS calls on the export"),
    _c("calls_after_umnt", "int", "NFS calls after the last UMNT, flushing left aside"),
    _c("locks_held", "int", "locks of the client on the export that the server holds at the end"),
    _c("rebooted_time", "time", "when the client said that it had rebooted"),
)
REBOOTS = (
    _c("kind", "category", "notice (SM_NOTIFY) or grace (a stretch in which a server takes reclaims only)"),
    SERVER,
    CLIENT,
    _c("host", "category", "host that rebooted, as the notice says"),
    _c("name", "wire", "name in the notice"),
    _c("state", "int", "NSM state, odd while up"),
    _c("role", "category", "what the host is to the other: client, server, forged, other"),
    _c("time", "time", "first copy of the notice, or first refusal in grace"),
    _c("frame", "int", "its frame"),
    _c("copies", "int", "times the notice was sent"),
    _c("end_time", "time", "answer to the notice, or first ordinary answer after grace"),
    _c("end_frame", "int", "its frame"),
    _c("locks", "int", "locks that it ended"),
    _c("refusals", "int", "requests refused in grace"),
)
CALLBACKS = (
    SERVER,
    *OF_FILE,
    CLIENT,
    _c("port", "int", "port that was called"),
    _c("version", "int", "NLM version"),
    _c("svid", "int", "owner's process number"),
    _c("oh", "hex", "owner, opaque"),
    *OF_RANGE,
    EXCLUSIVE,
    _c("time", "time", "first copy of the callback"),
    _c("frame", "int", "its frame"),
    _c("copies", "int", "times it was sent"),
    _c("verdict", "category", "match, late, wrong-sender, wrong-receiver, mismatch, unsolicited"),
    _c("differs", "text", "in what it differs from the request"),
    _c("status", "category", "what the client answered"),
    *_place("answer", "the answer"),
    _c("latency", "duration", "from callback to answer"),
    _c("wait_frame", "int", "frame of the request it is about"),
    _c("lock", "int", "the lock it granted"),
)
FINDINGS = (
    _c("id", "text", "the same in every run over the same capture"),
    _c("code", "category", "what was found; `lockscope explain CODE`"),
    _c("family", "category", "group of the code"),
    _c("severity", "severity", "how bad it is"),
    _c("confidence", "confidence", "how sure it is"),
    _c("server", "category", "server in the lock or mount relation"),
    _c(
        "client",
        "category",
        "client in the lock or mount relation; the victim of a forger; the loser of a lock",
    ),
    _c("peer", "category", "forger, or new owner"),
    *OF_FILE,
    *OF_OWNER,
    *OF_RANGE,
    _c("first_time", "time", "first occurrence"),
    _c("last_time", "time", "last occurrence"),
    _c("frames", "list", "frames that the verdict rests on"),
    _c("count", "int", "occurrences"),
    _c("message", "text", "what happened"),
    _c("remedy", "text", "what to do"),
    _c("caused_by", "text", "ids of findings that explain this one"),
)
HOSTS = (
    _c("address", "text", "IP address"),
    _c("name", "wire", "first name it gave itself"),
    _c("other_names", "wire", "further names"),
    _c("role", "category", "client, server, client and server; null where it does neither"),
    *_place("first", "first packet it sent"),
    *_place("last", "last packet it sent"),
    _c("packets", "int", "packets it sent"),
)
FILES = (
    SERVER,
    *OF_FILE,
    _c("is_root", "bool", "whether MNT gave this handle"),
    _c("locks", "int", "locks granted on it"),
)
HEALTH = (
    _c("name", "text", "a counter, or a fault of the capture"),
    _c("count", "int", "how often"),
    _c("first_frame", "int", "where first; null for the file itself"),
    _c("meaning", "text", "what it means"),
)

WITHOUT_CALLS = {
    "locks": LOCKS,
    "waits": WAITS,
    "mounts": MOUNTS,
    "reboots": REBOOTS,
    "callbacks": CALLBACKS,
    "findings": FINDINGS,
    "hosts": HOSTS,
    "files": FILES,
    "health": HEALTH,
}


class _Tables(Mapping[str, tuple[Column, ...]]):
    """All tables; what calls have besides is gathered from all declarations, when somebody asks for it."""

    def __getitem__(self, name: str) -> tuple[Column, ...]:
        return _calls() if name == "calls" else WITHOUT_CALLS[name]

    def __iter__(self) -> Iterator[str]:
        yield "calls"
        yield from WITHOUT_CALLS

    def __len__(self) -> int:
        return 1 + len(WITHOUT_CALLS)


@cache
def _calls() -> tuple[Column, ...]:
    from analyzer.records.fields import FIELDS

    decoded = (_c(f.name, "wire" if f.kind == "text" else f.kind, f.meaning, f.unit) for f in FIELDS)
    return (*OF_EVERY_CALL, *decoded)


TABLES = _Tables()

ROW = {
    "calls": "an RPC call as sent, and a reply whose call was not captured",
    "locks": "one grant of a lock and its life",
    "waits": "one request that was told to wait",
    "mounts": "what one client does with one export of one server",
    "reboots": "an announced reboot, or a stretch of grace",
    "callbacks": "one GRANTED callback",
    "findings": "one finding",
    "hosts": "an address that sent a packet",
    "files": "a file handle",
    "health": "a counter or a fault",
}


def head(name: str) -> bytes:
    """The first line of a table in CSV."""
    return (",".join(column.name for column in TABLES[name]) + "\n").encode()


HEAD = """\
What `lockscope export --table TABLE` writes and `analyzer.analyze(paths).TABLE` is: CSV, Parquet, JSON lines
and DataFrames have the same columns. Every column can be null. In CSV and JSON lines bytes are lower-case
hex, times RFC 3339 in UTC, durations seconds; in CSV lists are separated by spaces, and a text that a
spreadsheet would take for a formula has a `'` in front. What does not print in a name is `\\xNN`."""


def reference() -> Iterator[str]:
    """The page of all tables, as Markdown."""
    yield "# Tables"
    yield ""
    yield from HEAD.split("\n")
    for name, columns in TABLES.items():
        yield ""
        yield f"## {name}"
        yield ""
        yield f"A row is {ROW[name]}."
        yield ""
        yield "| column | type | unit | meaning |"
        yield "| --- | --- | --- | --- |"
        for column in columns:
            yield f"| `{column.name}` | {KINDS[column.kind]} | {column.unit} | {column.meaning} |"
