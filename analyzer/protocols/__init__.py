"""Every protocol that is understood, declared once, as data.

In: nothing. Out: `REGISTRY`, from (program, version) to its declaration, and the names that
counts and tables are keyed by.

Theory. A file per program holds every fact about its bytes, in the language of
`analyzer.schema.xdr`; decoders, columns, reference and tests derive from it.

Never: decodes.
"""

from analyzer.protocols.mount import MOUNT1, MOUNT2, MOUNT3
from analyzer.protocols.named import KLM1, NFS2, NFS4, RQUOTA1, RQUOTA2, STAT_CB1
from analyzer.protocols.nfs3 import NFS3
from analyzer.protocols.nfs_acl import NFS_ACL2, NFS_ACL3
from analyzer.protocols.nlm import NLM1, NLM3, NLM4
from analyzer.protocols.nsm import NSM1
from analyzer.protocols.portmap import PORTMAP2, RPCBIND3, RPCBIND4
from analyzer.schema.columns import has_bulk
from analyzer.schema.program import CALL, REPLY, Procedure

PROGRAMS = (
    *(PORTMAP2, RPCBIND3, RPCBIND4),
    *(NFS2, NFS3, NFS4),
    *(MOUNT1, MOUNT2, MOUNT3),
    *(RQUOTA1, RQUOTA2),
    KLM1,
    *(NLM1, NLM3, NLM4),
    NSM1,
    *(NFS_ACL2, NFS_ACL3),
    STAT_CB1,
)

REGISTRY = {(program.number, program.version): program for program in PROGRAMS}
LABELS = {program.number: program.label for program in PROGRAMS if program.label != "RPCBIND"}

HEAD_ONLY = tuple(
    (program.number, program.version, procedure.number, direction)
    for program in PROGRAMS
    for procedure in program.procedures.values()
    for direction in (CALL, REPLY)
    if (body := procedure.body(direction)) is not None and has_bulk(body)
)
"""(program, version, procedure, direction) of the messages of which the head is all we want."""


def find(program: int, version: int, procedure: int) -> Procedure | None:
    """The declaration of a procedure, or None."""
    known = REGISTRY.get((program, version))
    return known.procedures.get(procedure) if known else None


def program_label(program: int, version: int) -> str:
    """`NLM4`, `RPCBIND3`; `100232v10` where the program is unknown."""
    known = REGISTRY.get((program, version))
    label = known.label if known else LABELS.get(program)
    return f"{label}{version}" if label else f"{program}v{version}"


def procedure_label(program: int, version: int, procedure: int) -> str:
    """`NLM4 LOCK`; a number that nobody has named stays visible: `NLM4 proc-17`."""
    declared = find(program, version, procedure)
    return f"{program_label(program, version)} {declared.name if declared else f'proc-{procedure}'}"
