"""Clients that come and go for as long as you like: `python -m tests.watch.soak | lockscope live -`.

In: how many clients, how many sessions a second, for how long. Out: a pcap on standard output, in real time.

Theory. A session is one client's visit: it mounts, looks up a file that nobody used before, locks it, writes,
unlocks, unmounts, disconnects. One in eight has company, and waits for a callback; one in a few hundred
forgets its lock. Each is played in a `World` of its own, at its own time, with an address that another visit
may have had before; the packets of all are merged. So everything that can grow does: hosts, connections,
handles, names, owners, locks, waits, callbacks, mounts, findings.

Never: waits for whoever reads, beyond what a pipe does.
"""

from __future__ import annotations

import argparse
import heapq
import struct
import sys
import time
from collections.abc import Iterator, Sequence

from tests.network import SECOND
from tests.world import File, Host, World

COMPANY = 8  # one session in so many has two clients
FORGETFUL = 401  # one in so many leaks
VISIT = 4.0  # seconds between the steps of a visit, about

Sent = tuple[int, int, bytes]  # time, order, packet


def visit(number: int, begin: int, clients: int) -> World:
    """One session, from `begin` (ns)."""
    world = World()
    world.clock = begin
    world.opened = number * 11  # every connection begins at a number of its own
    server = world.host("server", "10.0.0.1")
    export = server.export("/srv")
    name = f"file-{number}"
    handle = export.root.handle[:3] + b"\1" + export.root.handle[4:] + struct.pack("<II", 100 + number, 7)
    export.files[name] = File(export, name, handle, 100 + number)
    alice = _client(world, number % clients)
    alice.mount(server, "/srv")
    world.wait(VISIT * (number % 7) / 7)
    file = alice.lookup(export, name)
    alice.lock(file, 0)
    alice.write(file)
    if number % COMPANY == 0:
        bob = _client(world, (number + clients // 2) % clients)
        bob.mount(server, "/srv")
        bob.lookup(export, name)
        bob.wait_for(file, 0)
        world.wait(VISIT)
        alice.unlock(file, 0)
        server.granted(bob, file, 0)
        bob.unlock(file, 0)
        bob.umount(export)
        bob.disconnect(server)
    world.wait(VISIT)
    if number % FORGETFUL:
        alice.unlock(file, 0)
        alice.remove(file)
    alice.umount(export)
    alice.disconnect(server)
    return world


def _client(world: World, number: int) -> Host:
    high, low = divmod(number, 250)
    return world.host(f"client{number}", f"10.1.{high}.{low + 1}")


def packets(clients: int, rate: float, begin: int) -> Iterator[Sent]:
    """All packets of all sessions, in order, for ever."""
    waiting: list[Sent] = []
    number = order = 0
    while True:
        start = begin + round(number * SECOND / rate)
        while waiting and waiting[0][0] < start:
            yield heapq.heappop(waiting)
        for packet in visit(number, start, clients).packets:
            order += 1
            heapq.heappush(waiting, (packet.time, order, packet.data))
        number += 1


def main(argv: Sequence[str]) -> int:
    """Write the capture."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clients", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=40.0, help="sessions a second")
    parser.add_argument("--minutes", type=float, default=20.0)
    args = parser.parse_args(argv)
    begin, started = time.time_ns(), time.monotonic_ns()
    out = sys.stdout.buffer
    out.write(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, 1))
    for at, _, data in packets(args.clients, args.rate, begin):
        if at - begin > args.minutes * 60 * SECOND:
            break
        early = at - begin - (time.monotonic_ns() - started)
        if early > 50_000_000:
            out.flush()
            time.sleep(early / SECOND)
        out.write(struct.pack("<IIII", *divmod(at, SECOND), len(data), len(data)) + data)
    out.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
