"""When a file was last read or written.

In: the NFS calls of a block. Out: a time per file handle.

Theory. A program that locks a file works in it. Who did matters less than that nobody did: a file that is not
touched is not in use, though a client may read from its cache.

Never: tells clients apart.
"""

from __future__ import annotations

import numpy as np

from analyzer.records.events import Activity
from analyzer.tables import I64

READ, WRITE = 6, 7  # of NFSv3


class Usage:
    """The last READ or WRITE of each file handle."""

    def __init__(self) -> None:
        self._last: I64 = np.zeros(1024, np.int64)

    def activity(self, rows: Activity) -> None:
        """Take in the NFS calls of a block, in order."""
        io = (rows.fh >= 0) & ((rows.procedure == READ) | (rows.procedure == WRITE))
        handles = rows.fh[io]
        if not len(handles):
            return
        top = int(handles.max())
        if top >= len(self._last):
            self._last = np.concatenate([self._last, np.zeros(top + 1, np.int64)])
        self._last[handles] = rows.time[io]  # of several, the last one stays

    def last(self, handle: int) -> int:
        """When a handle was last used, 0 never."""
        return int(self._last[handle]) if 0 <= handle < len(self._last) else 0
