"""Programs that are counted but not decoded: only the names of their procedures.

In: nothing. Out: a `Program` for each.

NFS 2 (RFC 1094) and 4 (RFC 7530), rquota, KLM (the lock manager's local side) and the callback
that SGI's status monitor makes.

Never: decodes.
"""

from analyzer.schema.program import Procedure, Program


def named(number: int, version: int, label: str, source: str, names: str, first: int = 0) -> Program:
    """A program whose procedures, from `first` on, have these names."""
    table = {at: Procedure(at, name, source) for at, name in enumerate(names.split(), first)}
    return Program(number, version, label, table)


NFS2_NAMES = (
    "NULL GETATTR SETATTR ROOT LOOKUP READLINK READ WRITECACHE WRITE CREATE REMOVE RENAME LINK SYMLINK "
    "MKDIR RMDIR READDIR STATFS"
)
RQUOTA_NAMES = "NULL GETQUOTA GETACTIVEQUOTA SETQUOTA SETACTIVEQUOTA"

NFS2 = named(100003, 2, "NFS", "RFC 1094 2.2", NFS2_NAMES)
NFS4 = named(100003, 4, "NFS", "RFC 7530 16", "NULL COMPOUND")
RQUOTA1 = named(100011, 1, "RQUOTA", "rquota.x", "NULL GETQUOTA GETACTIVEQUOTA")
RQUOTA2 = named(100011, 2, "RQUOTA", "rquota.x", RQUOTA_NAMES)
KLM1 = named(100020, 1, "KLM", "klm_prot.x", "NULL TEST LOCK CANCEL UNLOCK")
STAT_CB1 = named(200048, 1, "STAT_CB", "SGI statd", "NULL MON_CALLBACK")
