"""ONC RPC itself (RFC 5531): its enums, and the credential bodies.

In: nothing. Out: `AUTH_SYS_BODY`, `GSS_BODY`, `GSS_INIT_REPLY` and the names of RPC's numbers.

The message header is read by the kernels of `analyzer.messages`; what is declared here is what
stands inside a credential, and what the numbers of the header are called.

Never: decodes.
"""

from analyzer.schema.xdr import I32, U32, Array, Field, Opaque, Struct, Text

ACCEPT_STATUS = {
    0: "SUCCESS",
    1: "PROG_UNAVAIL",
    2: "PROG_MISMATCH",
    3: "PROC_UNAVAIL",
    4: "GARBAGE_ARGS",
    5: "SYSTEM_ERR",
}
AUTH_STATUS = {
    0: "AUTH_OK",
    1: "AUTH_BADCRED",
    2: "AUTH_REJECTEDCRED",
    3: "AUTH_BADVERF",
    4: "AUTH_REJECTEDVERF",
    5: "AUTH_TOOWEAK",
    6: "AUTH_INVALIDRESP",
    7: "AUTH_FAILED",
    8: "AUTH_KERB_GENERIC",
    9: "AUTH_TIMEEXPIRE",
    10: "AUTH_TKT_FILE",
    11: "AUTH_DECODE",
    12: "AUTH_NET_ADDR",
    13: "RPCSEC_GSS_CREDPROBLEM",
    14: "RPCSEC_GSS_CTXPROBLEM",
}
RPC_MISMATCH = 10
AUTH_ERROR = 20
RPC_STATUS = (
    ACCEPT_STATUS
    | {RPC_MISMATCH: "RPC_MISMATCH"}
    | {AUTH_ERROR + number: name for number, name in AUTH_STATUS.items()}
)
"""Names of `Messages.status`: an accept_stat, 10 for RPC_MISMATCH, 20 + auth_stat for AUTH_ERROR."""

AUTH_NONE, AUTH_SYS, AUTH_SHORT, AUTH_DH, RPCSEC_GSS, AUTH_TLS = 0, 1, 2, 3, 6, 7
AUTH_FLAVORS = {
    AUTH_NONE: "AUTH_NONE",
    AUTH_SYS: "AUTH_SYS",
    AUTH_SHORT: "AUTH_SHORT",
    AUTH_DH: "AUTH_DH",
    5: "AUTH_RSA",
    RPCSEC_GSS: "RPCSEC_GSS",
    AUTH_TLS: "AUTH_TLS",
    390003: "krb5",
    390004: "krb5i",
    390005: "krb5p",
}
"""The last three are pseudo-flavors (RFC 2623 2.3): they stand in MOUNT replies only."""

FLAVOR = U32(AUTH_FLAVORS)

AUTH_SYS_BODY = Struct(
    Field("stamp", U32(), "arbitrary number of the caller's"),
    Field("machinename", Text(255), "the caller's name for itself"),
    Field("uid", U32(), "effective user"),
    Field("gid", U32(), "effective group"),
    Field("gids", Array(Struct(Field("gid", U32(), "further group")), 16), "further groups"),
)
"""RFC 5531 appendix A."""

GSS_PROCEDURES = {
    0: "RPCSEC_GSS_DATA",
    1: "RPCSEC_GSS_INIT",
    2: "RPCSEC_GSS_CONTINUE_INIT",
    3: "RPCSEC_GSS_DESTROY",
}
GSS_SERVICES = {1: "rpc_gss_svc_none", 2: "rpc_gss_svc_integrity", 3: "rpc_gss_svc_privacy"}

GSS_BODY = Struct(
    Field("version", U32(), "version of RPCSEC_GSS"),
    Field("gss_proc", U32(GSS_PROCEDURES), "what the message does with the context"),
    Field("seq_num", U32(), "sequence number in the context"),
    Field("service", U32(GSS_SERVICES), "how the body is protected"),
    Field("handle", Opaque(400), "the context"),
)
"""RFC 2203 5.3.1."""

GSS_INIT_REPLY = Struct(
    Field("handle", Opaque(400), "the new context"),
    Field("gss_major", I32(), "GSS-API major status"),
    Field("gss_minor", I32(), "GSS-API minor status"),
    Field("seq_window", U32(), "calls that may be under way at once"),
    Field("gss_token", Opaque(65536), "token for the caller"),
)
"""RFC 2203 5.2.3.1."""
