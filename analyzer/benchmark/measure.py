"""Whole processes, timed.

In: command lines. Out: for every run the wall and CPU seconds, the peak memory, and how many
calls it counted.

Theory. The programs run in turn, A B A B, so that a change of load on the machine meets both;
one run of each before that warms caches and is thrown away. CPU time and memory are the
kernel's own account of the child (wait4), its waited-for children included.

Never: looks at a capture.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import IO, NamedTuple

from analyzer.frozen import frozen


class CommandFailed(Exception):
    """A measured program did not end well: its times mean nothing."""


@frozen
class Run:
    """One run of one program."""

    wall: float  # seconds
    cpu: float  # seconds, user and system
    peak: int  # bytes of resident memory
    calls: int  # that it counted


class Program(NamedTuple):
    """A command line, and what says how many calls it counted from what it printed."""

    command: Sequence[str]
    count: Callable[[IO[bytes]], int]


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, least and greatest of several runs."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of at least one value."""
        return cls(median(values), min(values), max(values))


def run(program: Program) -> Run:
    """Run a program to its end."""
    command = program.command
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as complaints:
        begun = time.perf_counter()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=complaints)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)  # or Popen would wait again
        if process.returncode:
            complaints.seek(0)
            said = complaints.read().decode(errors="replace").strip().rpartition("\n")[2]
            raise CommandFailed(f"{command[0]} ended with status {process.returncode}: {said}")
        output.seek(0)
        calls = program.count(output)
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, calls)


def in_turn(programs: Mapping[str, Program], runs: int) -> dict[str, list[Run]]:
    """Each program `runs` times, one after the other in every round, after one round to warm up."""
    for program in programs.values():
        run(program)
    done: dict[str, list[Run]] = {name: [] for name in programs}
    for _ in range(runs):
        for name, program in programs.items():
            done[name].append(run(program))
    return done
