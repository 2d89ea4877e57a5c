"""What a Python program gets of a live capture: its events, one after the other.

In: an interface, or `-` for standard input. Out: dicts, as `lockscope live --jsonl` writes them.

Theory. A generator: packets are read while the next event is waited for. Whoever stops asking ends the
capture; so does its end.

Never: touches signals; keeps an event.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from analyzer.capture.source import STDIN
from analyzer.engine import Engine
from analyzer.errors import AnalyzerError
from analyzer.parameters import settings
from analyzer.render.document import Json
from analyzer.watch.journal import event
from analyzer.watch.loop import Watch
from analyzer.watch.rehearsal import rehearse
from analyzer.watch.run import Capture, from_interface, from_stdin


def events(
    source: str, capture_filter: str | None, server_model: str, parameters: Mapping[str, float]
) -> Iterator[Json]:
    """Findings as they open and are resolved. Raises `AnalyzerError` where the capture ends by itself."""
    rehearse()
    engine = Engine(True, server_model, settings=settings(parameters))
    capture = from_stdin() if source == STDIN else from_interface(source, capture_filter)
    try:
        watch = Watch(capture.pump, engine, None, capture.drops)
        capture.attend(watch)
        yield from _told(watch, capture)
    finally:
        capture.close()


def _told(watch: Watch, capture: Capture) -> Iterator[Json]:
    try:
        for entries in watch.entries():
            capture.follow()
            yield from map(event, entries)
    except AnalyzerError as error:
        raise AnalyzerError(capture.close() or str(error)) from None
    if why := capture.close():
        raise AnalyzerError(why)
