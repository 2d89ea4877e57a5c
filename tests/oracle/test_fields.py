"""Every field of every message, as lockscope and as tshark decode it.

In: the captures, a capture of every message that is declared, tshark. Out: agreement, or a difference that is
known and explained.

Theory. A field that no capture has is in the made capture; there each declared column must have been compared
or have a reason why it cannot be, so that a new declaration without a place in the table is a red test.

Never: takes tshark for the judge where the two differ: docs/differences.md says who is right.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import analyzer
from analyzer.cli import main
from analyzer.protocols import PROGRAMS
from analyzer.render import compare as comparing
from analyzer.render.clean import clean
from analyzer.render.compare import Comparison, Difference, compare
from analyzer.render.dissect import PREFERENCES
from analyzer.render.wireshark import name_of, why_not
from analyzer.schema.columns import columns
from analyzer.schema.program import CALL, REPLY
from analyzer.schema.scalar import Decoded, decode_one
from tests import manifest
from tests.expectations import CAPTURES
from tests.oracle.everything import everything

ROOT = Path(__file__).parent.parent.parent
BASIC = CAPTURES / "lab" / "clean_basic.pcap"

# Of the large captures the first frames only, for the sake of time. Where frames are cut at 256 bytes, tshark
# loses step in the first long record (test_counts.py has the rest).
FIRST = {"clean_soak": 2000, "soak_with_leak": 2000, "clean_soak_contended": 2000, "bulk_io_snap256": 190}

# Frame, message and Wireshark's field (empty: the whole message). docs/differences.md explains each.
NLM_LOCK = ("nlm.lock.caller_name", "nfs.fhandle", "nlm.lock.owner", "nlm.lock.svid", "nlm.lock.l_offset64")
NLM_UNLOCK = ("nlm.cookie", *NLM_LOCK, "nlm.lock.l_len64")
NLM_TEST = (*NLM_UNLOCK, "nlm.exclusive")
OF_REFUSED = {  # calls whose credentials end too early, and what Wireshark does not show of them
    "NFS3 GETATTR call": ("nfs.fhandle",),
    "NLM4 TEST call": NLM_TEST,
    "NLM4 LOCK call": (*NLM_TEST, "nlm.block", "nlm.reclaim", "nlm.state"),
    "NLM4 UNLOCK call": NLM_UNLOCK,
    "MOUNT3 MNT call": ("mount.path",),
}
KNOWN: dict[str, set[tuple[int, str, str]]] = {
    "raw_auth_errors": {
        (frame, message, name)
        for frames in ((168, 171, 173, 175, 177), (179, 181, 183, 185, 187))
        for frame, (message, names) in zip(frames, OF_REFUSED.items(), strict=True)
        for name in names
    }
    | {
        (239, "NFS3 NULL call", ""),
        (240, "NFS3 NULL reply", ""),
        (267, "MOUNT3 MNT call", "mount.path"),
        (271, "NSM1 SM_NOTIFY call", "stat.mon_id.name"),
    },
    "raw_forged_sm_notify": {
        (259, "NSM1 SM_STAT reply", "stat.stat_res.state"),
        (261, "NSM1 SM_MON reply", "stat.stat_res.state"),
    },
    "raw_nfs_proc22": {(153, "100099v1 proc-0 call", ""), (154, "100099v1 proc-0 reply", "")},
}


def stem(capture: Path) -> str:
    """The name of a capture."""
    return capture.name.partition(".")[0]


def places(differences: list[Difference]) -> set[tuple[int, str, str]]:
    """Where two sides differ."""
    return {(one.frame, one.message, one.name) for one in differences}


@pytest.mark.parametrize("capture", manifest.captures(), ids=stem)
def test_fields_agree(tshark: str, capture: Path) -> None:
    made = compare(tshark, str(capture), PREFERENCES, FIRST.get(stem(capture)))
    assert places(made.differences) == KNOWN.get(stem(capture), set())
    assert made.messages


# -- every message that is declared -----------------------------------------------------------------


@pytest.fixture(scope="module")
def full(tshark: str, tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """The comparison of the capture that has everything."""
    path = tmp_path_factory.mktemp("everything") / "everything.pcap"
    path.write_bytes(everything())
    return compare(tshark, str(path), PREFERENCES)


def declared() -> Iterator[tuple[str, int, str, str]]:
    """Program, version, message and column of all that is declared."""
    for program in PROGRAMS:
        for procedure in program.procedures.values():
            for direction, word in ((CALL, "call"), (REPLY, "reply")):
                body = procedure.body(direction)
                for column in columns(body) if body is not None else ():
                    yield program.label, program.version, f"{procedure.name} {word}", column.name


def test_what_differs_is_known(full: Comparison) -> None:
    assert not [one for one in full.differences if one.remark is None]


def test_each_column_is_compared_or_has_a_reason(full: Comparison) -> None:
    differing = {(one.message, one.name) for one in full.differences}
    missed = []
    for program, version, message, column in declared():
        name, why = (f(program, version, message, column) for f in (name_of, why_not))
        title = f"{program}{version} {message}"
        if name is None and why is None:
            missed.append((title, column, "has neither a name nor a reason"))
        if name is not None and not full.values[title][name] and (title, name) not in differing:
            missed.append((title, column, f"was never compared with {name}"))
    assert not missed


def test_each_declared_message_is_seen_by_both(full: Comparison) -> None:
    titles = {f"{p.label}{p.version} {each.name}" for p in PROGRAMS for each in p.procedures.values()}
    assert {title.rpartition(" ")[0] for title in full.messages} == titles


# -- the tables -------------------------------------------------------------------------------------

AS_DECODED = (
    *(
        "xid",
        "uid",
        "gid",
        "fh",
        "dir_fh",
        "name",
        "offset",
        "count",
        "caller_name",
        "svid",
        "oh",
        "exclusive",
    ),
    *("block", "reclaim", "l_offset", "l_len", "mon_name", "dirpath", "prog", "vers"),
)
"""Columns of the calls table that hold what the call says, as it says it."""


@pytest.mark.parametrize(
    "name", ["clean_basic", "contention_v6", "raw_nlm_v1v3", "raw_forged_sm_notify", "raw_nlm_errors"]
)
def test_the_calls_table_says_the_same(name: str) -> None:
    """What was compared above is what a user gets: the batch decoder, the columns and pandas lose nothing."""
    path = str(CAPTURES / "lab" / f"{name}.pcap")
    rows: dict[tuple[int, int], deque[dict[Hashable, Any]]] = defaultdict(deque)
    for row in analyzer.analyze(path).calls.dropna(subset=["call_frame"]).to_dict("records"):
        rows[row["call_frame"], row["xid"]].append(row)
    seen = 0
    for told in comparing.ours(path):
        if told.title.endswith(" call"):
            row = rows[told.key[:2]].popleft()
            for _, column, value in told.values:
                if column in AS_DECODED and not pd.isna(row[column]):
                    expected = (value.hex(), clean(value)) if isinstance(value, bytes) else (value,)
                    assert row[column] in expected, (told.title, column)
                    seen += 1
                elif column in AS_DECODED:
                    assert value == b"", (told.title, column)
    assert seen > 200
    assert not any(rows.values())


# -- what a comparison notices ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "value", "field"),
    [
        ("name", b"other", "nfs.name"),
        ("attr_size", 1, "nfs.fattr3.size"),
        ("entries", [], "nfs.readdirplus.entry.name"),
        ("committed", 1, "nfs.write.committed"),
        ("svid", 99, "nlm.lock.svid"),
        ("port", 1, "portmap.port"),
    ],
)
def test_a_wrong_value_is_a_difference(
    tshark: str, monkeypatch: pytest.MonkeyPatch, column: str, value: Any, field: str
) -> None:
    decode = decode_one

    def wrong(*message: Any) -> Decoded:
        decoded = decode(*message)
        if column in decoded.values:
            decoded.values[column] = value
        return decoded

    monkeypatch.setattr(comparing, "decode_one", wrong)
    assert field in {one.name for one in compare(tshark, str(BASIC), PREFERENCES).differences}


def test_a_message_of_one_side(tshark: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told = list(comparing.ours(str(BASIC)))
    monkeypatch.setattr(comparing, "ours", lambda *_: iter(told[1:]))
    (only,) = compare(tshark, str(BASIC), PREFERENCES).differences
    assert (only.frame, only.message) == (told[0].key[0], told[0].title)
    assert (only.ours, only.theirs) == ((), ("a message",))


def test_a_message_that_is_complete_elsewhere(tshark: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told = list(comparing.ours(str(BASIC)))
    frame, *rest = told[4].key
    told[4].key = (frame + 1, *rest)  # type: ignore[assignment]
    monkeypatch.setattr(comparing, "ours", lambda *_: iter(told))
    (only,) = compare(tshark, str(BASIC), PREFERENCES).differences
    assert (only.name, only.ours, only.theirs) == ("frame", (frame + 1,), (frame,))


def test_who_waits_for_long_waits_no_more(tshark: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the other side has nothing, memory does not grow, and nothing is forgotten."""
    monkeypatch.setattr(comparing, "shown", lambda *_: iter(()))
    monkeypatch.setattr(comparing, "MOST_WAITING", 3)
    made = compare(tshark, str(BASIC), PREFERENCES)
    assert len(made.differences) == len(list(comparing.ours(str(BASIC))))
    monkeypatch.setattr(comparing, "MOST_DIFFERENCES", 2)
    assert list(comparing.report("a", made, None, "TShark"))[-1] == f"and {len(made.differences) - 2} more"


# -- as a command -----------------------------------------------------------------------------------


def test_command(tshark: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dissect", "--compare", "--first", "200", str(BASIC)]) == 0
    said = capsys.readouterr().out
    assert "(first 200 frames)" in said
    assert "differences: 0" in said
    assert "compared with TShark (Wireshark) " in said
    assert "NFS3 GETATTR reply:" in said
    assert "nfs.fattr3.fileid" in said


def test_command_that_finds_differences(tshark: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dissect", "--compare", str(CAPTURES / "lab" / "raw_forged_sm_notify.pcap")]) == 1
    said = capsys.readouterr().out
    assert "frame 259, NSM1 SM_STAT reply state (stat.stat_res.state): lockscope 3, Wireshark nothing" in said
    assert "not compared: mon_name, priv, state (Wireshark does not know procedure 16" in said


def test_no_tshark(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", "")
    assert main(["dissect", "--compare", str(BASIC)]) == 2
    error = capsys.readouterr().err
    assert "tshark is not on the path" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        ("echo '<pdml><packet'", "cannot be read"),
        ("echo no such plugin >&2; exit 3", "no such plugin"),
    ],
)
def test_a_tshark_that_fails(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    script: str,
    complaint: str,
) -> None:
    fake = tmp_path / "tshark"
    fake.write_text(f"#!/bin/sh\n{script}\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert main(["dissect", "--compare", str(BASIC)]) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [["--compare", "--first", "0"], ["--compare", "--first", "x"], ["--compare", "--finding", "a"], []],
)
def test_wrong_use(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dissect", str(BASIC), *arguments]) == 2
    assert capsys.readouterr().err.count("\n") == 1


# -- documents --------------------------------------------------------------------------------------


def test_each_difference_is_explained() -> None:
    page = (ROOT / "docs" / "differences.md").read_text()
    for capture, known in KNOWN.items():
        assert f"`lab/{capture}`" in page
        assert all(message in page for _, message, _ in known)
