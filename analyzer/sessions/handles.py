"""File handles to files, paths and exports.

In: names that calls gave to handles (MNT, LOOKUP, CREATE, READDIRPLUS, RENAME, REMOVE). Out: the path of
a handle and the export it belongs to.

Theory. A handle is opaque, yet two servers are known well enough to read the export from it: knfsd puts
the fsid behind a 4-byte head (byte 2 says which kind and so how long), Ganesha an export number behind
0x43. For all others the chain of names up to a mounted root decides, then the fsid of the attributes. Two
handles of one file (different exports of one file system) are joined by server, fsid and fileid where the
handles themselves say that they belong to different exports; equal fileids within one export are
different generations of an inode, hence different files. A path is absolute where the chain reaches a
MNT, `.../dir/name` where it does not.

Never: trusts a chain to end (a hostile capture can name a directory its own child).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from analyzer.records.gather import distinct
from analyzer.records.handles import Described, HandleTable, export_key
from analyzer.sessions.ranges import LARGEST_32
from analyzer.tables import I32

MAX_DEPTH = 64
LONGEST_PATH = 4096  # PATH_MAX of Linux
NO_EXPORT = -1
PADDED_SIZE = 32  # of a handle in NLM 1 and 3


def is_knfsd(handle: bytes) -> bool:
    """Whether a handle has the layout of Linux's knfsd."""
    key = export_key(handle)
    return key is not None and key[:1] == b"k"


@dataclass(slots=True, eq=False)
class Export:
    """A file system a server exports, as far as handles tell."""

    index: int
    server: int
    paths: list[str] = field(default_factory=list)  # as mounted
    roots: set[int] = field(default_factory=set)

    @property
    def path(self) -> str | None:
        """The path it was first mounted by."""
        return self.paths[0] if self.paths else None


class Handles:
    """What is known of every file handle."""

    def __init__(self, table: HandleTable) -> None:
        self.table = table
        self.parents: dict[int, tuple[int, bytes]] = {}
        self.children: dict[tuple[int, bytes], int] = {}
        self.names: dict[int, int] = {}  # how many entries lead to a handle, as far as seen
        self.linked: set[int] = set()  # handles of files that had several names
        self.large: set[int] = set()  # ... that were larger than offsets of 32 bits can say, when first seen
        self.roots: dict[int, str] = {}
        self.exports: list[Export] = []
        self.known = 0  # handles of the table that were told of; the record stage may be ahead
        self._by_key: dict[tuple[int, object], Export] = {}
        self._attributes: dict[int, tuple[int, int]] = {}  # fsid, fileid
        self._by_file: dict[tuple[int, int, int], list[int]] = {}
        self._canonical: dict[int, int] = {}
        self.changes = 0  # of names: while it stays, so do paths
        self._export: I32 = np.full(1024, NO_EXPORT, np.int32)
        self._seen = 0

    def absorb(self) -> None:
        """Classify the handles that are new in the table."""
        count = self.known
        if count > len(self._export):
            bigger = np.full(max(count, 2 * len(self._export)), NO_EXPORT, np.int32)
            bigger[: len(self._export)] = self._export
            self._export = bigger
        reused, self.table.reused = self.table.reused, []
        for handle in (*range(self._seen, count), *reused):
            key = export_key(self.table.data[handle])
            if key is not None:
                self._export[handle] = self._export_by(self.table.server_of(handle), key).index
        self._seen = count

    def tell(self, known: int, described: Iterable[Described]) -> None:
        """So many handles are known by now, and of some the fsid, fileid, number of links and size."""
        self.known = known
        for handle, fsid, fileid, nlink, size in described:
            if nlink > 1:
                self.linked.add(handle)
            if size > LARGEST_32:
                self.large.add(handle)
            if handle not in self._attributes:
                self._attributes[handle] = (fsid, fileid)
                key = (self.table.server_of(handle), fsid, fileid)
                self._by_file.setdefault(key, []).append(handle)

    def give_up(self, handles: Iterable[int]) -> None:
        """Forget all about these handles."""
        gone = list(handles)
        self.changes += 1
        for handle in gone:
            parent = self.parents.pop(handle, None)
            if parent is not None and self.children.get(parent) == handle:
                del self.children[parent]
            known = self._attributes.pop(handle, None)
            if known is not None:
                same = self._by_file[self.table.server_of(handle), *known]
                same.remove(handle)
                if not same:
                    del self._by_file[self.table.server_of(handle), *known]
            self._canonical.pop(handle, None)
            self.names.pop(handle, None)
            self.linked.discard(handle)
            self.large.discard(handle)
            self._export[handle] = NO_EXPORT
        lost = set(gone)
        self.children = {
            entry: handle for entry, handle in self.children.items() if not {entry[0], handle} & lost
        }
        self.parents = {handle: entry for handle, entry in self.parents.items() if entry[0] not in lost}
        self._canonical = {one: file for one, file in self._canonical.items() if file not in lost}
        self.table.give_up(gone)

    def fsid_of(self, handle: int) -> int | None:
        """The fsid of a handle's attributes, if seen."""
        known = self._attributes.get(handle)
        return known[0] if known else None

    def canonical(self, handle: int) -> int:
        """The handle that stands for the file: the same for all handles of one file."""
        found = self._canonical.get(handle)
        if found is None:
            found = self._canonical[handle] = self._find_canonical(handle)
        return found

    def _find_canonical(self, handle: int) -> int:
        known = self._attributes.get(handle)
        if known is not None:
            mine = export_key(self.table.data[handle])
            for other in self._by_file[self.table.server_of(handle), *known]:
                if other in self._canonical and export_key(self.table.data[other]) != mine:
                    return self._canonical[other]
        return handle

    def _export_by(self, server: int, key: object) -> Export:
        export = self._by_key.get((server, key))
        if export is None:
            export = Export(len(self.exports), server)
            self.exports.append(export)
            self._by_key[server, key] = export
        return export

    def mounted(self, handle: int, path: bytes) -> Export:
        """`handle` is the root that MNT gave for `path`."""
        self.absorb()
        text = printable(path)
        index = self.export_index(handle)
        if index == NO_EXPORT:
            export = self._export_by(self.table.server_of(handle), ("root", handle))
            self._export[handle] = export.index
        else:
            export = self.exports[index]
        if text not in export.paths:
            export.paths.append(text)
        export.roots.add(handle)
        if handle not in self.roots:
            self.roots[handle] = text
            self.changes += 1
        return export

    def named(self, directory: int, name: bytes, handle: int) -> None:
        """`name` in `directory` is `handle`."""
        if handle == directory or name in (b".", b".."):
            return
        old = self.children.get((directory, name))
        if old is not None and old != handle and self.parents.get(old) == (directory, name):
            del self.parents[old]
        if old != handle:
            self._counted(old, -1)
            self._counted(handle, 1)
        self.children[directory, name] = handle
        self.parents[handle] = (directory, name)
        self.changes += 1

    def unnamed(self, directory: int, name: bytes) -> int:
        """`name` was removed; the handle it had, or -1, whose last name is kept for display."""
        handle = self.children.pop((directory, name), -1)
        if handle >= 0:
            self.table.named[handle] = 0  # its next name is news
            self._counted(handle, -1)
        return handle

    def _counted(self, handle: int | None, change: int) -> None:
        if handle is not None:
            self.names[handle] = self.names.get(handle, 0) + change

    def nameless(self, handle: int) -> bool:
        """Whether the only name that a file is known to have had is gone."""
        return handle not in self.linked and self.names.get(handle, 0) <= 0

    def export_indices(self, handles: I32) -> I32:
        """Export index per handle row, -1 where unknown (vectorised; call `absorb` first)."""
        known = np.where(handles >= 0, self._export[np.maximum(handles, 0)], NO_EXPORT)
        for handle in distinct(handles[(known == NO_EXPORT) & (handles >= 0)])[0]:
            known[handles == handle] = self.export_index(int(handle))
        return known.astype(np.int32)

    def export_index(self, handle: int) -> int:
        """Index of the export a handle belongs to, -1 unknown."""
        if handle < 0:
            return NO_EXPORT
        if handle >= self._seen or self.table.reused:
            self.absorb()
        found = int(self._export[handle])
        if found != NO_EXPORT:
            return found
        at, steps = handle, 0
        while at in self.parents and steps < MAX_DEPTH:
            at, steps = self.parents[at][0], steps + 1
            if self._export[at] != NO_EXPORT:
                found = int(self._export[at])
                break
        if found == NO_EXPORT:
            found = self._by_fsid(handle)
        self._export[handle] = found
        return found

    def _by_fsid(self, handle: int) -> int:
        fsid = self.fsid_of(handle)
        if fsid is None:
            return NO_EXPORT
        server = self.table.server_of(handle)
        for export in self.exports:
            if export.server == server and any(self.fsid_of(root) == fsid for root in export.roots):
                return export.index
        return NO_EXPORT

    def export(self, handle: int) -> Export | None:
        """The export a handle belongs to."""
        index = self.export_index(handle)
        return None if index == NO_EXPORT else self.exports[index]

    def path(self, handle: int) -> str | None:
        """Absolute path, `.../partial`, or None where no name is known."""
        return self.paths((handle,))[handle]

    def paths(
        self, handles: Iterable[int], known: dict[int, str | None] | None = None
    ) -> dict[int, str | None]:
        """The paths of many handles, and of the directories above them: each is walked through once.

        They are added to what is `known`. Names that go in a circle say nothing about where they hang, nor
        does a path no system would take.
        """
        known = {} if known is None else known
        for handle in handles:
            chain: dict[int, bytes] = {}
            at = handle
            while at not in known and at not in chain:
                if at in self.roots:
                    known[at] = self.roots[at].rstrip("/") or "/"
                elif at not in self.parents:
                    known[at] = None
                else:
                    directory, chain[at] = self.parents[at]
                    at = directory
            above = "..." if at in chain else known[at]
            for below, name in reversed(chain.items()):
                if above is None or len(above) > LONGEST_PATH or at in chain:
                    above = "..."
                above = known[below] = f"{'' if above == '/' else above}/{printable(name)}"
        return known

    def text(self, handle: int) -> str | None:
        """The handle in lower-case hex, without the zeros with which NLM 1 and 3 fill it up to 32 bytes."""
        if handle < 0:
            return None
        data = self.table.data[handle]
        if len(data) == PADDED_SIZE:
            size = len(data.rstrip(b"\0"))
            data = data[: size + -size % 4 if is_knfsd(data) else size]  # knfsd's consist of words
        return data.hex()


def printable(raw: bytes) -> str:
    r"""Text of bytes from the wire: UTF-8 where it is, `\xNN` where not, no control characters."""
    text = raw.decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else "".join(f"\\x{b:02x}" for b in c.encode("utf-8", "surrogatepass"))
        for c in text
    )
