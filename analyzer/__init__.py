"""lockscope: what servers and clients of NFSv3 believe about locks and mounts, read from packet captures.

    import analyzer
    analysis = analyzer.analyze(["server.pcap"])
    analysis.findings          # a DataFrame; so are .calls, .locks, .waits, .mounts, ...
    analysis.to_json()         # the same document as `lockscope analyze --format json`
    for event in analyzer.live("eth0"): ...   # findings as they open and are resolved

The folders are the stages of the data flow: capture, frames, segments, messages, records, sessions, findings,
render. Importing this package imports none of them, and nothing heavy.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from analyzer.errors import AnalyzerError

if TYPE_CHECKING:
    from analyzer.render.api import Analysis

__all__ = ["AnalyzerError", "__version__", "analyze", "live"]

__version__ = "0.1.0"


def analyze(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    server_model: str = "auto",
    parameters: Mapping[str, float] | None = None,
    anonymize: bool | bytes = False,
) -> Analysis:
    """Analyse captures (files, directories, `-`) as one, in time order. Raises `AnalyzerError`.

    `server_model` says how the servers tell owners apart: linux, ganesha, strict, or auto (by their handles).
    `parameters` sets windows (in seconds) and thresholds; `docs/reference/parameters.md` lists them.
    `anonymize` replaces names and addresses, by a new key or by the one that is given; `docs/anonymize.md`
    says what that leaves.
    """
    from analyzer.render.api import Analysis

    veil = None
    if anonymize is not False:
        from analyzer.render.anonymous import veil_of

        veil = veil_of(None if anonymize is True else anonymize)
    listed = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    return Analysis([os.fspath(path) for path in listed], server_model, parameters or {}, veil)


def live(
    source: str,
    *,
    capture_filter: str | None = None,
    server_model: str = "auto",
    parameters: Mapping[str, float] | None = None,
) -> Iterator[dict[str, Any]]:
    """Watch an interface (or `-`, a capture on standard input): events as `lockscope live --jsonl` has them.

    Goes on until the capture ends or nobody asks for more. Raises `AnalyzerError`.
    """
    from analyzer.watch.api import events

    return events(source, capture_filter, server_model, parameters or {})
