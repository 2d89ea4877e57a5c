"""A laboratory's capture as a report sees it.

In: a laboratory, filters. Out: a `View`; sheets as lists of short tuples.

Never: judges.
"""

from __future__ import annotations

from typing import Any

from analyzer.render.sheet import Sheet
from analyzer.render.view import Filters, View
from tests.findings.lab import Lab
from tests.network import BEGIN, SECOND


def view(lab: Lab, **filters: Any) -> View:
    """What lockscope makes of the capture up to now, through filters."""
    return View(lab.world.analyze(), Filters(**filters))


def now(lab: Lab) -> float:
    """Seconds since the laboratory's clock began."""
    return (lab.world.clock - BEGIN) / SECOND


def cells(sheet: Sheet, *names: str) -> list[tuple[Any, ...]]:
    """Some cells of each row."""
    return [tuple(row[name] for name in names) for row in sheet.rows]
