"""Forty ways in which the wire deceives a decoder, and the tests that prove ours is not deceived.

In: the tests, of which some say in their name or docstring which trap they prove (`trap_12`, `Trap 12`).
Out: the page of the reference.

Theory. A list of what works is worth as much as what checks it. So the list has no column of tests of its
own: that one is read from the tests, and a trap that no test names is an error.

Never: runs a test.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent
IN_NAME = re.compile(r"trap_(\d+)")
IN_TEXT = re.compile(r"\b[Tt]raps? (\d+(?:, \d+)*(?: and \d+)?)")

LIST = """
1. A record in several fragments
    -> They are joined up to the last one; beyond 4 MiB only the head is kept.
2. A record mark cut in two; several records in a segment
    -> Streams are read, not packets.
3. Bytes lost in the midst of a record
    -> Its length is known: reading goes on behind it. Where the mark itself is lost, the next
       plausible record is searched, and the search is counted.
4. A capture that begins in midstream
    -> The same search; replies to earlier calls are counted as orphans.
5. Segments that overlap, are repeated or come out of order, keepalives
    -> Put in order by sequence number; the first copy of a byte wins, a copy that differs is
       counted.
6. Frames cut by the snaplen
    -> What is there is decoded and marked; lengths on the wire, not captured ones, drive the
       streams.
7. Replies of up to a megabyte
    -> Data is stepped over, names, handles and attributes are taken; a list without its end counts
       as far as it is.
8. WRITE with another count than its data is long
    -> The length of the data says where the next field is.
9. A transaction number used again
    -> Another call takes it over and is counted; the same call is a retransmission.
10. Replies from another address, copies from another port or connection
    -> Datagrams pair by client and number, whatever the server's address; copies are found across
       connections.
11. A reply recorded ahead of its call
    -> A segment that acknowledges what has not come yet waits for it, 50 ms at most. Of datagrams
       the reply counts as an orphan.
12. Mirror ports that copy twice, captures of both ends of a conversation
    -> The same packet (addresses, ports, numbers, length, checksum, IP identification) within 1 ms,
       in another capture within 100 ms, is counted and passed over.
13. Calls in both directions of one connection
    -> Who calls is told by each message, never by the port.
14. Callbacks on connections of their own
    -> Roles belong to the lock, not to the connection.
15. A host that is client and server
    -> Roles belong to the pair of hosts.
16. Ports that say nothing
    -> Messages are recognised by what they are, on any port.
17. Other protocols that look like RPC
    -> A call needs type 0, RPC version 2 and a known program in their places, a reply an open call
       or a plausible head; where a call of ours stands, strange versions and credentials are shown,
       not dropped.
18. Asynchronous requests without a reply, or with an empty one
    -> The answer is the matching _RES.
19. Linux answers an empty cookie with four zero bytes
    -> Both count as equal.
20. Ranges of 32 and 64 bits under one program
    -> By the version of the call.
21. FREE_ALL with a state of 4 or 8 bytes, SHARE without its last field
    -> By what is left.
22. File handles with and without a length in MNT
    -> By version.
23. MNT refused: nothing behind the status
    -> Nothing is read.
24. Linked lists of any length
    -> Read to a limit, which is counted.
25. Refusals that carry two words, one, or none
    -> By the kind of refusal; never read as results.
26. RPCSEC_GSS
    -> Integrity: arguments are found between sequence number and checksum. Privacy: the head only,
       counted.
27. TLS behind an AUTH_TLS probe
    -> No message is made of it.
28. IP fragments
    -> Put together, v4 and v6, in any order, within 30 s and 256 packets at once; what overlaps
       with other bytes begins a packet of its own. In captures by port, first fragments are read
       alone.
29. VLAN, QinQ, MPLS, PPPoE, GRE, ERSPAN, VXLAN, GENEVE, IP in IP, cooked captures, FDDI, LLC/SNAP,
   snoop, several interfaces, gzip, xz, zstd; `any` shows packets twice
    -> Unwrapped up to eight deep; the hosts at the ends of a tunnel are not those of the mount.
       Copies as in 12.
30. IPv4-mapped IPv6 addresses
    -> One form for all; zones of link-local addresses are not on the wire.
31. Host names in any bytes, with and without domain
    -> Kept as bytes, compared folded, shown printable.
32. Booleans other than 0 and 1, unknown enums, padding that is not zero
    -> Decoded and counted.
33. Bytes behind the last field
    -> Accepted and counted.
34. Universal addresses of rpcbind
    -> Read from the right.
35. Indirect calls of the portmapper
    -> A call of the portmapper; no answer is normal.
36. Clocks that step, captures of two machines
    -> Captures are merged by time, each in its own order; steps back are counted, no latency is
       negative.
37. Frames larger than the MTU, checksums not yet filled in
    -> Neither is a fault.
38. SM_NOTIFY by a long and a short name
    -> One notice.
39. A 4-tuple used again
    -> A SYN with a new sequence number is a new connection.
40. COMPOUND of NFSv4 is procedure 1, as GETATTR is
    -> The version is looked at first.
"""  # number, what it is, what lockscope does

ENTRY = re.compile(r"^(\d+)\. (.*?)\n +-> (.*?)\n(?=\d|$)", re.MULTILINE | re.DOTALL)
TRAPS = {
    int(number): (" ".join(what.split()), " ".join(does.split()))
    for number, what, does in ENTRY.findall(LIST)
}


def proofs() -> dict[int, list[str]]:
    """The tests that name each trap."""
    found: dict[int, list[str]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        for name, text in _tests(path):
            numbers = {int(number) for number in IN_NAME.findall(name)}
            for several in IN_TEXT.findall(text):
                numbers |= {int(number) for number in re.findall(r"\d+", several)}
            for number in sorted(numbers):
                found.setdefault(number, []).append(f"{path.relative_to(TESTS).as_posix()}::{name}")
    return found


def _tests(path: Path) -> Iterator[tuple[str, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield node.name, ast.get_docstring(node) or ""


def page() -> str:
    """The page of the reference."""
    proved = proofs()
    rows = []
    for number, (what, does) in TRAPS.items():
        tests = "<br>".join(f"`{test}`" for test in proved.get(number, ()))
        rows.append(f"| {number} | {what} | {does} | {tests} |\n")
    return (
        "# Traps of the wire\n\n"
        "Encodings, losses and habits that mislead naive decoders; what lockscope does, and the tests\n"
        "under `tests/` that prove it.\n\n"
        "| # | trap | what lockscope does | proved by |\n| --- | --- | --- | --- |\n" + "".join(rows)
    )
