"""The verb `live`: options to a run.

In: the arguments of the command line. Out: what a live run says, and its exit status.

Never: knows how anything is done.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from analyzer import kernels
from analyzer.engine import Engine
from analyzer.errors import AnalyzerError
from analyzer.parameters import Settings
from analyzer.render.anonymous import Veil
from analyzer.render.output import write
from analyzer.render.terminal import paint_for, say_compile
from analyzer.render.text import summary
from analyzer.render.view import Filters, View
from analyzer.watch import ring, tables
from analyzer.watch.hooks import Hook
from analyzer.watch.journal import Journal
from analyzer.watch.lines import Lines, Notices
from analyzer.watch.loop import Watch
from analyzer.watch.metrics import Metrics
from analyzer.watch.options import ALL, AUTO
from analyzer.watch.portmapper import registered
from analyzer.watch.ports import Ports
from analyzer.watch.rehearsal import rehearse
from analyzer.watch.run import Capture, Listener, from_interface, from_ring, from_stdin, run
from analyzer.watch.screen import Screen
from analyzer.watch.tool import interfaces

DONE, FAILED = 0, 2
SECOND = 1_000_000_000
MOST_FLOWS = 1 << 16  # connections at once; the closed and the silent ones go first


def live(args: argparse.Namespace, filters: Filters, settings: Settings, veil: Veil | None = None) -> int:
    """Watch to the end; return the exit status. What is said is anonymized by `veil`."""
    if args.ring and not args.interface:
        raise AnalyzerError("--ring keeps what --interface captures; a stream is somebody else's to keep")
    if args.ring and args.filter == AUTO:
        raise AnalyzerError(f"--ring keeps one filter to the end: give another one than {AUTO}")
    if args.filter != ALL and not args.interface:
        raise AnalyzerError("--filter is for --interface; a stream is what it is")
    if args.ask and args.filter != AUTO:
        raise AnalyzerError(f"--ask finds ports for --filter {AUTO}")
    if args.list:
        sys.stdout.write(interfaces())
        return DONE
    folder = tables.made(args.export) if args.export else None
    if not kernels.is_warm():
        say_compile()
    rehearse()
    kept = ring.prepared(args.ring) if args.ring else None
    listeners = _listeners(args)
    if kept is not None:
        listeners.insert(0, Journal(str(kept / ring.EVENTS), args.interface, args.filter))
    engine = Engine(True, args.server_model, settings=settings, flows=MOST_FLOWS)
    if veil is not None:
        engine.taps.append(veil)
        filters = veil.filters(filters)
    capture = _capture(args, kept)
    watch = Watch(capture.pump, engine, filters, capture.drops, round(args.remember * SECOND))
    capture.attend(watch)
    if kept is not None:
        index = ring.Index(kept)
        capture.pump.on_file = lambda name: index.begin(name, watch.packets + 1)
    try:
        why = run(capture, watch, listeners)
    finally:
        if isinstance(listeners[-1], Screen):
            listeners[-1].close()
    assert watch.analysis is not None
    if why is not None and not watch.packets:
        raise AnalyzerError(why)
    if veil is not None:
        veil.rename(watch.analysis)
    view = View(watch.analysis, filters)
    write(sys.stdout, (f"{line}\n" for line in summary(view, paint_for(sys.stdout))))
    sys.stdout.flush()
    if folder is not None:
        tables.write_tables(view, folder, args.format)
    if why is not None:
        sys.stderr.write(f"lockscope: {why}\n")
        return FAILED
    return DONE


def _listeners(args: argparse.Namespace) -> list[Listener]:
    """Those who are told, by the options."""
    made: list[Listener] = []
    if args.jsonl:
        made.append(Journal(args.jsonl, args.interface or "-", args.filter))
    if args.filter == AUTO:
        made.append(Notices(sys.stderr))
    if args.metrics:
        made.append(Metrics(args.metrics))
    if args.hook:
        made.append(Hook(args.hook))
    made.append(Screen() if sys.stdout.isatty() else Lines(sys.stdout))
    return made


def _capture(args: argparse.Namespace, kept: Path | None) -> Capture:
    if kept is not None:
        return from_ring(args.interface, args.filter, kept, args.ring_size)
    if args.interface:
        return from_interface(args.interface, args.filter, args.program, _asked(args.ask))
    return from_stdin()


def _asked(hosts: Sequence[str]) -> Ports:
    """The ports that the portmappers of these hosts tell."""
    ports = Ports()
    for host in hosts:
        for number, program in registered(host):
            ports.learn(number, program, host)
    return ports
