"""What happens too often: the same question again and again, connections opened and closed, copies of calls.

In: NLM requests and their answers, in capture order. Out: bursts (more of one kind in one window than a
program that is well makes), and how many requests of a client were copies.

Theory. A burst needs memory of the last few places only: it begins when `LIMIT` of them lie within `WINDOW`
and goes on while that stays so. What is counted has a key; the key not seen for longest is dropped first.

Never: keeps more than `KEYS_KEPT` keys; decides what is a fault.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from analyzer.parameters import DEFAULTS, Settings, threshold, window
from analyzer.records.events import Call, Resent
from analyzer.sessions.kept import Kept
from analyzer.sessions.model import Place
from analyzer.sessions.operations import Answer, Operation
from analyzer.tables import TCP

KEYS_KEPT = 65536
BURSTS_KEPT = 4096
FRAMES_KEPT = 64
COPIES_KEPT = 4096
MIRRORED = window(
    "mirrored-copy", 0.1, "a copy that comes sooner is the capture's (two points of a path), not the sender's"
)
DENIALS = threshold("denial-burst", 20, "denials", "twice a second for ten seconds: somebody spins")
DENIALS_WITHIN = window("denial-burst-window", 10, "nobody waits for as long as this by asking again")
CONNECTIONS = threshold("connection-burst", 11, "connections", "more than ten a minute are not one per mount")
CONNECTIONS_WITHIN = window("connection-burst-window", 60, "a lock connection lives for minutes, idle or not")


@dataclass(slots=True, eq=False)
class Burst:
    """One stretch in which something happened too often."""

    about: Operation
    places: list[Place]  # the first ones
    count: int
    last: Place

    @property
    def rate(self) -> float:
        """How often a second."""
        return self.count * 1e9 / max(self.last.time - self.places[0].time, 1)


@dataclass(slots=True, eq=False)
class Recent:
    """The last places of one key, and the burst that is on."""

    places: deque[Place]
    burst: Burst | None = None


class Meter:
    """Finds bursts: `limit` within `window` ns."""

    def __init__(self, limit: int, window: int) -> None:
        self.limit = limit
        self.window = window
        self.bursts: Kept[Burst] = Kept(BURSTS_KEPT)
        self._recent: OrderedDict[object, Recent] = OrderedDict()

    def tick(self, key: object, place: Place, about: Operation) -> None:
        """It happened again."""
        recent = self._recent.get(key)
        if recent is None:
            recent = self._recent[key] = Recent(deque(maxlen=self.limit))
            if len(self._recent) > KEYS_KEPT:
                self._recent.popitem(last=False)
        else:
            self._recent.move_to_end(key)
        places = recent.places
        places.append(place)
        if len(places) < self.limit or place.time - places[0].time > self.window:
            recent.burst = None
        elif recent.burst is None:
            recent.burst = Burst(about, list(places), len(places), place)
            self.bursts.append(recent.burst)
        else:
            burst = recent.burst
            burst.count += 1
            burst.last = place
            if len(burst.places) < FRAMES_KEPT:
                burst.places.append(place)


@dataclass(slots=True)
class Copies:
    """Requests of one client to one server, and how many of them were sent again."""

    requests: int = 0
    copies: int = 0
    operations: list[Operation] = field(default_factory=list)  # those with copies, the first ones


@dataclass(slots=True)
class Resends:
    """NFS calls of one client that it sent to one server again."""

    first: int  # time of the first
    last: Place
    count: int = 0
    frames: list[int] = field(default_factory=list)  # of the first ones
    waited: list[int] = field(default_factory=list)  # how long they were waited for, ns


class Pace:
    """All meters of lock traffic."""

    def __init__(self, settings: Settings = DEFAULTS) -> None:
        self.mirrored = settings[MIRRORED]
        self.denied = Meter(settings[DENIALS], settings[DENIALS_WITHIN])
        self.connections = Meter(settings[CONNECTIONS], settings[CONNECTIONS_WITHIN])
        self.copies: dict[tuple[int, int], Copies] = {}
        self.resends: dict[tuple[int, int], Resends] = {}
        self._flows: OrderedDict[int, tuple[int, int, int]] = OrderedDict()

    def asked(self, operation: Operation, call: Call, is_new: bool, opened: Callable[[int], bool]) -> None:
        """A request of a client, or a copy of one; `opened`: does the capture have the SYN of a flow?"""
        if call.transport == TCP and self._flows.get(call.flow) != (call.src, call.dst, call.sport):
            self._connection(operation, call, opened)
        copies = self.of(operation.requester, operation.responder)
        if is_new:
            copies.requests += 1
        elif call.time - operation.calls[-2].time > self.mirrored:
            copies.copies += 1
            known = copies.operations
            if len(known) < COPIES_KEPT and (not known or known[-1] is not operation):
                known.append(operation)

    def of(self, client: int, server: int) -> Copies:
        """The requests of a client to a server."""
        copies = self.copies.get((client, server))
        if copies is None:
            copies = self.copies[client, server] = Copies()
        return copies

    def resent(self, event: Resent) -> None:
        """NFS calls were sent again; what comes at once is the same packet seen twice."""
        kept = [i for i, waited in enumerate(event.waited) if waited > self.mirrored]
        if not kept:
            return
        last = Place(event.frames[kept[-1]], event.time)
        known = self.resends.get((event.client, event.server))
        if known is None:
            if len(self.resends) >= KEYS_KEPT:
                return
            known = self.resends[event.client, event.server] = Resends(event.time, last)
        known.last = last
        known.count += len(kept)
        room = FRAMES_KEPT - len(known.frames)
        known.frames += [event.frames[i] for i in kept[:room]]
        known.waited += [event.waited[i] for i in kept[:room]]

    def _connection(self, operation: Operation, call: Call, opened: Callable[[int], bool]) -> None:
        self._flows[call.flow] = call.src, call.dst, call.sport
        if len(self._flows) > KEYS_KEPT:
            self._flows.popitem(last=False)
        if opened(call.flow):
            self.connections.tick((call.src, call.dst), Place(call.frame, call.time), operation)

    def refused(self, operation: Operation, answer: Answer) -> None:
        """A request was told that somebody else holds the range; one that does not wait may come again."""
        waits = operation.kind == "LOCK" and operation.block
        if operation.kind in ("LOCK", "TEST") and operation.owner is not None and not waits:
            key = (operation.kind, operation.owner.key, operation.fh, operation.start, operation.end)
            self.denied.tick(key, Place(answer.frame, answer.time), operation)
