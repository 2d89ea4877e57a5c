"""NFS version 3 (100003, RFC 1813), and the procedure 22 that it never got.

In: nothing. Out: `NFS3`, and the types that NFS_ACL shares.

`fh` is the object a call is about; where it names an entry of a directory, the directory is
`dir_fh` and the entry `name`. Attributes carry the name of what they describe as a prefix.
READ and WRITE carry bulk data: its length is kept, the bytes are not.

Never: decodes.
"""

from analyzer.schema.program import Procedure, Program
from analyzer.schema.xdr import U32, U64, VOID, Bool, Field, List, Opaque, Optional, Struct, Text, Type, Union

NFS = 100003
STATUS = {
    0: "NFS3_OK",
    1: "NFS3ERR_PERM",
    2: "NFS3ERR_NOENT",
    5: "NFS3ERR_IO",
    6: "NFS3ERR_NXIO",
    13: "NFS3ERR_ACCES",
    17: "NFS3ERR_EXIST",
    18: "NFS3ERR_XDEV",
    19: "NFS3ERR_NODEV",
    20: "NFS3ERR_NOTDIR",
    21: "NFS3ERR_ISDIR",
    22: "NFS3ERR_INVAL",
    27: "NFS3ERR_FBIG",
    28: "NFS3ERR_NOSPC",
    30: "NFS3ERR_ROFS",
    31: "NFS3ERR_MLINK",
    63: "NFS3ERR_NAMETOOLONG",
    66: "NFS3ERR_NOTEMPTY",
    69: "NFS3ERR_DQUOT",
    70: "NFS3ERR_STALE",
    71: "NFS3ERR_REMOTE",
    10001: "NFS3ERR_BADHANDLE",
    10002: "NFS3ERR_NOT_SYNC",
    10003: "NFS3ERR_BAD_COOKIE",
    10004: "NFS3ERR_NOTSUPP",
    10005: "NFS3ERR_TOOSMALL",
    10006: "NFS3ERR_SERVERFAULT",
    10007: "NFS3ERR_BADTYPE",
    10008: "NFS3ERR_JUKEBOX",
}
FILE_TYPE = {1: "NF3REG", 2: "NF3DIR", 3: "NF3BLK", 4: "NF3CHR", 5: "NF3LNK", 6: "NF3SOCK", 7: "NF3FIFO"}
STABLE = {0: "UNSTABLE", 1: "DATA_SYNC", 2: "FILE_SYNC"}
CREATE_MODE = {0: "UNCHECKED", 1: "GUARDED", 2: "EXCLUSIVE"}
TIME_HOW = {0: "DONT_CHANGE", 1: "SET_TO_SERVER_TIME", 2: "SET_TO_CLIENT_TIME"}

HANDLE = Opaque(64)
NAME = Text(1024)
PATH = Text(4096)
DATA = Opaque(1 << 24)
VERIFIER = Opaque(8, fixed=True)
"""RFC 1813 bounds neither names, paths nor data; these bounds are above what any server takes."""

FH = Field("fh", HANDLE, "handle of the object")
STATUS_FIELD = Field("status", U32(STATUS), "outcome")
TIME = Struct(Field("sec", U32(), "seconds since 1970", "s"), Field("nsec", U32(), "and nanoseconds", "ns"))
FATTR = Struct(
    Field("type", U32(FILE_TYPE), "kind of file"),
    Field("mode", U32(), "permission bits"),
    Field("nlink", U32(), "hard links"),
    Field("uid", U32(), "owning user"),
    Field("gid", U32(), "owning group"),
    Field("size", U64(), "size", "bytes"),
    Field("used", U64(), "room taken on disk", "bytes"),
    Field("rdev_major", U32(), "major device number"),
    Field("rdev_minor", U32(), "minor device number"),
    Field("fsid", U64(), "file system"),
    Field("fileid", U64(), "number of the file in its file system"),
    Field("atime", TIME, "last access"),
    Field("mtime", TIME, "last change of the data"),
    Field("ctime", TIME, "last change of the attributes"),
)
POST_OP = Optional(FATTR)
ATTR = Field("attr", POST_OP, "attributes after the call")
OBJ_ATTR = Field("obj_attr", POST_OP, "attributes of the object")
DIR_ATTR = Field("dir_attr", POST_OP, "attributes of the directory")
BEFORE = Struct(Field("size", U64(), "size", "bytes"), Field("mtime", TIME), Field("ctime", TIME))


def wcc(name: str, meaning: str) -> tuple[Field, Field]:
    """wcc_data: some attributes before the change, all of them after."""
    return (
        Field(f"{name}before", Optional(BEFORE), f"attributes of the {meaning} before the call"),
        Field(f"{name}attr", POST_OP, f"attributes of the {meaning} after the call"),
    )


WCC = wcc("", "object")
DIR_WCC = wcc("dir_", "directory")


def result(*ok: Field, fail: tuple[Field, ...] = ()) -> Union:
    """A status, and what follows it on success and on failure."""
    return Union(STATUS_FIELD, {0: Struct(*ok)}, Struct(*fail))


def set_time(name: str, meaning: str) -> Field:
    """set_atime, set_mtime: a time follows only where it is the client's."""
    return Field(name, Union(Field("how", U32(TIME_HOW), f"how to set the {meaning}"), {2: TIME}), meaning)


SATTR = (
    Field("set_mode", Optional(U32()), "permission bits to set"),
    Field("set_uid", Optional(U32()), "owning user to set"),
    Field("set_gid", Optional(U32()), "owning group to set"),
    Field("set_size", Optional(U64()), "size to set", "bytes"),
    set_time("set_atime", "time of last access"),
    set_time("set_mtime", "time of last change"),
)
ENTRY_NAME = Field("name", NAME, "name in the directory")
DIROP = (Field("dir_fh", HANDLE, "handle of the directory"), ENTRY_NAME)
CREATED = result(
    Field("fh", Optional(HANDLE), "handle of the new object"),
    OBJ_ATTR,
    *DIR_WCC,
    fail=DIR_WCC,
)
REMOVED = result(*DIR_WCC, fail=DIR_WCC)
OFFSET = Field("offset", U64(), "first byte", "bytes")
COUNT = Field("count", U32(), "bytes asked for, or done", "bytes")
VERF = Field("verf", VERIFIER, "changes when the server restarts")
COOKIE = Field("cookie", U64(), "place in the directory")
COOKIEVERF = Field("cookieverf", VERIFIER, "says whether cookies still hold")
FILEID = Field("fileid", U64(), "number of the file in its file system")
EOF = Field("eof", Bool(), "whether the end was reached")
LISTING = (FILEID, ENTRY_NAME, COOKIE)

CREATE_HOW = Union(
    Field("mode", U32(CREATE_MODE), "what to do where the name exists"),
    {
        0: Struct(*SATTR),
        1: Struct(*SATTR),
        2: Struct(Field("verf", VERIFIER, "tells a repeated call from another one")),
    },
)
DEVICE = Struct(
    *SATTR,
    Field("rdev_major", U32(), "major device number"),
    Field("rdev_minor", U32(), "minor device number"),
)
MKNOD_WHAT = Union(
    Field("type", U32(FILE_TYPE), "kind of file to make"),
    {3: DEVICE, 4: DEVICE, 6: Struct(*SATTR), 7: Struct(*SATTR)},
)
FSSTAT = (
    Field("tbytes", U64(), "size of the file system", "bytes"),
    Field("fbytes", U64(), "free", "bytes"),
    Field("abytes", U64(), "free for the caller", "bytes"),
    Field("tfiles", U64(), "file slots"),
    Field("ffiles", U64(), "free file slots"),
    Field("afiles", U64(), "file slots free for the caller"),
    Field("invarsec", U32(), "for how long this is expected to hold", "s"),
)
FSINFO = (
    Field("rtmax", U32(), "largest READ", "bytes"),
    Field("rtpref", U32(), "preferred READ", "bytes"),
    Field("rtmult", U32(), "multiple for READ", "bytes"),
    Field("wtmax", U32(), "largest WRITE", "bytes"),
    Field("wtpref", U32(), "preferred WRITE", "bytes"),
    Field("wtmult", U32(), "multiple for WRITE", "bytes"),
    Field("dtpref", U32(), "preferred READDIR", "bytes"),
    Field("maxfilesize", U64(), "largest file", "bytes"),
    Field("time_delta", TIME, "granularity of time"),
    Field("properties", U32(), "what the file system can do, as bits"),
)
PATHCONF = (
    Field("linkmax", U32(), "most hard links"),
    Field("name_max", U32(), "longest name", "bytes"),
    Field("no_trunc", Bool(), "whether a name too long is refused"),
    Field("chown_restricted", Bool(), "whether only root may change owners"),
    Field("case_insensitive", Bool(), "whether names differ by case"),
    Field("case_preserving", Bool(), "whether names keep their case"),
)


def procedure(number: int, name: str, call: Type, reply: Type) -> Procedure:
    """A procedure of RFC 1813, which has a section for each."""
    return Procedure(number, name, f"RFC 1813 3.3.{number}", call, reply)


FROM_DIR = Field("from_dir_fh", HANDLE, "handle of the old directory")
TO_DIR = Field("to_dir_fh", HANDLE, "handle of the new directory")
RENAME_WCC = (*wcc("from_dir_", "old directory"), *wcc("to_dir_", "new directory"))
LINK_WCC = (ATTR, *wcc("link_dir_", "directory"))
GUARD = Field("guard", Optional(Struct(Field("ctime", TIME, "attributes must be as of this time"))))
SYMLINK_PATH = Field("target", PATH, "what the link points to")
PLUS_ENTRY = Struct(*LISTING, ATTR, Field("fh", Optional(HANDLE), "handle of the entry"))
STABLE_FIELD = Field("stable", U32(STABLE), "how safely to write")

TABLE = (
    procedure(0, "NULL", VOID, VOID),
    procedure(1, "GETATTR", Struct(FH), result(Field("attr", FATTR, "attributes"))),
    procedure(2, "SETATTR", Struct(FH, *SATTR, GUARD), result(*WCC, fail=WCC)),
    procedure(3, "LOOKUP", Struct(*DIROP), result(FH, OBJ_ATTR, DIR_ATTR, fail=(DIR_ATTR,))),
    procedure(
        4,
        "ACCESS",
        Struct(FH, Field("access", U32(), "rights asked for, as bits")),
        result(ATTR, Field("access", U32(), "rights granted, as bits"), fail=(ATTR,)),
    ),
    procedure(5, "READLINK", Struct(FH), result(ATTR, SYMLINK_PATH, fail=(ATTR,))),
    procedure(
        6,
        "READ",
        Struct(FH, OFFSET, COUNT),
        result(ATTR, COUNT, EOF, Field("data", DATA, "data read", "bytes", keep=False), fail=(ATTR,)),
    ),
    procedure(
        7,
        "WRITE",
        Struct(FH, OFFSET, COUNT, STABLE_FIELD, Field("data", DATA, "data to write", "bytes", keep=False)),
        result(*WCC, COUNT, Field("committed", U32(STABLE), "how safely it was written"), VERF, fail=WCC),
    ),
    procedure(8, "CREATE", Struct(*DIROP, Field("", CREATE_HOW)), CREATED),
    procedure(9, "MKDIR", Struct(*DIROP, *SATTR), CREATED),
    procedure(10, "SYMLINK", Struct(*DIROP, *SATTR, SYMLINK_PATH), CREATED),
    procedure(11, "MKNOD", Struct(*DIROP, Field("", MKNOD_WHAT)), CREATED),
    procedure(12, "REMOVE", Struct(*DIROP), REMOVED),
    procedure(13, "RMDIR", Struct(*DIROP), REMOVED),
    procedure(
        14,
        "RENAME",
        Struct(FROM_DIR, Field("from_name", NAME, "old name"), TO_DIR, Field("to_name", NAME, "new name")),
        result(*RENAME_WCC, fail=RENAME_WCC),
    ),
    procedure(
        15,
        "LINK",
        Struct(
            FH, Field("link_dir_fh", HANDLE, "handle of the directory"), Field("link_name", NAME, "new name")
        ),
        result(*LINK_WCC, fail=LINK_WCC),
    ),
    procedure(
        16,
        "READDIR",
        Struct(FH, COOKIE, COOKIEVERF, COUNT),
        result(
            DIR_ATTR,
            COOKIEVERF,
            Field("entries", List(Struct(*LISTING)), "entries of the directory"),
            EOF,
            fail=(DIR_ATTR,),
        ),
    ),
    procedure(
        17,
        "READDIRPLUS",
        Struct(
            FH,
            COOKIE,
            COOKIEVERF,
            Field("dircount", U32(), "most bytes of names wanted", "bytes"),
            Field("maxcount", U32(), "largest reply wanted", "bytes"),
        ),
        result(
            DIR_ATTR,
            COOKIEVERF,
            Field("entries", List(PLUS_ENTRY), "entries of the directory"),
            EOF,
            fail=(DIR_ATTR,),
        ),
    ),
    procedure(18, "FSSTAT", Struct(FH), result(ATTR, *FSSTAT, fail=(ATTR,))),
    procedure(19, "FSINFO", Struct(FH), result(ATTR, *FSINFO, fail=(ATTR,))),
    procedure(20, "PATHCONF", Struct(FH), result(ATTR, *PATHCONF, fail=(ATTR,))),
    procedure(21, "COMMIT", Struct(FH, OFFSET, COUNT), result(*WCC, VERF, fail=WCC)),
    Procedure(
        22,
        "UMOUNT",
        "linux-nfs 2012, never merged",
        Struct(Field("dummy", U32(), "unused")),
        result(Field("result", U32(), "unused")),
    ),
)

NFS3 = Program(NFS, 3, "NFS", {each.number: each for each in TABLE})
