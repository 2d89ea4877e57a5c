"""Numbers for Prometheus: `http://ADDRESS/metrics`.

In: looks of a `Watch`. Out: an HTTP server of prometheus_client, in threads of its own.

Theory. The loop leaves a `State` after each look; a scrape reads the last one. Counters count since the
start, gauges say how it is. Nothing of the wire becomes a label, only codes and kinds that are ours, so that
no client can make the number of series grow.

Never: asks the sessions from another thread than theirs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from analyzer.errors import AnalyzerError
from analyzer.findings.catalogue import RULES
from analyzer.watch.diary import OPEN, Entry
from analyzer.watch.loop import Watch
from analyzer.watch.state import Outcomes, State, state_of

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

SECOND = 1_000_000_000
BUCKETS = (0.01, 0.1, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)  # seconds of waiting
LOCAL = "127.0.0.1"


class Metrics:
    """Serves the numbers of a watch."""

    def __init__(self, address: str) -> None:
        from prometheus_client import CollectorRegistry, Histogram, start_http_server

        host, port = parsed(address)
        registry = CollectorRegistry()
        self._state = State()
        self._told: Counter[str] = Counter()
        self._outcomes = Outcomes()
        self._waited = Histogram(
            "lockscope_wait_seconds", "How long requests waited", buckets=BUCKETS, registry=registry
        )
        registry.register(_collector(self))
        try:
            self._server, _ = start_http_server(port, host, registry)
        except OSError as error:
            raise AnalyzerError(f"--metrics {address}: {error.strerror or error}") from None

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_port)

    def tell(self, entries: Sequence[Entry], watch: Watch) -> None:
        """Take the numbers of this look."""
        self._told.update(entry.finding.code for entry in entries if entry.state == OPEN)
        for waited in self._outcomes.ended(watch):
            self._waited.observe(waited / SECOND)
        self._state = state_of(watch)

    def families(self) -> Iterator[Any]:
        """All but the histogram, as prometheus_client wants them."""
        from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

        state = self._state
        for name, text, number in (
            ("packets", "Packets read", state.packets),
            ("packets_dropped", "Packets lost before they were read, as far as told", state.drops),
            ("messages", "RPC messages", state.messages),
            ("forgotten_early", "What was kept and had to go before its age", state.dropped),
        ):
            yield CounterMetricFamily(f"lockscope_{name}", text, value=number)
        for name, text, value in (
            ("locks_held", "Locks that stand on servers", len(state.held)),
            ("waiters", "Requests that wait", len(state.waiting)),
            ("mounts", "Mount sessions that are open", state.mounted),
            ("look_seconds", "What the last look of the rules took", state.cost),
            ("unread_bytes", "Bytes of the capture not yet read", state.behind),
            ("ports", "Ports that the capture filter follows", state.ports),
        ):
            yield GaugeMetricFamily(f"lockscope_{name}", text, value=value)
        yield _labelled(
            CounterMetricFamily("lockscope_findings", "Findings told", labels=["code"]), self._told
        )
        standing = Counter(finding.code for finding in state.findings)
        yield _labelled(
            GaugeMetricFamily("lockscope_findings_open", "Findings that stand", labels=["code"]),
            {code: standing[code] for code in RULES},
        )
        yield _labelled(
            CounterMetricFamily("lockscope_callbacks", "GRANTED callbacks by outcome", labels=["outcome"]),
            {name: self._outcomes.callbacks[name] for name in ("accepted", "refused", "unanswered")},
        )
        yield _labelled(
            GaugeMetricFamily("lockscope_state", "How much is kept, by kind", labels=["kind"]), state.sizes
        )


def _labelled(family: Any, numbers: dict[str, int]) -> Any:
    for label, number in list(numbers.items()):
        family.add_metric([label], number)
    return family


def _collector(metrics: Metrics) -> Collector:
    from prometheus_client.registry import Collector

    class Numbers(Collector):
        def collect(self) -> Iterator[Any]:
            return metrics.families()

    return Numbers()


def parsed(address: str) -> tuple[str, int]:
    """Host and port of `[HOST]:PORT`; without a host, this machine only."""
    host, _, port = address.rpartition(":")
    if not port.isdigit() or int(port) > 65535:
        raise AnalyzerError(f"--metrics {address}: say [HOST]:PORT")
    return host.strip("[]") or LOCAL, int(port)
