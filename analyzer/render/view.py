"""What of an analysis is shown: the user's filters, and who is called what.

In: an `Analysis` and `Filters`. Out: a `View`: the same things, chosen.

Theory. Filters choose what is shown and change nothing else: frame numbers, verdicts and counts are those
of the whole capture. A host is named by its address or by the name it gave itself, a file by the end of its
path or by its handle, a stretch of time by either end.

Never: changes an analysis.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from analyzer.errors import AnalyzerError
from analyzer.frozen import frozen
from analyzer.render.clean import clean
from analyzer.render.times import Instant

if TYPE_CHECKING:
    from analyzer.engine import Analysis
    from analyzer.findings.rule import Confidence, Finding
    from analyzer.sessions.world import Sessions

NEVER, ALWAYS = -(2**63), 2**63 - 1


@frozen
class Filters:
    """What the user wants to see."""

    client: str | None = None
    server: str | None = None
    file: str | None = None
    since: Instant | None = None
    until: Instant | None = None
    select: Collection[str] = ()
    ignore: Collection[str] = ()
    min_confidence: Confidence | None = None

    def wants(self, finding: Finding) -> bool:
        """Whether a finding is of a code and a confidence that is asked for."""
        if (self.select and finding.code not in self.select) or finding.code in self.ignore:
            return False
        return self.min_confidence is None or finding.confidence >= self.min_confidence

    @property
    def is_open(self) -> bool:
        """Whether nothing is filtered by host, file or time."""
        return (self.client, self.server, self.file, self.since, self.until) == (None,) * 5


def addresses(sessions: Sessions, wanted: str) -> set[str]:
    """The addresses that a user's word for a host means; none where nobody gave that name."""
    try:
        address = ipaddress.ip_address(wanted.strip("[]"))
    except ValueError:
        hosts = sessions.hosts
        return {hosts.address(host) for host in hosts.named(wanted.encode("utf-8", "surrogateescape"))}
    return {str(getattr(address, "ipv4_mapped", None) or address)}


def codes(words: Sequence[str]) -> frozenset[str]:
    """Codes of findings, as a user lists them or their families; raises on one that there is not."""
    wanted = {code.strip() for word in words for code in word.split(",")}
    wanted.discard("")
    if not wanted:
        return frozenset()
    from analyzer.findings.catalogue import RULES
    from analyzer.findings.rule import FAMILIES

    for word in sorted(wanted - RULES.keys() - set(FAMILIES)):
        raise AnalyzerError(f"no finding has the code {word}; the codes are {', '.join(sorted(RULES))}")
    return frozenset(code for code, rule in RULES.items() if {code, rule.family} & wanted)


class View:
    """An analysis, seen through filters."""

    def __init__(self, analysis: Analysis, filters: Filters | None = None) -> None:
        self.analysis = analysis
        self.filters = filters or Filters()
        self.sessions = analysis.sessions
        self._known_as: dict[str, str] | None = None
        self._paths: dict[int, str | None] = {}
        self.clients = self._addresses(self.filters.client)
        self.servers = self._addresses(self.filters.server)
        start = self.sessions.start
        self.since = self.filters.since.at(start) if self.filters.since else NEVER
        self.until = self.filters.until.at(start) if self.filters.until else ALWAYS
        self.findings = list(self._findings())

    # -- names --------------------------------------------------------------------------------

    def address(self, host: int) -> str | None:
        """The address of a host row; None where there is none."""
        return self.sessions.hosts.address(host) if host >= 0 else None

    def path(self, handle: int) -> str | None:
        """The path of a handle; None where there is none or no name is known."""
        if handle < 0:
            return None
        if handle not in self._paths:
            self.sessions.handles.paths((handle,), self._paths)
        return self._paths[handle]

    def names(self, host: int) -> list[str]:
        """What a host calls itself."""
        return [clean(name) for name in self.sessions.hosts.names.get(host, ())]

    def known_as(self) -> dict[str, str]:
        """The first name of each address that has one."""
        if self._known_as is None:
            hosts = self.sessions.hosts
            named = {hosts.address(host): clean(names[0]) for host, names in hosts.names.items() if names}
            self._known_as = named
        return self._known_as

    def _addresses(self, wanted: str | None) -> set[str] | None:
        """The addresses that a user's word for a host means; None for any."""
        if wanted is None:
            return None
        found = addresses(self.sessions, wanted)
        if not found:
            known = ", ".join(sorted(set(self.known_as().values()))) or "no host gave a name"
            raise AnalyzerError(
                f"no host called {clean(wanted)} in this capture (names seen: {known}); give an address"
            )
        return found

    # -- choices ------------------------------------------------------------------------------

    def shows(
        self,
        server: str | None,
        client: str | None,
        first: int | None = None,
        last: int | None = None,
        peer: str | None = None,
    ) -> bool:
        """Whether something about these hosts in first..last (None: open) is wanted."""
        if self.servers is not None and server not in self.servers:
            return False
        if self.clients is not None and client not in self.clients and peer not in self.clients:
            return False
        begin = NEVER if first is None else first
        return begin <= self.until and (ALWAYS if last is None else last) >= self.since

    def shows_file(self, path: str | None, fh: str | None) -> bool:
        """Whether a file is wanted."""
        wanted = self.filters.file
        return wanted is None or (path or "").endswith(wanted) or fh == wanted

    def _findings(self) -> Iterator[Finding]:
        for finding in self.analysis.findings:
            if not self.filters.wants(finding):
                continue
            hosts = (finding.server, finding.client)
            if not self.shows(*hosts, finding.first_time, finding.last_time, finding.peer):
                continue
            if self.shows_file(finding.path, finding.fh):
                yield finding
