"""NFS_ACL (100227), versions 2 and 3: POSIX access lists, on the connection of NFS.

In: nothing. Out: `NFS_ACL2`, `NFS_ACL3`.

No standard: as in Linux (`include/uapi/linux/nfsacl.h`, `fs/nfs_common/nfsacl.c`) and Solaris.

Never: decodes.
"""

from analyzer.protocols import nfs3
from analyzer.schema.program import Procedure, Program
from analyzer.schema.xdr import U32, VOID, Array, Bool, Field, Opaque, Struct, Union

NFS_ACL = 100227
SOURCE = "Linux nfs_common/nfsacl.c"
MASK = Field(
    "mask", U32(), "which lists are wanted or present: 1 access, 2 its count, 4 default, 8 its count"
)
ENTRY = Struct(
    Field("type", U32(), "whom the entry is for: owner, user, group, ..."),
    Field("id", U32(), "user or group"),
    Field("perm", U32(), "permission bits"),
)
LISTS = (
    MASK,
    Field("acl_count", U32(), "entries of the access list"),
    Field("acl", Array(ENTRY, 1024), "access list"),
    Field("dfacl_count", U32(), "entries of the default list"),
    Field("dfacl", Array(ENTRY, 1024), "default list"),
)
ACCESS = Field("access", U32(), "rights, as bits")
CREATE_DIR = Field("createdir", Bool(), "make the directory where there is none")

FH2 = Field("fh", Opaque(32, fixed=True), "handle of the object")
TIME2 = Struct(Field("sec", U32(), "seconds since 1970", "s"), Field("usec", U32(), "and microseconds", "us"))
FATTR2 = Struct(
    Field("type", U32(), "kind of file"),
    Field("mode", U32(), "kind and permission bits"),
    Field("nlink", U32(), "hard links"),
    Field("uid", U32(), "owning user"),
    Field("gid", U32(), "owning group"),
    Field("size", U32(), "size", "bytes"),
    Field("blocksize", U32(), "size of a block", "bytes"),
    Field("rdev", U32(), "device number"),
    Field("blocks", U32(), "blocks taken on disk"),
    Field("fsid", U32(), "file system"),
    Field("fileid", U32(), "number of the file in its file system"),
    Field("atime", TIME2, "last access"),
    Field("mtime", TIME2, "last change of the data"),
    Field("ctime", TIME2, "last change of the attributes"),
)
ATTR2 = Field("attr", FATTR2, "attributes (RFC 1094 2.3.5)")


def result2(*ok: Field) -> Union:
    """Version 2 has nothing after a status that says failure."""
    return Union(Field("status", U32(), "outcome, an nfsstat of RFC 1094"), {0: Struct(*ok)})


NFS_ACL2 = Program(
    NFS_ACL,
    2,
    "NFS_ACL",
    {
        0: Procedure(0, "NULL", SOURCE, VOID, VOID),
        1: Procedure(1, "GETACL", SOURCE, Struct(FH2, MASK), result2(ATTR2, *LISTS)),
        2: Procedure(2, "SETACL", SOURCE, Struct(FH2, *LISTS), result2(ATTR2)),
        3: Procedure(3, "GETATTR", SOURCE, Struct(FH2), result2(ATTR2)),
        4: Procedure(4, "ACCESS", SOURCE, Struct(FH2, ACCESS), result2(ATTR2, ACCESS)),
        5: Procedure(5, "GETXATTRDIR", SOURCE, Struct(FH2, CREATE_DIR), result2(FH2, ATTR2)),
    },
)
NFS_ACL3 = Program(
    NFS_ACL,
    3,
    "NFS_ACL",
    {
        0: Procedure(0, "NULL", SOURCE, VOID, VOID),
        1: Procedure(
            1, "GETACL", SOURCE, Struct(nfs3.FH, MASK), nfs3.result(nfs3.ATTR, *LISTS, fail=(nfs3.ATTR,))
        ),
        2: Procedure(2, "SETACL", SOURCE, Struct(nfs3.FH, *LISTS), nfs3.result(nfs3.ATTR, fail=(nfs3.ATTR,))),
        3: Procedure(
            3,
            "GETXATTRDIR",
            SOURCE,
            Struct(nfs3.FH, CREATE_DIR),
            nfs3.result(nfs3.FH, nfs3.ATTR, fail=(nfs3.ATTR,)),
        ),
    },
)
