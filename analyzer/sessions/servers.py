"""How lock servers differ: who owns a lock, what is said to a `_MSG`, what becomes of a cookie.

In: the model a user names, or file handles. Out: the `Model` of the server behind a handle.

Theory. The standard (XNFS C702) tells owners apart by caller_name, oh and svid, answers a `_MSG` by its
`_RES` alone, and returns a cookie as it came. Linux compares no names: an owner is an address, a transport,
an NLM version and a svid; it sends a void RPC reply to each `_MSG` besides, and turns an empty cookie into
four zero bytes. Ganesha keeps to the standard, but the same names from two addresses are two owners to it.
Handles of knfsd and of Ganesha are known by their layout. Of any other server nothing is assumed: it takes
the fewest owners for one, and may do with a cookie what any does.

Never: looks at the results of a server to guess what it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from analyzer.errors import AnalyzerError
from analyzer.parameters import AUTO
from analyzer.records.handles import HandleTable, export_key

if TYPE_CHECKING:
    from analyzer.sessions.operations import Operation

OwnerKey = tuple[object, ...]


class Model(NamedTuple):
    """One kind of lock server."""

    name: str
    owner: Callable[[int, int, Operation], OwnerKey]  # of server, client, request
    replies_to_msg: bool  # by RPC, besides the `_RES`
    fills_empty_cookie: bool

    def same_cookie(self, asked: bytes, answered: bytes) -> bool:
        """Whether a result with one cookie answers the request with the other."""
        return asked == answered or (self.fills_empty_cookie and not asked and answered == b"\0\0\0\0")


def _by_address(server: int, client: int, operation: Operation) -> OwnerKey:
    call = operation.call
    return (server, client, call.transport, call.version, operation.svid)


def _by_address_and_names(server: int, client: int, operation: Operation) -> OwnerKey:
    return (server, client, operation.svid, operation.oh, operation.caller)


def _by_names(server: int, _client: int, operation: Operation) -> OwnerKey:
    return (server, operation.svid, operation.oh, operation.caller)


LINUX = Model("linux", _by_address, True, True)
GANESHA = Model("ganesha", _by_address_and_names, False, False)
STRICT = Model("strict", _by_names, False, False)
UNKNOWN = Model("unknown", _by_address_and_names, False, True)
BY_LAYOUT = {b"k": LINUX, b"g": GANESHA}
MODELS = {model.name: model for model in (LINUX, GANESHA, STRICT)}


class Servers:
    """The model of each server, or the one that is taken for all."""

    def __init__(self, handles: HandleTable, named: str = AUTO) -> None:
        if named != AUTO and named not in MODELS:
            raise AnalyzerError(f"no server model is called {named}; there are {', '.join((*MODELS, AUTO))}")
        self.handles = handles
        self.named = MODELS.get(named)

    def model(self, fh: int) -> Model:
        """The model of the server that made a handle."""
        if self.named is not None:
            return self.named
        layout = export_key(self.handles.data[fh]) if fh >= 0 else None
        return BY_LAYOUT.get(layout[:1], UNKNOWN) if layout is not None else UNKNOWN
