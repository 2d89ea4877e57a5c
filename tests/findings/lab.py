"""A server, three clients and a bystander, on terrains that differ in all that must not matter.

In: a terrain. Out: a `Lab` whose script is the test's; `fires` and `silent` to look at what came of it.

Theory. Rules are written from captures of a few Linux hosts. Each scenario is therefore played on several
terrains: IPv4 and IPv6, TCP and UDP, handles of knfsd, of Ganesha and of a server nobody knows. A test named
`test_CODE__fires_...` shows that a rule sees what it is for, `test_CODE__silent_...` that it spares the
nearest innocent twin; `test_catalogue` counts them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from analyzer.engine import Analysis
from analyzer.findings.rule import INFO, Finding
from tests.network import Packet
from tests.world import Exchange, Export, File, Host, World

TERRAINS: dict[str, dict[str, Any]] = {
    "linux": {"net": "192.0.2.{}", "kind": {}},
    "ganesha6": {"net": "2001:db8:7::{}", "kind": {"transport": "udp", "handles": "ganesha"}},
    "opaque": {"net": "198.51.100.{}", "kind": {"handles": "opaque", "lockd": 32803}},
}
Proof = Exchange | Packet | int


class Lab:
    """One world in which alice, bob and carol use /srv of a server."""

    def __init__(self, terrain: str = "linux") -> None:
        net, kind = TERRAINS[terrain]["net"], TERRAINS[terrain]["kind"]
        self.terrain = terrain
        self.world = World()
        self.server = self.world.host("server", net.format(1), **kind)
        self.alice = self.world.host("alice", net.format(21), **kind)
        self.bob = self.world.host("bob", net.format(22), **kind)
        self.carol = self.world.host("carol", net.format(23), **kind)
        self.bystander = self.world.host("bystander", net.format(99), transport="udp")
        self.mallory = self.world.host("mallory", net.format(66), **kind)
        self.export: Export = self.server.export("/srv")
        self.analysis: Analysis | None = None

    def mounted(self, *clients: Host) -> File:
        """The clients mount /srv and look up `db`; all well so far."""
        for client in clients:
            client.mount(self.server, "/srv")
            file = client.lookup(self.export, "db")
        self.world.wait(0.5)
        return file

    def takes_turns(self, file: File) -> None:
        """Bob waits behind alice, is called back, and gives the lock back in his turn."""
        self.alice.lock(file, 1)
        self.bob.wait_for(file, 2)
        self.alice.unlock(file, 1)
        self.server.granted(self.bob, file, 2)
        self.bob.unlock(file, 2)

    def later(self, seconds: float) -> None:
        """Time passes; a bystander shows that server and capture are alive."""
        self.world.wait(seconds)
        self.bystander.ping(self.server, (100000, 2), 111)

    # -- verdicts -------------------------------------------------------------------------------

    def findings(self) -> list[Finding]:
        """What lockscope finds in the capture up to now."""
        if self.analysis is None:
            self.analysis = self.world.analyze()
        return self.analysis.findings

    def fires(self, code: str, *proofs: Proof, **fields: Any) -> Finding:
        """The one finding of this code that has these fields, with the proofs among its frames."""
        same = [f for f in self.findings() if f.code == code]
        hosts = {name: host.address for name, host in fields.items() if isinstance(host, Host)}
        wanted = fields | hosts
        hits = [f for f in same if all(getattr(f, name) == value for name, value in wanted.items())]
        assert len(hits) == 1, f"{code} with {wanted}: {len(hits)} of\n" + self._seen()
        missing = set(_frames(proofs)) - set(hits[0].frames)
        assert not missing, f"frames {sorted(missing)} are not among {hits[0].frames} of {hits[0].message}"
        return hits[0]

    def silent(self, *codes: str) -> None:
        """No finding of these codes."""
        wrong = [f for f in self.findings() if f.code in codes]
        assert not wrong, f"{codes} should be silent:\n" + self._seen()

    def clean(self, *codes: str) -> None:
        """No finding of these codes, and nothing above info."""
        self.silent(*codes)
        assert all(f.severity == INFO for f in self.findings()), "not clean:\n" + self._seen()

    def _seen(self) -> str:
        return "\n".join(
            f"  {f.code} {f.severity.name} {f.confidence.name} s={f.server} c={f.client} p={f.peer} "
            f"{f.path or f.export}: {f.message} {f.frames}"
            for f in self.findings()
        )


def _frames(proofs: Iterable[Proof]) -> Iterable[int]:
    for proof in proofs:
        if isinstance(proof, Exchange):
            yield from (frame for frame in proof.frames if frame)
        else:
            yield proof.frame if isinstance(proof, Packet) else proof
