"""Anonymized evidence and tables: they say the same, and nobody is named in them.

In: the captures. Out: the same findings from what is shown of them, and none of their names and addresses.

Never: trusts that a pseudonym is one: what a capture's hosts and files are called is looked for in the bytes.
"""

from __future__ import annotations

import csv
import ipaddress
import os
import re
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import analyzer
from analyzer.cli import main
from analyzer.engine import Analysis, analyze
from analyzer.errors import AnalyzerError
from analyzer.faults import Fault
from analyzer.protocols import PROGRAMS, REGISTRY
from analyzer.render.anonymous import BLANKED, HANDLES, HARMLESS, OWNERS, Veil
from analyzer.render.columns import TABLES
from analyzer.render.evidence import frames_of, write_evidence
from analyzer.render.pseudonyms import Pseudonyms
from analyzer.render.reread import Frame
from analyzer.render.veiled import FRAGMENTS, LINKS, VeiledFrames, _call, veiled
from analyzer.render.view import View
from analyzer.schema.scalar import decode_one, spans
from analyzer.schema.xdr import Text
from tests.capture.files import SECOND, Packet, pcap, some_packets
from tests.expectations import CAPTURES, expectations
from tests.frames.packets import ethernet, ip4, ip6, tcp, udp
from tests.strategies import fullest, joined_bytes

KEY = b"a key for tests, and for tests only"
LEAK = CAPTURES / "lab" / "umnt_unlock_dropped.pcap"
OURS = {b"export", b"other", b"client", b"server", b"state"}  # names, and words of our own sentences


def identifying(analysis: Analysis) -> Iterator[bytes]:
    """Whatever names a host or a file, as text and as bytes."""
    sessions = analysis.sessions
    table = sessions.hosts.table
    assert table is not None
    for host in range(len(table.packets)):
        address = ipaddress.ip_address(sessions.hosts.address(host))
        if not (address.is_multicast or address.is_unspecified or address.is_loopback):
            yield from (str(address).encode(), address.packed)
    for names in sessions.hosts.names.values():
        yield from names
    for path in sessions.handles.roots.values():
        yield path.encode()
        yield from path.encode().split(b"/")
    for _, name in sessions.handles.children:
        yield from re.split(rb"[./]", name)
    for handle in range(sessions.handles.known):
        yield sessions.handles.table.data[handle][4:16]


def leaks(analysis: Analysis, shown: bytes) -> set[bytes]:
    """What is found of it in some output."""
    wanted = {word for word in identifying(analysis) if len(word) > 3 and any(word)}
    return {word for word in wanted if word in shown}


def codes(path: Path) -> list[str]:
    """The findings of a capture."""
    return sorted(finding.code for finding in analyze([str(path)]).findings)


@pytest.mark.parametrize("name", expectations())
def test_evidence_says_the_same(name: str, tmp_path: Path) -> None:
    path = str(expectations()[name])
    view = View(analyze([path]))
    if not view.findings:
        return
    plain, hidden = tmp_path / "plain.pcapng", tmp_path / "hidden.pcapng"
    with plain.open("wb") as stream:
        write_evidence(stream, frames_of(view, view.findings), view.findings)
    veil = Veil(Pseudonyms(KEY))
    others = analyze([path], taps=[veil]).findings
    frames, found = veiled(view, view.findings, others, veil)
    assert [one.code for one in found] == [one.code for one in view.findings]
    with hidden.open("wb") as stream:
        write_evidence(stream, frames, found)
    assert leaks(view.analysis, plain.read_bytes())
    assert not leaks(view.analysis, b"".join(frame.data for frame in frames))
    assert leaks(view.analysis, hidden.read_bytes()) <= OURS
    assert codes(hidden) == codes(plain)


def test_each_declared_span_has_a_treatment() -> None:
    treated = {*HANDLES, *OWNERS, *HARMLESS, *BLANKED}
    for program in PROGRAMS:
        for procedure in program.procedures.values():
            for body in (each for each in (procedure.call, procedure.reply) if each is not None):
                for tokens in fullest(body):
                    found, _ = spans(body, joined_bytes(tokens))
                    unknown = {span.name for span in found if not isinstance(span.type, Text)} - treated
                    assert not unknown, procedure.name


def plain(values: Any) -> Any:
    """Decoded values without text and bytes, but for how long these are."""
    if isinstance(values, dict):
        return {name: plain(value) for name, value in values.items()}
    if isinstance(values, list):
        return [plain(value) for value in values]
    return len(values) if isinstance(values, bytes) else values


def test_each_declared_message_keeps_its_numbers_and_loses_its_names() -> None:
    veil = Veil(Pseudonyms(KEY))
    for program in PROGRAMS:
        for procedure in program.procedures.values():
            for direction, body in enumerate((procedure.call, procedure.reply)):
                for tokens in fullest(body) if body is not None else ():
                    raw = joined_bytes(tokens)
                    row = SimpleNamespace(
                        start=0,
                        body=0,
                        body_kept=len(raw),
                        body_size=len(raw),
                        reply=direction,
                        cred=-1,
                        gss=0,
                        status=0,
                        program=program.number,
                        version=program.version,
                        procedure=procedure.number,
                    )
                    verifier = direction * 20  # of a reply, which the body stands behind
                    row.body = verifier
                    made = veil.message(bytes(verifier) + raw, row)[verifier:]
                    assert body is not None
                    before, after = spans(body, raw), spans(body, made)
                    assert plain(after[1].values) == plain(before[1].values), procedure.name
                    for old, new in zip(before[0], after[0], strict=True):
                        same = made[new.start : new.stop] == raw[old.start : old.stop]
                        assert same == (old.name in HARMLESS), (procedure.name, old.name)


HEAD = struct.pack(">6I", 7, 0, 2, 100003, 3, 0)
CREDENTIALS = {
    "sys": (1, struct.pack(">II", 0, 8) + b"somebody" + struct.pack(">4I", 0, 0, 1, 4), b"somebody"),
    "dh": (3, b"\0\0\0\0\0\0\0\x08somebody", b"somebody"),
    "short": (2, b"somebody", b"somebody"),
}


@pytest.mark.parametrize("kind", CREDENTIALS)
def test_credentials_and_verifiers(kind: str) -> None:
    flavor, body, name = CREDENTIALS[kind]
    message = HEAD + struct.pack(">II", flavor, len(body)) + body + struct.pack(">II", 6, 8) + b"verifier"
    raw, row = _call(message, 0)
    assert row is not None
    made = Veil(Pseudonyms(KEY)).message(raw, row)
    assert len(made) == len(message)
    assert name not in made
    assert b"verifier" not in made
    assert made[:32] == message[:32], "the head stays"
    reply = struct.pack(">5I", 7, 1, 0, 6, 8) + b"verifier" + bytes(4)
    row = row._replace(reply=1, cred=-1, body=len(reply), status=0)
    assert b"verifier" not in Veil(Pseudonyms(KEY)).message(reply, row)


@pytest.mark.parametrize("program", [(100003, 4), (100003, 2), (400000, 1)])
def test_programs_that_are_not_decoded_are_blank(program: tuple[int, int]) -> None:
    head = struct.pack(">10I", 7, 0, 2, *program, 1, 0, 0, 0, 0)
    raw, row = _call(head + SECRET, 0)
    assert Veil(Pseudonyms(KEY)).message(raw, row) == head + bytes(len(SECRET))


def test_what_stops_a_message_still_stops_it() -> None:
    """Behind a fault nothing is shown, and the fault is the same one."""
    notify = REGISTRY[100024, 1].procedures[6].call
    assert notify is not None
    raw = (9999).to_bytes(4, "big") + b"the name of somebody"
    row = SimpleNamespace(
        start=0,
        body=0,
        body_kept=24,
        body_size=24,
        reply=0,
        cred=-1,
        gss=0,
        program=100024,
        version=1,
        procedure=6,
    )
    made = Veil(Pseudonyms(KEY)).message(raw, row)
    assert made == raw[:4] + bytes(20)
    assert decode_one(notify, made).fault is decode_one(notify, raw).fault is Fault.XDR_LIMIT


# -- tables and reports -----------------------------------------------------------------------------


@pytest.mark.parametrize("style", ["text", "json", "jsonl", "markdown"])
@pytest.mark.parametrize(
    "name", ["lab/umnt_unlock_dropped", "lab/leak_client_power_cut_v6", "lab/raw_forged_sm_notify"]
)
def test_reports(name: str, style: str, tmp_path: Path) -> None:
    capture = expectations()[name]
    plain, hidden = tmp_path / "plain", tmp_path / "hidden"
    assert main(["analyze", str(capture), "--format", style, "--output", str(plain)]) == 0
    assert main(["analyze", str(capture), "--format", style, "--output", str(hidden), "--anonymize"]) == 0
    analysis = analyze([str(capture)])
    assert leaks(analysis, plain.read_bytes()) - OURS
    assert leaks(analysis, hidden.read_bytes()) <= OURS
    assert capture.name.encode() not in hidden.read_bytes()


@pytest.mark.parametrize("table", sorted(TABLES))
def test_tables(table: str, tmp_path: Path) -> None:
    capture = expectations()["lab/raw_forged_sm_notify"]
    plain, hidden = tmp_path / "plain.csv", tmp_path / "hidden.csv"
    command = ["export", str(capture), "--table", table, "--output"]
    assert main([*command, str(plain)]) == 0
    assert main([*command, str(hidden), "--anonymize"]) == 0
    analysis = analyze([str(capture)])
    assert leaks(analysis, hidden.read_bytes()) <= OURS
    assert len(hidden.read_text().splitlines()) == len(plain.read_text().splitlines())
    with plain.open() as one, hidden.open() as other:
        for before, after in zip(csv.DictReader(one), csv.DictReader(other), strict=True):
            changed = {column for column in before if before[column] != after[column]}
            assert changed <= CHANGED, changed
            assert {key: len(value) for key, value in before.items() if key in SAME_LENGTH} == {
                key: len(value) for key, value in after.items() if key in SAME_LENGTH
            }


CHANGED = {
    *(
        "client",
        "server",
        "host",
        "address",
        "peer",
        "name",
        "other_names",
        "names",
        "export",
        "path",
        "dir_path",
        "dirpath",
    ),
    *(
        "machine",
        "caller_name",
        "oh",
        "fh",
        "dir_fh",
        "mon_name",
        "addr",
        "file",
        "message",
        "id",
        "caused_by",
    ),
    *("my_name", "priv"),
}
SAME_LENGTH = {"path", "export", "machine", "caller_name", "oh", "fh", "mon_name", "name", "dirpath"}


def test_page(tmp_path: Path) -> None:
    for name in ("lab/umnt_unlock_dropped", "lab/raw_forged_sm_notify"):
        capture, hidden = expectations()[name], tmp_path / "hidden.html"
        assert main(["report", str(capture), "--output", str(hidden), "--anonymize"]) == 0
        assert leaks(analyze([str(capture)]), hidden.read_bytes()) <= OURS
        assert capture.name.encode() not in hidden.read_bytes()


def test_live(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "analyzer", "live", "-", "--anonymize", "--export", str(tmp_path)]
    with LEAK.open("rb") as stream:
        done = subprocess.run(command, stdin=stream, capture_output=True, check=True, timeout=300)
    assert b"unlock-unanswered" in done.stdout
    shown = b"".join([done.stdout, *(path.read_bytes() for path in tmp_path.iterdir())])
    assert leaks(analyze([str(LEAK)]), shown) <= OURS


def test_data_frames() -> None:
    plain = analyzer.analyze(LEAK)
    one, two, three = (analyzer.analyze(LEAK, anonymize=key) for key in (KEY, KEY, True))
    assert one.locks.equals(two.locks)
    assert not one.calls["client"].equals(three.calls["client"])
    for table in TABLES:
        assert len(getattr(one, table)) == len(getattr(plain, table))
        assert leaks(analyze([str(LEAK)]), getattr(one, table).to_csv().encode()) <= OURS
    with pytest.raises(AnalyzerError, match="at least 16 bytes"):
        analyzer.analyze(LEAK, anonymize=b"short")


def test_key(tmp_path: Path) -> None:
    key, outputs = tmp_path / "key", [tmp_path / name for name in ("a.csv", "b.csv", "c.csv")]
    key.write_bytes(KEY)
    for output, more in zip(
        outputs, (["--anonymize-key", str(key)], ["--anonymize-key", str(key)], []), strict=True
    ):
        command = ["export", str(LEAK), "--table", "calls", "--output", str(output), "--anonymize", *more]
        assert main(command) == 0
    one, two, three = (output.read_text() for output in outputs)
    assert one == two != three


def test_filters_mean_what_the_user_knows(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["export", str(LEAK), "--anonymize", "--table", "locks", "--output", "-"]
    for wanted in (["--client", "client1"], ["--client", "192.168.77.21"], ["--file", "/export/a"]):
        assert main([*command, *wanted]) == 0
        assert len(capsys.readouterr().out.splitlines()) == 2
    assert main([*command, "--client", "192.168.77.22"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--anonymize-key", str(LEAK)], "with --anonymize only"),
        (["--anonymize", "--anonymize-key", "no-such-file"], "no-such-file"),
        (["--anonymize", "--anonymize-key", os.devnull], "at least 16 bytes"),
    ],
)
def test_wrong_use(arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", str(LEAK), *arguments]) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1


def test_evidence_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["evidence", str(LEAK), "--code", "unlock-unanswered", "--anonymize"]) == 0
    assert capsys.readouterr().out.startswith("unlock-unanswered-anonymized.pcapng: ")
    hidden = tmp_path / "unlock-unanswered-anonymized.pcapng"
    assert "unlock-unanswered" in codes(hidden)
    assert leaks(analyze([str(LEAK)]), hidden.read_bytes()) <= OURS


def test_captures_are_numbered_as_they_were_read(tmp_path: Path) -> None:
    """The evidence is in the second file, and is said to be."""
    early, hidden, table = tmp_path / "early.pcap", tmp_path / "hidden.pcapng", tmp_path / "calls.csv"
    early.write_bytes(pcap(some_packets(3)))
    both = [str(early), str(LEAK)]
    assert (
        main(["evidence", *both, "--code", "unlock-unanswered", "--anonymize", "--output", str(hidden)]) == 0
    )
    assert b" of capture-2: NLM4 UNLOCK call" in hidden.read_bytes()
    assert LEAK.name.encode() not in hidden.read_bytes()
    assert main(["export", *both, "--table", "calls", "--anonymize", "--output", str(table)]) == 0
    with table.open() as stream:
        assert {row["file"] for row in csv.DictReader(stream)} == {"capture-2"}


def test_what_is_lost_is_said() -> None:
    """A message in two frames is in no frame whole."""
    capture = str(LEAK)
    view = View(analyze([capture]))
    frames = frames_of(view, view.findings)
    whole = next(frame for frame in frames if frame.messages)
    part = replace(whole, data=whole.data[:-8])
    veil = Veil(Pseudonyms(KEY))
    (made,) = VeiledFrames(veil, [part], [capture]).all([part])
    assert veil.lost == {FRAGMENTS: 1}
    assert not any(made.data[66:]), "nothing of it is shown"


# -- frames -----------------------------------------------------------------------------------------


def shown(data: bytes, link: int = 1) -> tuple[bytes | None, dict[str, int]]:
    """A frame without messages, and what was lost."""
    frame = Frame(1, "a", 1, 0, link, len(data), data)
    veil = Veil(Pseudonyms(KEY))
    made = VeiledFrames(veil, [frame], ["a"]).all([frame])
    return (made[0].data if made else None), dict(veil.lost)


SECRET = b"the name of somebody"


def vxlan(frame: bytes) -> bytes:
    """RFC 7348."""
    return ip4(udp(b"\x08" + bytes(7) + frame, 50000, 4789), source="192.0.2.8", target="192.0.2.9")


def geneve(frame: bytes) -> bytes:
    """RFC 8926, with an option of 8 bytes."""
    return ip4(
        udp(b"\x02\x00\x65\x58" + bytes(4) + SECRET[:8] + frame, 50000, 6081),
        source="192.0.2.8",
        target="192.0.2.9",
    )


def gre(frame: bytes) -> bytes:
    """RFC 2784."""
    return ip4(b"\x00\x00\x65\x58" + frame, 47, source="192.0.2.8", target="192.0.2.9")


WRAPPED = (vxlan, geneve, gre)


def packets(capture: Path) -> Iterator[Packet]:
    """The packets of a classic capture with stamps in microseconds."""
    data = capture.read_bytes()
    at = 24
    while at < len(data):
        seconds, micros, kept, wire = struct.unpack_from("<4I", data, at)
        yield Packet(data[at + 16 : at + 16 + kept], seconds * SECOND + micros * 1000, wire)
        at += 16 + kept


@pytest.mark.parametrize("wrapped", WRAPPED)
def test_messages_in_tunnels(wrapped: Callable[[bytes], bytes], tmp_path: Path) -> None:
    capture, hidden = tmp_path / "tunnel.pcap", tmp_path / "hidden.pcapng"
    capture.write_bytes(
        pcap(
            each._replace(data=data, wire=len(data))
            for each in packets(LEAK)
            for data in [ethernet(wrapped(each.data))]
        )
    )
    assert (
        main(
            ["evidence", str(capture), "--code", "unlock-unanswered", "--anonymize", "--output", str(hidden)]
        )
        == 0
    )
    assert "unlock-unanswered" in codes(hidden)
    assert leaks(analyze([str(capture)]), hidden.read_bytes()) <= OURS


@pytest.mark.parametrize(
    ("data", "link"),
    [
        (ethernet(ip4(udp(SECRET))), 1),
        (ethernet(ip4(tcp(SECRET), 6)), 1),
        (ethernet(ip4(tcp(SECRET), 6), tags=(0x8100, 0x88A8)), 1),
        (ethernet(ip4(SECRET, 132)), 1),
        (ethernet(ip4(udp(SECRET), fragment=0x2000)), 1),
        (ethernet(ip4(SECRET, fragment=100)), 1),
        (ethernet(ip4(udp(SECRET), options=SECRET)), 1),
        (ethernet(ip6(udp(SECRET)), 0x86DD), 1),
        (ethernet(SECRET, 0x0806), 1),
        (ip4(udp(SECRET)), 101),
        (bytes(4) + ip4(udp(SECRET)), 0),
        (bytes(14) + b"\x08\x00" + ip4(udp(SECRET)), 113),
        (b"\x08\x00" + bytes(18) + ip4(udp(SECRET)), 276),
        (ethernet(ip4(bytes((3, 3, 0, 0, 0, 0, 0, 0)) + ip4(udp(SECRET)), 1)), 1),
        (ethernet(ip4(udp(SECRET))) + SECRET, 1),
        *((ethernet(wrapped(ethernet(ip4(udp(SECRET))))), 1) for wrapped in WRAPPED),
        *((ethernet(wrapped(SECRET)), 1) for wrapped in WRAPPED),
        (ethernet(b"\x00\x01\x01\x40" + ip4(udp(SECRET)), 0x8847), 1),
        (ethernet(b"\x11\x00\x00\x01\x00\x30\x00\x21" + ip4(udp(SECRET)), 0x8864), 1),
    ],
)
def test_nothing_unknown_is_shown(data: bytes, link: int) -> None:
    out, lost = shown(data, link)
    assert out is not None
    assert len(out) == len(data)
    assert SECRET[:4] not in out
    assert ipaddress.ip_address("10.0.0.1").packed not in out
    assert ipaddress.ip_address("fd77::21").packed not in out
    assert not lost


def test_what_stays_true() -> None:
    data = ethernet(ip4(udp(bytes(8), 700, 111)))
    out, _ = shown(data)
    assert out is not None
    assert out[12:14] == data[12:14]
    assert out[34:40] == data[34:40], "ports and length"
    words = [int.from_bytes(out[at : at + 2], "big") for at in range(14, 34, 2)]
    assert sum(words) % 0xFFFF == 0, "the checksum of the IP header"


def test_a_link_layer_that_is_not_understood() -> None:
    assert shown(SECRET, 147) == (None, {LINKS: 1})


@given(st.binary(max_size=120), st.sampled_from([0, 1, 6, 9, 10, 50, 51, 100, 101, 104, 113, 147, 219, 276]))
def test_no_frame_is_too_strange(data: bytes, link: int) -> None:
    out, _ = shown(data, link)
    assert out is None or len(out) == len(data)


@given(st.binary(max_size=60), st.sampled_from(WRAPPED), st.integers(0, 40))
def test_no_tunnel_is_too_deep(data: bytes, wrapped: Callable[[bytes], bytes], depth: int) -> None:
    for _ in range(depth):
        data = ethernet(wrapped(data))
    out, _ = shown(data)
    assert out is None or len(out) == len(data)
