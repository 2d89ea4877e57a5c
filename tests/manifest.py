"""The list of captures: `captures/MANIFEST.toml`, written by `python -m tests.manifest`.

In: the files of `captures/`. Out: for each capture its hash, its size, what it shows, and the
hashes of its label and expectation.

Theory. What a capture shows is said once, in its label; the manifest repeats it so that one
file answers what is here and under which licence.

Never: changes a capture.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

CAPTURES = Path(__file__).parent.parent / "captures"
MANIFEST = CAPTURES / "MANIFEST.toml"

HEAD = '''\
# Written by `python -m tests.manifest`: the captures, what each shows, and that none has changed.

licence = "CC0-1.0"

recorded = """
Recorded in a lab of three virtual machines (a server, two clients) on one software bridge, by
tcpdump on the bridge: every frame of every machine is in the capture, at MTU size and with real
checksums unless a label says that offloads were on. lab: Debian's Linux 6.1 and nfs-utils 2.6.2 on
all three. lab-ganesha: NFS-Ganesha 4.3 as the server. lab-kernels: Linux 6.12. big: the same lab
under a bulk load, offloads on, cut at 256 bytes a frame. NFSv3 runs over TCP, MOUNT over TCP unless
the name says otherwise; lockd, mountd and statd have ephemeral ports, so the port lookups are on
the wire. Grace is set short (15 s, which the kernel makes 20 s). In the raw_* captures a client
outside the kernel sends forged or malformed calls to real kernels.
"""

about = """
NAME.json is the label: every step with its time on the clock of the packet timestamps, plain facts,
and what server and clients believed at the end. NAME.expect.json says what a good analyzer reports
from the packets alone; the rules are in analyzer/score/expectations.py. Captures over 300 KB are compressed
by zstd.
"""
'''


def captures() -> list[Path]:
    """Every capture, in order of folder and name."""
    return sorted(path for path in CAPTURES.glob("*/*") if path.name.endswith((".pcap", ".pcap.zst")))


def manifest() -> str:
    """The text of the manifest."""
    return HEAD + "".join(_entry(path) for path in captures())


def _entry(capture: Path) -> str:
    stem = capture.name.partition(".")[0]
    label = capture.with_name(f"{stem}.json")
    expectation = capture.with_name(f"{stem}.expect.json")
    shows = json.loads(label.read_text())["description"]
    lines = [
        f"\n[[capture]]\nfile = {_quoted(capture.relative_to(CAPTURES).as_posix())}",
        f"shows = {_quoted(shows)}",
        f"bytes = {capture.stat().st_size}",
        f"sha256 = {_hash(capture)}",
        f"label_sha256 = {_hash(label)}",
    ]
    if expectation.exists():
        lines.append(f"expect_sha256 = {_hash(expectation)}")
    return "\n".join(lines) + "\n"


def _hash(path: Path) -> str:
    return _quoted(hashlib.sha256(path.read_bytes()).hexdigest())


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # JSON strings are TOML basic strings


if __name__ == "__main__":
    MANIFEST.write_text(manifest())
    sys.stdout.write(f"{len(captures())} captures listed in {MANIFEST.name}\n")
