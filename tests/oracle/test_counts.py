"""The calls of every capture, counted by tshark and by lockscope.

In: the captures, tshark. Out: agreement for each procedure, or a difference that is known and explained.

Theory. Two programs that share no code and count the same are rarely both wrong. tshark shows program,
version and procedure of replies too, where it has seen their calls; so calls are picked out by the message
type that stands at the same place of the frame.

Never: takes tshark for the judge where the two differ: `KNOWN` says who is right, and docs/differences.md
says it to readers.
"""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path

import pytest

from analyzer.engine import analyze
from analyzer.protocols import procedure_label
from tests import manifest

FIELDS = ("rpc.msgtyp", "rpc.program", "rpc.programversion", "rpc.procedure")
PREFERENCES = ("tcp.try_heuristic_first", "udp.try_heuristic_first", "tcp.reassemble_out_of_order")
CALL = "0"

# (lockscope, tshark) where they differ. Each entry is explained in docs/differences.md.
KNOWN = {
    "raw_auth_errors": {"NFS3 NULL": (3, 2)},  # a call of RPC version 3, which the server refuses as such
    "raw_nfs_proc22": {"100099v1 proc-0": (1, 0)},  # a call to a program that tshark has not heard of
}
CUT = "bulk_io_snap256"  # frames cut at 256 bytes hide most record marks: tshark finds a tenth of the calls


def calls_by_tshark(tshark: str, capture: Path) -> Counter[str]:
    """Calls by procedure; frames whose fields cannot be assigned are an error."""
    command = [tshark, "-n", "-r", str(capture), "-Y", "rpc", "-T", "fields"]
    for preference in PREFERENCES:
        command += ["-o", f"{preference}:TRUE"]
    for field in FIELDS:
        command += ["-e", field]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    counted: Counter[str] = Counter()
    for line in out.splitlines():
        kinds, programs, *numbers = (field.split(",") if field else [] for field in line.split("\t"))
        # Version and procedure are named by the head and, for most messages, by the program's dissector too.
        versions, procedures = (named if len(named) <= len(programs) else named[::2] for named in numbers)
        described = list(zip(programs, versions, procedures, strict=False))  # cut heads lack a procedure
        if len(described) == len(kinds):
            described = [which for kind, which in zip(kinds, described, strict=True) if kind == CALL]
        assert len(described) <= kinds.count(CALL), line
        counted.update(procedure_label(*map(int, which)) for which in described)
    return counted


def differences(tshark: str, capture: Path) -> dict[str, tuple[int, int]]:
    """Procedures whose calls are counted differently: (lockscope, tshark)."""
    theirs = calls_by_tshark(tshark, capture)
    ours = analyze([str(capture)]).counts
    both = {label: (ours.get(label, 0), theirs[label]) for label in ours | theirs}
    return {label: pair for label, pair in sorted(both.items()) if pair[0] != pair[1]}


def stem(capture: Path) -> str:
    """The name of a capture."""
    return capture.name.partition(".")[0]


WHOLE = [capture for capture in manifest.captures() if stem(capture) != CUT]


@pytest.mark.parametrize("capture", WHOLE, ids=stem)
def test_calls_are_counted_as_tshark_counts_them(tshark: str, capture: Path) -> None:
    assert differences(tshark, capture) == KNOWN.get(stem(capture), {})


def test_no_call_that_tshark_finds_in_a_cut_capture_is_missed(tshark: str) -> None:
    """Where TCP segments are cut, tshark loses step after the first long record; lockscope finds the next."""
    capture = next(capture for capture in manifest.captures() if stem(capture) == CUT)
    different = differences(tshark, capture)
    assert all(ours > theirs for ours, theirs in different.values()), different
    locks, unlocks = (different[f"NLM4 {kind}"][0] for kind in ("LOCK", "UNLOCK"))
    assert locks + 1 == unlocks  # what is found more is not invented: programs that lock, unlock
