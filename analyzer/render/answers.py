"""The answers of the verbs `locks` and `mounts`: which sheets each question gets.

In: a `View`, and what was asked. Out: sheets.

Theory. Without a question all there is; with a time, or for what stands, the moment; else the report that was
asked for.

Never: formats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from analyzer.render import rows
from analyzer.render.callbacks import callback_paths
from analyzer.render.moment import Moment
from analyzer.render.mounted import listed, mount_sessions
from analyzer.render.recovery import recovery
from analyzer.render.release import CELLS as PINS
from analyzer.render.said import said
from analyzer.render.sheet import OF_RANGE, Cell, Sheet, of_table, offset
from analyzer.render.timeline import timeline
from analyzer.render.waiting import wait_times

if TYPE_CHECKING:
    from analyzer.render.rows import Row
    from analyzer.render.view import View

LOCKS = (
    Cell("lock", "int"),
    Cell("client", "category"),
    *OF_RANGE,
    Cell("granted_time", "time", "granted"),
    Cell("granted_frame", "int", "frame"),
    Cell("ends", "text"),
    Cell("ledger", "category", "state"),
    Cell("waiters", "int"),
)
WAITS = (
    Cell("wait", "int"),
    Cell("client", "category"),
    *OF_RANGE,
    Cell("since_time", "time", "since"),
    Cell("since_frame", "int", "frame"),
    Cell("ended", "text"),
    Cell("blockers", "list", "behind lock"),
)
REPORTS: dict[str, Callable[[View], Iterable[Sheet]]] = {
    "timeline": lambda view: [timeline(view)],
    "callbacks": lambda view: [callback_paths(view)],
    "wait-times": wait_times,
    "recovery": recovery,
}


def locks(view: View, report: str | None, at: int | None, held: bool, waiting: bool) -> list[Sheet]:
    """The answer of `locks`."""
    if report is not None:
        return list(REPORTS[report](view))
    if at is None and not held and not waiting:
        return _all_locks(view)
    moment, both = Moment(view, at), held == waiting
    return [sheet() for sheet, wanted in ((moment.held, held), (moment.waiting, waiting)) if wanted or both]


def _all_locks(view: View) -> list[Sheet]:
    locks = [said(row) | {"ends": _lock_ends(view, row)} for row in rows.locks(view)]
    waits = [said(row) | {"ended": _wait_end(view, row)} for row in rows.waits(view)]
    return [
        Sheet("locks", "Locks", LOCKS, locks, "No locks.", keys=of_table("locks")),
        Sheet("waits", "Waits", WAITS, waits, "Nobody waits.", keys=of_table("waits")),
    ]


def _lock_ends(view: View, row: Row) -> str:
    """How a lock ended; where only one side let go of it, which."""
    sides = [side for side in ("server", "client") if row[f"{side}_end_time"] is not None]
    if not sides:
        return "-"
    end = f"{offset(view, row[f'{sides[0]}_end_time'])} {row[f'{sides[0]}_end_reason']}"
    return end if len(sides) == 2 or row["ledger"] == "released" else f"{end} ({sides[0]} only)"


def _wait_end(view: View, row: Row) -> str:
    """When and how a wait ended."""
    ended = row["ended_time"]
    return "-" if ended is None else f"{offset(view, ended)} {row['ended_reason']}"


def mounts(view: View, at: int | None) -> list[Sheet]:
    """The answer of `mounts`."""
    moment = Moment(view, at)
    return [mount_sessions(view, moment), moment.held(quiet=True), listed(view, moment)]


HEAD = """\
What `lockscope locks` and `mounts` print with `--format json`: an object with `schema`, `at` (the time asked
for, or null) and a list of objects for each part. A key is never missing; what does not apply is null. Bytes
are lower-case hex, times RFC 3339 in UTC. The release check has `export` too. What a key means:
[tables](tables.md)."""


def reference(view: View) -> Iterator[str]:
    """The keys of all answers as Markdown; any view will do, keys do not depend on rows."""
    yield "# Answers"
    yield ""
    yield from HEAD.splitlines()
    for command, schema, sheets in _all_answers(view):
        yield ""
        yield f"## {command}"
        yield ""
        yield f"`{schema}`"
        yield ""
        for sheet in sheets:
            yield f"- `{sheet.name}`: " + ", ".join(
                f"`{cell.name}` ({TYPES.get(cell.kind, 'text')})" for cell in sheet.keys or sheet.cells
            )


TYPES = {
    "int": "integer",
    "uint": "integer",
    "bool": "boolean",
    "hex": "hex",
    "list": "list of integers",
    "time": "time",
    "duration": "seconds",
}


def _all_answers(view: View) -> Iterator[tuple[str, str, list[Sheet]]]:
    yield "locks", "lockscope.locks/1", locks(view, None, None, False, False)
    yield "locks --held --waiting --at TIME", "lockscope.locks/1", locks(view, None, None, True, True)
    for name in REPORTS:
        yield f"locks --{name}", "lockscope.locks/1", locks(view, name, None, False, False)
    yield "mounts", "lockscope.mounts/1", mounts(view, None)
    yield "mounts --release-check EXPORT", "lockscope.release/1", [Sheet("pins", "", PINS, [], "")]
