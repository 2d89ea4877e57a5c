"""What a person sees in a terminal: findings as they come, and below them how things stand.

In: entries, looks. Out: lines that scroll, and a block at the bottom that is written anew with each look.

Theory. rich draws; what is drawn is text that was cleaned, never markup, for names come from the wire.
Findings scroll by and stay in the terminal's history; what changes all the time does not.

Never: draws more than fits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from analyzer.findings.catalogue import RULES
from analyzer.findings.rule import file_name
from analyzer.findings.standing import waiting_behind
from analyzer.render.clean import clean
from analyzer.render.times import clock, span
from analyzer.watch.diary import OPEN, Entry
from analyzer.watch.lines import line
from analyzer.watch.loop import Watch
from analyzer.watch.state import State, state_of

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.table import Table
    from rich.text import Text

MOST_LOCKS = 8
STYLES = {
    "critical": "bold magenta",
    "high": "bold red",
    "medium": "bold yellow",
    "low": "cyan",
    "info": "dim",
}


class Screen:
    """Draws a watch."""

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = console or Console()
        self._live = Live(console=self._console, auto_refresh=False)

    def tell(self, entries: Sequence[Entry], watch: Watch) -> None:
        """Write what is new, and how things stand."""
        self._live.start()
        for entry in entries:
            if not RULES[entry.finding.code].at_end:
                self._live.console.print(_told(entry), soft_wrap=True)
        self._live.update(_picture(state_of(watch), watch), refresh=True)
        if watch.analysis is not None:
            self.close()

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._live.stop()


def _told(entry: Entry) -> Text:
    from rich.text import Text

    style = STYLES[entry.finding.severity.name.lower()] if entry.state == OPEN else "green"
    return Text(line(entry), style=style)


def _picture(state: State, watch: Watch) -> Group:
    from rich.console import Group
    from rich.text import Text

    return Group(Text(""), Text(headline(state), style="bold"), _locks(state, watch))


def headline(state: State) -> str:
    """One line of numbers."""
    parts = [
        clean(state.source),
        clock(state.now)[:19] if state.now else "waiting for packets",
        f"{state.packets:,} packets ({state.rate:,.0f}/s), {_drops(state)}",
        f"{len(state.findings)} findings open",
        f"{len(state.held)} locks held, {len(state.waiting)} waiting",
        f"{state.mounted} mounts",
        *((f"{state.ports} ports captured",) if state.ports else ()),
    ]
    return " | ".join(parts)


def _drops(state: State) -> str:
    return f"{state.drops:,} dropped" if state.drops or state.tells_drops else "drops not told yet"


def _locks(state: State, watch: Watch) -> Table:
    """The locks that others wait for, then the oldest."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="dim", pad_edge=False)
    for name in ("client", "file", "held for", "waiting behind it"):
        table.add_column(name, overflow="ellipsis", no_wrap=True)
    s = watch.sessions
    behind = {lock: len(waits) for lock, waits in waiting_behind(s).items()}
    for lock in sorted(state.held, key=lambda one: (-behind.get(one, 0), one.granted.time))[:MOST_LOCKS]:
        cells = (
            s.hosts.address(lock.client),
            clean(file_name(s, lock.file)),
            span(max(0, state.now - lock.granted.time)),
            str(behind.get(lock, "")),
        )
        table.add_row(*map(Text, cells))
    return table
