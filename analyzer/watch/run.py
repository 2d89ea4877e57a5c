"""A live run: a source, the loop, those who are told, and an end in good order.

In: options of the command line. Out: lines, events, tables, and the summary that `analyze` gives.

Theory. However it ends (Ctrl-C, the capture program killed, the interface gone, the disk full), what was
captured up to then is read, judged and summed up, and one line says why it ended. The first Ctrl-C ends the
capture and lets what is under way arrive; a second one ends that, too.

Never: loses what was captured; leaves a capture program behind.
"""

from __future__ import annotations

import gc
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from typing import Any, Protocol

from analyzer.capture.source import STDIN, open_source
from analyzer.errors import AnalyzerError
from analyzer.watch import ring
from analyzer.watch.diary import Entry
from analyzer.watch.expression import expression
from analyzer.watch.loop import Watch
from analyzer.watch.options import ALL, AUTO
from analyzer.watch.ports import Ports
from analyzer.watch.pump import Begun, Pump
from analyzer.watch.relay import LINGER, Relay
from analyzer.watch.tool import DUMPCAP, Child, installed

UNDER_WAY = 3.0  # seconds in which what was captured arrives after the end was asked for
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Listener(Protocol):
    """Somebody who is told."""

    def tell(self, entries: Sequence[Entry], watch: Watch) -> None:
        """These are new; called after every look, also with none."""
        ...


class Capture:
    """Where the packets come from, and how that ends."""

    def __init__(self, pump: Pump, child: Child | Relay | None = None, ports: Ports | None = None) -> None:
        """`ports`: those that the filter follows."""
        self.pump = pump
        self.child = child
        self._ports = ports
        self._passing = len(ports.known) if ports is not None else 0  # ports in the present filter
        self._asked = False

    def attend(self, watch: Watch) -> None:
        """Let a watch find the seams, learn ports, and know how much it knows of drops."""
        watch.tells_drops = self.tells_drops
        if isinstance(self.child, Relay):
            self.pump.on_file = watch.begin_part
        if self._ports is not None:
            watch.ports = self._ports
            watch.engine.taps.append(self._ports.tap)

    def follow(self) -> None:
        """Let the filter follow the ports that became known."""
        ports = self._ports
        if ports is None or not isinstance(self.child, Relay) or self._passing == -1:
            return
        wanted = -1 if ports.overflown else len(ports.known)
        if wanted != self._passing and self.child.change(filter_for(ports)):
            self._passing = wanted
        if self.child.failed is not None:
            sys.stderr.write(f"lockscope: the filter stays as it is: {self.child.failed}\n")
            self._ports = None

    def stop(self) -> None:
        """End it: the first time in good order, the second time at once."""
        if self._asked:
            self.pump.stop()
            return
        self._asked = True
        if self.child is not None:
            _later(LINGER, self.child.stop)
        _later(UNDER_WAY, self.pump.stop)

    def drops(self) -> int:
        """Packets that were lost, as far as is known by now; its last words tell the rest."""
        if self.child is None:
            return 0
        if self.pump.at_end:
            self.child.wait()
        self.child.ask_drops()
        return self.child.drops

    def tells_drops(self) -> bool:
        """Whether drops are known while it runs."""
        return self.child is not None and self.child.tells_drops

    def close(self) -> str | None:
        """It is over: why, where nobody asked for it."""
        if self.child is None:
            return None
        if not self.pump.at_end:
            self.child.stop()
        self.child.wait()
        return self.child.trouble


def _later(seconds: float, what: Callable[[], None]) -> None:
    timer = Timer(seconds, what)
    timer.daemon = True
    timer.start()


def from_stdin() -> Capture:
    """A capture on standard input."""
    return Capture(Pump(STDIN, lambda: open_source(STDIN)))


def from_interface(
    interface: str, wanted: str | None = None, program: str | None = None, ports: Ports | None = None
) -> Capture:
    """A capture of an interface, by the program of that name or the one that is installed.

    `wanted` is what the filter should be: `AUTO`, `ALL` or an expression; with `AUTO` it begins with `ports`.
    """
    tool = installed(program)
    ports = (ports or Ports()) if wanted == AUTO else None
    begun: Begun = deque()
    relay = Relay(tool, interface, filter_for(ports) if ports else _expression(wanted), begun)
    return Capture(Pump(interface, lambda: relay, begun), relay, ports)


def filter_for(ports: Ports) -> str | None:
    """The filter for the ports that are known; None: everything, for there are too many."""
    return None if ports.overflown else expression(ports.known)


def _expression(wanted: str | None) -> str | None:
    return None if wanted == ALL else wanted


def from_ring(interface: str, wanted: str | None, folder: Path, size: float) -> Capture:
    """A capture of an interface that dumpcap keeps in a ring of files."""
    tool = installed(DUMPCAP.name)
    begun: Begun = deque()
    command = tool.command(interface, _expression(wanted), ring.options(folder, size))
    child = Child(tool, interface, command)
    return Capture(Pump(interface, lambda: ring.Followed(folder, begun, child.runs), begun), child)


def run(capture: Capture, watch: Watch, listeners: list[Listener]) -> str | None:
    """Watch a capture to its end; return why it ended where nobody asked for it."""
    try:
        with _asked_to_end(capture.stop), _rare_collections():
            for entries in watch.entries():
                capture.follow()
                _tell(listeners, entries, watch)
    except AnalyzerError as error:
        raise AnalyzerError(capture.close() or str(error)) from None
    except BaseException:
        capture.close()
        raise
    return capture.close()


def _tell(listeners: list[Listener], entries: Sequence[Entry], watch: Watch) -> None:
    """Tell all; who cannot be told any more (a full disk) is left out from then on, which is said once."""
    for listener in list(listeners):
        try:
            listener.tell(entries, watch)
        except BrokenPipeError:  # nobody reads what we write
            raise
        except OSError as error:
            listeners.remove(listener)
            name = type(listener).__name__.lower()
            sys.stderr.write(f"lockscope: no more to the {name}: {error.strerror or error}\n")


@contextmanager
def _asked_to_end(stop: Callable[[], None]) -> Iterator[None]:
    """Signals that end a program end the capture."""

    def asked(_number: int, _frame: Any) -> None:
        stop()

    before = {number: signal.signal(number, asked) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Fewer runs of the garbage collector: most of what is made is kept for a while, and little of what is
    dropped is in a circle."""
    before = gc.get_threshold()
    gc.set_threshold(100_000, 20, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)
