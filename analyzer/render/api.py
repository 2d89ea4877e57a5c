"""What a Python program gets: an analysis whose tables are DataFrames.

In: paths of captures. Out: `Analysis`.

Theory. A table is made when it is first asked for. The calls table is as large as the capture, so the
captures are read once more for it; what can be read only once (standard input, a pipe) has its calls kept
at once.

Never: imports pandas before a table is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analyzer.capture.source import STDIN
from analyzer.engine import analyze
from analyzer.parameters import settings
from analyzer.render import document
from analyzer.render.view import View

if TYPE_CHECKING:
    import pandas as pd

    from analyzer.engine import Analysis as Analysed
    from analyzer.engine import Health
    from analyzer.render.anonymous import Veil


class Analysis:
    """Everything known of some captures. Tables are DataFrames, typed also when they have no rows."""

    def __init__(
        self,
        paths: Sequence[str],
        server_model: str,
        parameters: Mapping[str, float],
        veil: Veil | None = None,
    ) -> None:
        self._paths = list(paths)
        self._veil = veil
        self._judging: Any = {"server_model": server_model, "settings": settings(parameters)}
        self._tables: dict[str, pd.DataFrame] = {}
        self._analysed: Analysed
        if any(path == STDIN or not (Path(path).is_file() or Path(path).is_dir()) for path in self._paths):
            self._tables["calls"] = self._calls(keep=True)
        else:
            self._analysed = self._analyze()

    def __repr__(self) -> str:
        seen = self._analysed.health
        return f"<Analysis: {seen.frames} frames, {len(self._analysed.findings)} findings>"

    def to_json(self) -> str:
        """The document `lockscope.analysis/1`, as `lockscope analyze --format json` prints it."""
        return document.text(View(self._analysed))

    @property
    def counters(self) -> Health:
        """How much of the traffic was seen and understood, as an object."""
        return self._analysed.health

    @property
    def calls(self) -> pd.DataFrame:
        """One row per RPC call as sent, and per reply without a call."""
        if "calls" not in self._tables:
            self._tables["calls"] = self._calls(keep=False)
        return self._tables["calls"]

    @property
    def locks(self) -> pd.DataFrame:
        """One row per grant of a lock."""
        return self._table("locks")

    @property
    def waits(self) -> pd.DataFrame:
        """One row per request that was told to wait."""
        return self._table("waits")

    @property
    def mounts(self) -> pd.DataFrame:
        """One row per client, server and export."""
        return self._table("mounts")

    @property
    def reboots(self) -> pd.DataFrame:
        """One row per announced reboot and per stretch of grace."""
        return self._table("reboots")

    @property
    def callbacks(self) -> pd.DataFrame:
        """One row per GRANTED callback."""
        return self._table("callbacks")

    @property
    def findings(self) -> pd.DataFrame:
        """One row per finding."""
        return self._table("findings")

    @property
    def hosts(self) -> pd.DataFrame:
        """One row per address that sent a packet."""
        return self._table("hosts")

    @property
    def files(self) -> pd.DataFrame:
        """One row per file handle."""
        return self._table("files")

    @property
    def health(self) -> pd.DataFrame:
        """One row per counter and per fault of the capture."""
        return self._table("health")

    def _table(self, name: str) -> pd.DataFrame:
        if name not in self._tables:
            from analyzer.render.export import table
            from analyzer.render.tables import to_pandas

            self._tables[name] = to_pandas(table(lambda *_: self._analysed, name))
        return self._tables[name]

    def _analyze(self, taps: Sequence[Any] = (), names_only: bool = False) -> Analysed:
        veils = () if self._veil is None else (self._veil,)
        analysed = analyze(self._paths, **self._judging, taps=(*veils, *taps), names_only=names_only)
        for veil in veils:
            veil.rename(analysed)
        return analysed

    def _calls(self, keep: bool) -> pd.DataFrame:
        from analyzer.render.export import table
        from analyzer.render.tables import to_pandas

        def analyse(taps: Sequence[Any], names_only: bool) -> Analysed:
            analysed = self._analyze(taps, names_only and not keep)
            if keep:
                self._analysed = analysed
            return analysed

        return to_pandas(table(analyse, "calls"))
