"""Rules and what they yield.

In: a function over `Sessions`. Out: a `Rule` (code, family, severity, page, check), the `Case`s it sees,
and the `Finding`s made of them.

Theory. One rule is one object. Its docstring is its page: the first line says what the capture shows, then
sections with fixed titles. The text, `explain`, the tables and the reports derive from it. A rule yields a
`Case` for every occurrence; cases of one code about one server, client and file (or export) are one finding
with a count. A case says what it rests on: what was seen, where a message that was missed would change it,
which locks must still stand, when its waiting window is over. How sure it is follows from that (`grading`).

Never: reads the wire.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple, TypedDict

from analyzer.frozen import frozen
from analyzer.records.events import Call
from analyzer.sessions.model import File, Lock, Owner, Place, Wait
from analyzer.sessions.operations import Operation
from analyzer.sessions.world import Sessions

SECOND = 1_000_000_000


class Severity(IntEnum):
    """How bad it is."""

    INFO = 0
    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4


class Confidence(IntEnum):
    """How sure it is."""

    POSSIBLE = 1
    PROBABLE = 2
    DEFINITE = 3


INFO, LOW, MEDIUM, HIGH, CRITICAL = Severity
POSSIBLE, PROBABLE, DEFINITE = Confidence

FAMILIES = ("leaks", "callbacks", "unmount", "recovery", "security", "performance", "visibility")
SECTIONS = ("What it is", "Why it matters", "What to do", "Evidence", "When it is a false alarm")


class Watch(NamedTuple):
    """A stretch of the conversation that a call belongs to (ns)."""

    call: Call
    since: int
    until: int


@dataclass(slots=True)
class Case:
    """One occurrence of what a rule looks for. Hosts are host rows, -1 where it does not apply."""

    message: str
    frames: Iterable[int]
    first: Place
    last: Place | None = None
    confidence: Confidence = DEFINITE
    severity: Severity | None = None
    server: int = -1
    client: int = -1
    peer: int = -1
    export: str | None = None
    path: str | None = None
    file: File | None = None
    owner: Owner | None = None
    range: tuple[int, int] | None = None
    watched: Sequence[Watch] = ()  # where a message that the capture missed would change it
    stands: Sequence[Lock] = ()  # locks that it takes for held up to the end, as nothing released them
    untraced: bool = False  # a datagram may be missing, of which nothing shows the loss
    due: int = 0  # when its waiting window is over, where it waits for something that was not seen (ns)
    older: bool = False  # what was there before the capture may matter
    unheralded: bool = False  # it is odd only because something that comes before it was not seen
    guessed: bool = False  # it depends on how the server tells owners apart, and nothing shows that
    demote: int = 0  # what else speaks against it
    group: object = None  # what besides server, client, file and export tells findings apart
    one: object = None  # where set: all cases with this are one finding, whatever they are about
    remedy: str | None = None
    cause: object = None  # the object (lock, notice, grace ...) whose finding explains this one
    subject: object = None  # the object this one is about, for others to name as their cause


@frozen
class Rule:
    """One entry of the catalogue."""

    code: str
    family: str
    severity: Severity
    check: Callable[[Sessions], Iterator[Case]]
    title: str
    sections: dict[str, str]
    at_end: bool = False  # it is about the end, or the whole, of a capture

    @property
    def remedy(self) -> str:
        """The first paragraph of what to do, on one line."""
        return " ".join(self.sections["What to do"].split("\n\n")[0].split())


def rule(
    code: str, severity: Severity, family: str | None = None, at_end: bool = False
) -> Callable[[Callable[[Sessions], Iterator[Case]]], Rule]:
    """Make a rule of a check; its docstring is its page.

    Its family is that of its module (`leaks_races` is of the leaks), unless it says otherwise. `at_end`: it
    speaks of the end or the whole of a capture, and is not asked while one goes on.
    """

    def made(check: Callable[[Sessions], Iterator[Case]]) -> Rule:
        title, sections = page(check.__doc__ or "")
        missing = [name for name in SECTIONS if name not in sections]
        if missing:
            raise TypeError(f"rule {code} has no section {', '.join(missing)}")
        home = check.__module__.rsplit(".", 1)[1].split("_")[0]
        return Rule(code, family or home, severity, check, title, sections, at_end)

    return made


def page(text: str) -> tuple[str, dict[str, str]]:
    """Title and sections of a rule's docstring."""
    lines = [line.removeprefix("    ") for line in text.strip("\n").split("\n")]
    parts = re.split(r"^## (.+)$", "\n".join(lines), flags=re.MULTILINE)
    sections = {parts[i].strip(): parts[i + 1].strip() for i in range(1, len(parts) - 1, 2)}
    return parts[0].strip(), sections


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding, as the reports show it. Times are ns since the epoch."""

    id: str
    code: str
    family: str
    severity: Severity
    confidence: Confidence
    server: str | None
    client: str | None
    peer: str | None
    export: str | None
    path: str | None
    fh: str | None
    owner: tuple[bytes, int, bytes] | None  # caller, svid, oh
    range: tuple[int, int] | None  # first and last byte; the last may be EOF
    first_time: int
    last_time: int
    frames: tuple[int, ...]
    count: int
    message: str
    remedy: str
    caused_by: tuple[str, ...] = field(default=())


class About(TypedDict, total=False):
    """The fields of a case that say what it is about."""

    server: int
    client: int
    peer: int
    file: File | None
    path: str | None
    export: str | None
    owner: Owner | None
    range: tuple[int, int] | None


def of_lock(s: Sessions, lock: Lock) -> About:
    """A case about a lock."""
    return _of(s, lock.server, lock.client, lock.file, lock.owner, (lock.start, lock.end))


def of_wait(s: Sessions, wait: Wait) -> About:
    """A case about a waiting request."""
    return _of(s, wait.file.server, wait.client, wait.file, wait.owner, (wait.start, wait.end))


def of_operation(s: Sessions, operation: Operation) -> About:
    """A case about a request of a client."""
    extent = (operation.start, operation.end)
    return _of(s, operation.responder, operation.requester, operation.file, operation.owner, extent)


def _of(
    s: Sessions, server: int, client: int, file: File | None, owner: Owner | None, extent: tuple[int, int]
) -> About:
    about = About(server=server, client=client, owner=owner, range=extent)
    if file is not None:
        export = s.handles.export(file.fh)
        about["file"] = file
        about["path"] = s.handles.path(file.fh)
        about["export"] = export.path if export else None
    return about


def file_name(s: Sessions, file: File | None) -> str:
    """What to call a file in a sentence."""
    if file is None:
        return "a file"
    path = s.handles.path(file.fh)
    return path if path is not None else f"file handle {(s.handles.text(file.fh) or '')[:16]}…"


def seconds(ns: int) -> str:
    """A stretch of time in words."""
    if ns < 10 * SECOND:
        return f"{ns / SECOND:.1f} s"
    if ns < 600 * SECOND:
        return f"{ns / SECOND:.0f} s"
    if ns < 7200 * SECOND:
        return f"{ns / SECOND / 60:.0f} min"
    return f"{ns / SECOND / 3600:.1f} h"


def mode(lock: Lock) -> str:
    """Exclusive or shared, with its article."""
    return "an exclusive" if lock.exclusive else "a shared"
