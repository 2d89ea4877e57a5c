"""The order of packets of several captures, by Wireshark's mergecap and by lockscope."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

from analyzer.capture.pcap import HEADER
from tests.capture.files import Packet, pcap
from tests.capture.test_merge import BASE, Merged


def test_the_logical_capture_is_what_mergecap_writes(tshark: str, tmp_path: Path) -> None:
    """Clocks that go back and equal stamps among them; mergecap gets the files as lockscope orders them."""
    chance = random.Random(36)
    files = [
        [
            Packet(bytes([n, i]) * 8, BASE + 1000 * (i * 3 + chance.choice((0, 0, 0, 1, -9))))
            for i in range(200)
        ]
        for n in range(3)
    ]
    merged = Merged(files)
    paths = [tmp_path / str(n) for n in merged.order]
    for n, path in zip(merged.order, paths, strict=True):
        path.write_bytes(pcap(files[n]))
    mergecap = Path(tshark).with_name("mergecap")
    command = [str(mergecap), "-F", "pcap", "-w", str(tmp_path / "all"), *map(str, paths)]
    subprocess.run(command, check=True, capture_output=True)
    expected = pcap([Packet(row.data, row.time) for row in merged.rows])
    assert (tmp_path / "all").read_bytes()[HEADER:] == expected[HEADER:]
