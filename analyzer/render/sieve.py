"""Which rows of the calls table a user's filters let through.

In: a `Chunk`, `Filters`, what the sessions know by then. Out: row numbers.

Theory. Rows are chosen by their numbers, before any text is made of them: an address becomes the hosts that
have it, the end of a path the handles whose path ends so.

Never: complains of a host that nobody is called (that is known at the end only).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from analyzer.records.gather import Texts, distinct
from analyzer.render.clean import clean
from analyzer.render.view import Filters, addresses

if TYPE_CHECKING:
    from analyzer.records.calls import Chunk

Rows = NDArray[np.intp]
Bools = NDArray[np.bool_]


def chosen(chunk: Chunk, filters: Filters, sessions: Any) -> Rows:
    """The rows of a chunk that are wanted, in order."""
    wanted = np.ones(chunk.rows, np.bool_)
    if filters.client is not None:
        wanted &= _of_host(chunk.base["client"], filters.client, sessions)
    if filters.server is not None:
        wanted &= _of_host(chunk.base["server"], filters.server, sessions)
    if filters.since is not None:
        wanted &= chunk.base["time"] >= filters.since.at(sessions.start)
    if filters.until is not None:
        wanted &= chunk.base["time"] <= filters.until.at(sessions.start)
    if filters.file is not None:
        wanted &= _of_file(chunk, filters.file, sessions)
    return np.flatnonzero(wanted)


def _of_host(hosts: Any, name: str, sessions: Any) -> Bools:
    known = addresses(sessions, name)
    unique, which = distinct(hosts)
    right = np.array([sessions.hosts.address(host) in known for host in unique.tolist()], np.bool_)
    found: Bools = right[which]
    return found


def _of_file(chunk: Chunk, name: str, sessions: Any) -> Bools:
    """Where the object's path ends in `name`, or its handle is that in hex."""
    found = np.zeros(chunk.rows, np.bool_)
    for piece in chunk.pieces.get("path", ()):
        assert not isinstance(piece.values, Texts)
        unique, which = distinct(piece.values)
        paths = sessions.handles.paths(handle for handle in unique.tolist() if handle >= 0)
        shown = [paths.get(handle) for handle in unique.tolist()]
        right = np.array([path is not None and clean(path).endswith(name) for path in shown], np.bool_)
        found[piece.rows] |= right[which]
    for piece in chunk.pieces.get("fh", ()):
        assert isinstance(piece.values, Texts)
        shown = [handle.hex() == name for handle in piece.values]
        found[piece.rows] |= np.array(shown, np.bool_)
    return found
