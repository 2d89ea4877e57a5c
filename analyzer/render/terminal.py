"""What a terminal is, and what is said there while the user waits.

In: a stream. Out: a `Paint` for it; progress, on standard error.

Never: writes results.
"""

from __future__ import annotations

import os
import sys
from typing import IO

from analyzer.render.paint import Paint


def paint_for(stream: IO[str]) -> Paint:
    """Coloured and as wide as the terminal on one, plain and always the same elsewhere."""
    if not stream.isatty():
        return Paint()
    import shutil

    return Paint(
        not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb",
        shutil.get_terminal_size().columns,
    )


def say_compile() -> None:
    """The first large capture on a machine takes longer."""
    sys.stderr.write("lockscope: compiling the readers for this machine, once ...\n")


def show_progress(done: int, total: int | None) -> None:
    """How much was read, of how much."""
    share = f"{min(100, 100 * done // total):3d} %" if total else f"{done >> 20} MiB"
    sys.stderr.write(f"\rreading {share}")
    sys.stderr.flush()


def clear_progress() -> None:
    """It is read."""
    sys.stderr.write("\r\x1b[K")
