"""The benchmark's captures: always the same, and what an independent reader sees in them."""

from __future__ import annotations

import hashlib
import re
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from analyzer.benchmark import counts, generate
from analyzer.engine import analyze

LOADS = ("metadata", "bulk", "locks")
PACKETS, BYTES, REQUESTS = 3000, 3_000_000, 2000


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("captures")
    paths = {load: folder / f"{load}.pcap" for load in LOADS}
    generate.metadata(paths["metadata"], PACKETS)
    generate.bulk(paths["bulk"], BYTES)
    generate.locks(paths["locks"], REQUESTS)
    return paths


def _packets(path: Path) -> Iterator[bytes]:
    data = path.read_bytes()
    at = 24
    while at < len(data):
        captured, wire = struct.unpack_from("<II", data, at + 8)
        assert captured == wire
        yield data[at + 16 : at + 16 + captured]
        at += 16 + captured
    assert at == len(data)


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("load", "expected"),
    [
        ("metadata", "8ccf41caa032c34d29e9bad151e28839970d7e459c24fd41b36b456bf1696721"),
        ("bulk", "6793b21f79e98382e7caa151a9890904fb205e7b73cf77c5d3499bc570b72444"),
        ("locks", "42247cb7a0b54694ac129cf57f89c8a3f6eaa786044afad3180237c1703185ea"),
    ],
    ids=LOADS,
)
def test_the_same_bytes_every_time(made: dict[str, Path], load: str, expected: str) -> None:
    """Figures of two versions, or two machines, compare only if the input is the same."""
    assert _hash(made[load]) == expected


def test_a_second_run_in_one_process(made: dict[str, Path], tmp_path: Path) -> None:
    generate.metadata(tmp_path / "again.pcap", PACKETS)
    assert _hash(tmp_path / "again.pcap") == _hash(made["metadata"])


def test_the_size_is_as_asked(made: dict[str, Path]) -> None:
    assert PACKETS - 4 <= sum(1 for _ in _packets(made["metadata"])) <= PACKETS
    assert abs(made["bulk"].stat().st_size - BYTES) < 100_000


def test_nothing_is_left_half_written(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="missing"):
        generate.metadata(tmp_path / "missing" / "a.pcap", PACKETS)
    generate.metadata(tmp_path / "a.pcap", PACKETS)
    assert [path.name for path in tmp_path.iterdir()] == ["a.pcap"]


@pytest.mark.parametrize("load", LOADS)
def test_ip_checksums_are_right(made: dict[str, Path], load: str) -> None:
    for packet in _packets(made[load]):
        total = sum(struct.unpack("!10H", packet[14:34]))
        assert (total & 0xFFFF) + (total >> 16) in (0xFFFF, 0x1FFFE)
        assert struct.unpack("!H", packet[16:18])[0] == len(packet) - 14


@pytest.mark.parametrize("load", LOADS)
def test_tcp_streams_have_no_hole(made: dict[str, Path], load: str) -> None:
    """Every segment begins where the one before ended, and acknowledges all that was sent."""
    upcoming: dict[bytes, int] = {}
    for packet in _packets(made[load]):
        if packet[23] != 6:
            continue
        ends = packet[26:38]
        seq, ack, offset, flags = struct.unpack("!IIBB", packet[38:48])
        payload = len(packet) - 34 - (offset >> 2)
        back = packet[30:34] + packet[26:30] + packet[36:38] + packet[34:36]
        if ends in upcoming:
            assert seq == upcoming[ends]
        if flags & 16:
            assert ack == upcoming[back]
        upcoming[ends] = (seq + payload + (flags & 1) + (flags >> 1 & 1)) & 0xFFFFFFFF


@pytest.mark.parametrize("load", LOADS)
def test_wireshark_reads_every_call(made: dict[str, Path], load: str, tshark: str) -> None:
    def told(*arguments: str) -> str:
        command = [tshark, "-r", str(made[load]), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    types = told("-Y", "rpc", "-T", "fields", "-e", "rpc.msgtyp").replace(",", "\n").split()
    statistics = told("-q", "-z", "rpc,programs")
    # a record ends in the segment that has the PSH flag; a datagram is a record
    records = sum(1 for packet in _packets(made[load]) if packet[23] == 17 or packet[47] & 8)
    assert (
        types.count("0")
        == types.count("1")
        == counts.programs(statistics.encode().splitlines())
        == records // 2
    )
    assert not re.search(r"Malformed|Errors|Warns", told("-q", "-z", "expert"))


def test_the_mix_of_metadata(made: dict[str, Path], tshark: str) -> None:
    command = [tshark, "-r", str(made["metadata"]), "-q", "-z", "rpc,programs"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    calls = {m[1]: int(m[2]) for m in re.finditer(r"^(\w+)\(\d+\)\s+\d+\s+(\d+)", text, re.MULTILINE)}
    assert calls["Portmap"] == 24
    assert calls["MOUNT"] == 16
    assert 0.01 < calls["NLM"] / calls["NFS"] < 0.05


def test_every_lock_is_released(made: dict[str, Path], tshark: str) -> None:
    command = [tshark, "-r", str(made["metadata"]), "-Y", "nlm && rpc.msgtyp == 0"]
    fields = ["-T", "fields", "-e", "nlm.procedure_v4", "-e", "nlm.lock.owner"]
    rows = subprocess.run([*command, *fields], capture_output=True, text=True, check=True).stdout.split("\n")
    owners = {kind: sorted(r.split("\t")[1] for r in rows if r.startswith(f"{kind}\t")) for kind in (2, 4)}
    assert owners[2] == owners[4] != []
    assert len(set(owners[2])) == len(owners[2])


def test_fifty_clients_lock_and_nothing_is_found(made: dict[str, Path]) -> None:
    analysis = analyze([str(made["locks"])])
    assert analysis.findings == []
    assert analysis.counts["NLM4 LOCK"] == analysis.counts["NLM4 UNLOCK"] >= REQUESTS // 2
    assert len({lock.client for lock in analysis.sessions.ledger.locks}) == generate.LOCKING
