"""After the rehearsal no kernel of the front is new, however many connections come."""

from __future__ import annotations

import subprocess
import sys

from analyzer.watch.rehearsal import rehearse

SCRIPT = """
from analyzer import kernels
from analyzer.watch import rehearsal
rehearsal.rehearse()
loaded = []
real = kernels.load
kernels.load = lambda function, spec: loaded.append(function.__name__) or real(function, spec)
rehearsal.CONNECTIONS = 200
assert rehearsal.rehearse() > 50
print(loaded)
"""


def test_room_is_made() -> None:
    assert rehearse(compiled=False) > 0


def test_nothing_is_left_to_load() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
