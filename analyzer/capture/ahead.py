"""The beginning of a capture, asked for before anybody can read it.

In: a path as the user gave it. Out: nothing; the system reads.

Theory. Half of the time until the first packet goes by while modules are loaded. A disk can do its part
meanwhile, so this imports none.

Never: reads, waits, complains.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

AHEAD = 32 << 20  # bytes that the system is asked to have ready: a block may wait for a disk, many shall not


def ask_ahead(path: str) -> None:
    """Have the system read the beginning of a file, if it can."""
    with suppress(OSError, AttributeError):
        if Path(path).is_file():
            with Path(path).open("rb", buffering=0) as raw:
                os.posix_fadvise(raw.fileno(), 0, AHEAD, os.POSIX_FADV_WILLNEED)
