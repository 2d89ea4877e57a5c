"""What the record stage makes of a block.

In: nothing (definitions). Out: `Said`, all messages of a kind; `Batch`, the block.

Theory. See `decode`, which fills them.

Never: outlives its block.
"""

from __future__ import annotations

from typing import NamedTuple

from analyzer.frozen import frozen
from analyzer.records.events import Activity, Event
from analyzer.records.handles import Described
from analyzer.records.rows import Rows
from analyzer.schema.rows import Columns
from analyzer.tables import I32, I64, Bytes, Messages

Kind = tuple[int, int, int]  # program, version, procedure
Found = tuple[int, Event]  # row in `Messages`, and what happened there
Identity = tuple[int | None, bytes | None]  # uid, machine name


class Said(NamedTuple):
    """Messages of one kind and direction, decoded."""

    kind: Kind
    rows: Rows  # in `Messages`
    decoded: Rows  # indices of those that were decoded: not the replies that refuse
    columns: Columns | None  # of these, None where nothing is declared
    faults: I64  # of all, -1 none
    handles: I32  # that all of them name, -1 none; of replies only those to MNT


@frozen
class Batch:
    """What a block says. Good for as long as its memory is."""

    memory: Bytes
    messages: Messages
    asked: list[Said]
    answered: list[Said]
    others: list[Found]  # what happened besides calls and replies that become objects
    activity: Activity
    names: list[tuple[int, bytes]]  # host, machine name in its NFS credentials
    described: list[Described]
    handles: int  # rows of the handle table known by now
