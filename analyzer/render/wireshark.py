"""What Wireshark calls the fields that we declare.

In: nothing. Out: for a column of a message the name of Wireshark's field, or why there is none.

Theory. The table is data, as the declarations are. A rule has a pattern and a name; the pattern is about
`PROCEDURE call|reply COLUMN`, or about the column alone where it is one word; the first that fits counts, and
an empty name says that there is none.
Fields that share a name (`nfs.mtime.sec` of the object and of its directory) are told apart by their order
on the wire, which is the same on both sides.

Never: asks Wireshark.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import cache

Rules = tuple[tuple[str, str], ...]

HEADER = (
    *("rpc.xid", "rpc.msgtyp", "rpc.version", "rpc.program", "rpc.programversion", "rpc.procedure"),
    *("rpc.auth.flavor", "rpc.auth.length", "rpc.auth.stamp", "rpc.auth.machinename", "rpc.auth.uid"),
    *("rpc.auth.gid", "rpc.authgss.version", "rpc.authgss.procedure", "rpc.authgss.seqnum"),
    *("rpc.authgss.service", "rpc.authgss.context", "rpc.replystat", "rpc.state_accept"),
    *("rpc.state_reject", "rpc.state_auth", "rpc.version.min", "rpc.version.max"),
    *("rpc.programversion.min", "rpc.programversion.max"),
)
"""Of the RPC header, which is read, not declared: `analyzer.render.compare` says what ours are."""

IN_AUTH_SYS = {
    "stamp": "rpc.auth.stamp",
    "machinename": "rpc.auth.machinename",
    "uid": "rpc.auth.uid",
    "gid": "rpc.auth.gid",
    "gids.gid": "rpc.auth.gid",
}
IN_GSS = {
    "version": "rpc.authgss.version",
    "gss_proc": "rpc.authgss.procedure",
    "seq_num": "rpc.authgss.seqnum",
    "service": "rpc.authgss.service",
    "handle": "rpc.authgss.context",
}


def _lock(wide: str) -> Rules:
    return (
        ("SM_NOTIFY *", ""),
        ("TEST reply status", "nlm.test_stat.stat"),
        ("TEST_RES call status", "nlm.test_stat.stat"),
        ("FREE_ALL call name", "nlm.share.name"),
        ("cookie", "nlm.cookie"),
        ("exclusive", "nlm.exclusive"),
        ("holder_exclusive", "nlm.exclusive"),
        ("block", "nlm.block"),
        ("reclaim", "nlm.reclaim"),
        ("state", "nlm.state"),
        ("status", "nlm.stat"),
        ("sequence", "nlm.sequence"),
        ("mode", "nlm.share.mode"),
        ("access", "nlm.share.access"),
        ("caller_name", "nlm.lock.caller_name"),
        ("fh", "nfs.fhandle"),
        ("*oh", "nlm.lock.owner"),
        ("*svid", "nlm.lock.svid"),
        ("*l_offset", f"nlm.lock.l_offset{wide}"),
        ("*l_len", f"nlm.lock.l_len{wide}"),
    )


INNER: Rules = (
    ("prog", "portmap.prog"),
    ("vers", "portmap.version"),
    ("proc", "portmap.proc"),
    ("args", "portmap.args"),
    ("addr", "portmap.rpcb.addr"),
    ("res", "portmap.result"),
)
RPCB: Rules = (
    ("*prog", "portmap.rpcb.prog"),
    ("*vers", "portmap.rpcb.version"),
    ("*netid", "portmap.rpcb.netid"),
    ("*addr", "portmap.rpcb.addr"),
    ("*owner", "portmap.rpcb.owner"),
)


def _times(fraction: str) -> Rules:
    """The three times of a file, in seconds and a fraction."""
    return tuple(
        (f"*{time}_{part}", f"nfs.{time}.{part}")
        for time in ("atime", "mtime", "ctime")
        for part in ("sec", fraction)
    )


FATTR: Rules = (
    ("*attr_type", "nfs.fattr3.type"),
    ("*attr_mode", "nfs.mode3"),
    ("*attr_nlink", "nfs.fattr3.nlink"),
    ("*attr_uid", "nfs.fattr3.uid"),
    ("*attr_gid", "nfs.fattr3.gid"),
    ("*attr_size", "nfs.fattr3.size"),
    ("*attr_used", "nfs.fattr3.used"),
    ("*attr_rdev_major", "nfs.specdata1"),
    ("*attr_rdev_minor", "nfs.specdata2"),
    ("*attr_fsid", "nfs.fattr3.fsid"),
    ("*attr_fileid", "nfs.fattr3.fileid"),
    *_times("nsec"),
)

FATTR2: Rules = (
    ("attr_type", "nfs.ftype"),
    ("attr_mode", "nfs.mode"),
    *((f"attr_{name}", f"nfs.fattr.{name}") for name in ("nlink", "uid", "gid", "size", "blocksize", "rdev")),
    *((f"attr_{name}", f"nfs.fattr.{name}") for name in ("blocks", "fsid", "fileid")),
    *_times("usec"),
)
ACL: Rules = (
    ("fh", "nfs.fhandle"),
    ("status", "nfs.status"),
    ("mask", "nfsacl.mask"),
    ("acl_count", "nfsacl.aclcnt"),
    ("dfacl_count", "nfsacl.dfaclcnt"),
    ("*acl.type", "nfsacl.aclent.type"),
    ("*acl.id", "nfsacl.aclent.uid"),
    ("*acl.perm", "nfsacl.aclent.perm"),
    ("createdir", "nfsacl.create"),
)

NAMES: dict[str, Rules] = {
    "PORTMAP": (
        ("*prog", "portmap.prog"),
        ("*vers", "portmap.version"),
        ("*prot", "portmap.proto"),
        ("*port", "portmap.port"),
        ("proc", "portmap.proc"),
        ("args", "portmap.args"),
        ("res", "portmap.result"),
        ("done", "portmap.answer"),
    ),
    "RPCBIND": (
        *(
            (f"{procedure} * {column}", name)
            for procedure in ("CALLIT", "BCAST", "INDIRECT")
            for column, name in INNER
        ),
        ("GETADDR reply addr", "portmap.uaddr"),
        *(
            (f"{message} {column}", name)
            for message in ("GETADDR call", "DUMP reply")
            for column, name in RPCB
        ),
    ),
    "MOUNT": (
        ("* call dirpath", "mount.path"),
        ("status", "mount.status"),
        ("fh", "nfs.fhandle"),
        ("auth_flavors.flavor", "mount.flavor"),
        ("mounts.hostname", "mount.dump.hostname"),
        ("mounts.dirpath", "mount.dump.directory"),
        ("exports.dirpath", "mount.export.directory"),
        ("exports.groups.name", "mount.export.group"),
        ("pc_link_max", "mount.pathconf.link_max"),
        ("pc_max_canon", "mount.pathconf.max_canon"),
        ("pc_max_input", "mount.pathconf.max_input"),
        ("pc_name_max", "mount.pathconf.name_max"),
        ("pc_path_max", "mount.pathconf.path_max"),
        ("pc_pipe_buf", "mount.pathconf.pipe_buf"),
        ("pc_vdisable", "mount.pathconf.vdisable_char"),
        ("pc_mask0", "mount.pathconf.mask"),
    ),
    "NLM1": _lock(""),
    "NLM3": _lock(""),
    "NLM4": _lock("64"),
    "NSM": (
        ("SM_STAT call mon_name", "stat.name"),
        ("SM_STAT reply state", "stat.stat_res.state"),
        ("SM_MON reply state", "stat.stat_res.state"),
        ("status", "stat.stat_res.res"),
        ("mon_name", "stat.mon_id.name"),
        ("my_name", "stat.my_id.hostname"),
        ("my_prog", "stat.my_id.prog"),
        ("my_vers", "stat.my_id.vers"),
        ("my_proc", "stat.my_id.proc"),
        ("priv", "stat.priv"),
        ("state", "stat.state"),
    ),
    "NFS3": (
        ("ACCESS call access", "nfs.access_check"),
        ("ACCESS reply access", "nfs.access_rights"),
        ("CREATE call mode", "nfs.createmode"),
        ("MKNOD call type", "nfs.type"),
        ("UMOUNT *", ""),
        ("set_mtime_sec", "nfs.atime.sec"),  # Wireshark shows this time under the name of the other
        ("set_mtime_nsec", "nfs.atime.nsec"),
        ("data_length", "nfs.data"),
        ("READ reply eof", "nfs.read.eof"),
        ("READDIR* reply eof", "nfs.readdir.eof"),
        ("READDIR reply entries.fileid", "nfs.readdir.entry3.fileid"),
        ("READDIR reply entries.name", "nfs.readdir.entry3.name"),
        ("READDIR reply entries.cookie", "nfs.readdir.entry3.cookie"),
        ("READDIRPLUS reply entries.fileid", "nfs.readdirplus.entry.fileid"),
        ("READDIRPLUS reply entries.name", "nfs.readdirplus.entry.name"),
        ("READDIRPLUS reply entries.cookie", "nfs.readdirplus.entry.cookie"),
        ("READDIR* call cookie", "nfs.cookie3"),
        ("READLINK reply target", "nfs.readlink.data"),
        ("SYMLINK call target", "nfs.symlink.to"),
        *FATTR,
        ("*before_size", "nfs.wcc_attr.size"),
        ("*fh", "nfs.fhandle"),
        ("*name", "nfs.name"),
        ("status", "nfs.status3"),
        ("offset", "nfs.offset3"),
        ("count", "nfs.count3"),
        ("dircount", "nfs.count3_dircount"),
        ("maxcount", "nfs.count3_maxcount"),
        ("stable", "nfs.write.stable"),
        ("committed", "nfs.write.committed"),
        ("verf", "nfs.verifier"),
        ("cookieverf", "nfs.verifier"),
        ("set_mode", "nfs.mode3"),
        ("set_uid", "nfs.uid3"),
        ("set_gid", "nfs.gid3"),
        ("set_size", "nfs.set_size"),
        ("rdev_major", "nfs.specdata1"),
        ("rdev_minor", "nfs.specdata2"),
        *(
            (name, f"nfs.fsstat3_resok.{name}")
            for name in ("tbytes", "fbytes", "abytes", "tfiles", "ffiles", "afiles")
        ),
        ("invarsec", "nfs.fsstat.invarsec"),
        ("rtmax", "nfs.fsinfo.rtmax"),
        ("rtpref", "nfs.fsinfo.rtpref"),
        ("rtmult", "nfs.fsinfo.rtmult"),
        ("wtmax", "nfs.fsinfo.wtmax"),
        ("wtpref", "nfs.fsinfo.wtpref"),
        ("wtmult", "nfs.fsinfo.wtmult"),
        ("dtpref", "nfs.fsinfo.dtpref"),
        ("maxfilesize", "nfs.fsinfo.maxfilesize"),
        ("time_delta_sec", "nfs.dtime.sec"),
        ("time_delta_nsec", "nfs.dtime.nsec"),
        ("properties", "nfs.fsinfo.properties"),
        ("linkmax", "nfs.pathconf.linkmax"),
        ("name_max", "nfs.pathconf.name_max"),
        ("no_trunc", "nfs.pathconf.no_trunc"),
        ("chown_restricted", "nfs.pathconf.chown_restricted"),
        ("case_insensitive", "nfs.pathconf.case_insensitive"),
        ("case_preserving", "nfs.pathconf.case_preserving"),
    ),
    "NFS_ACL2": (
        *FATTR2,
        ("ACCESS call access", "nfs.access_check"),
        ("ACCESS reply access", "nfs.access_rights"),
        *ACL,
    ),
    "NFS_ACL3": (*FATTR, *ACL),
}

BARE = (*("SET", "UNSET", "GETTIME", "UADDR2TADDR", "TADDR2UADDR", "GETVERSADDR", "GETADDRLIST", "GETSTAT"),)
UNNAMED: Rules = (
    ("NLM? SM_NOTIFY *", "Wireshark does not know procedure 16, which Linux's statd uses"),
    ("NFS3 UMOUNT *", "Wireshark does not know procedure 22, which was never merged anywhere"),
    (
        "NFS3 * set_?time_how",
        "Wireshark has one name, nfs.set_it, for this and for the flags of all that may be set",
    ),
    *(
        (f"RPCBIND? {procedure} *", "Wireshark names this procedure and decodes nothing of it")
        for procedure in BARE
    ),
    ("MOUNT2 PATHCONF reply pc_xxx", "Wireshark skips the unused word"),
    ("MOUNT2 PATHCONF reply pc_mask1", "Wireshark looks at the first word of the mask"),
)
"""Columns for which Wireshark has no field, and why: program, message and column."""

KNOWN: Rules = (
    ("NFS3 ACCESS * nfs.access_*", "Wireshark shows the low 8 bits of the rights"),
    ("NFS_ACL2 ACCESS * nfs.access_*", "Wireshark shows the low 8 bits of the rights"),
    ("NFS_ACL2 GETATTR reply *", "Wireshark takes the status for the first of the attributes"),
    ("NFS_ACL3 GETXATTRDIR reply *", "Wireshark shows no attributes behind a status that says failure"),
    ("NLM? FREE_ALL call nlm.state", "Wireshark shows the first 4 of the 8 bytes that Ganesha sends"),
    ("NSM1 SM_* reply stat.stat_res.state", "Wireshark shows the state only behind STAT_SUCC"),
    (
        "MOUNT2 PATHCONF reply *",
        "Wireshark shows 16 bits, and nothing where the mask says that nothing is known",
    ),
)
"""Where Wireshark is known to be short of what the bytes say: message and Wireshark's name."""


@cache
def name_of(program: str, version: int, message: str, column: str) -> str | None:
    """Wireshark's name for a column of a message (`LOCK call`), or None."""
    rules = NAMES.get(f"{program}{version}") or NAMES.get(program, ())
    return _first(rules, f"{message} {column}", column) or None


@cache
def why_not(program: str, version: int, message: str, column: str) -> str | None:
    """Why Wireshark has no field for a column, or None where nobody has said why."""
    return _first(UNNAMED, f"{program}{version} {message} {column}", column)


@cache
def known_reason(message: str, name: str) -> str | None:
    """Why the two sides are known to differ in a field of a message (`NLM4 LOCK call`), or None."""
    return _first(KNOWN, f"{message} {name}", "")


def _first(rules: Rules, whole: str, column: str) -> str | None:
    return next(
        (name for pattern, name in rules if fnmatchcase(whole if " " in pattern else column, pattern)), None
    )
