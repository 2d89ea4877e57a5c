"""Wireshark's view of a finding beside ours, and one clear line where Wireshark cannot be asked."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from analyzer.cli import main
from analyzer.engine import analyze
from analyzer.protocols import REGISTRY
from analyzer.protocols.mount import MOUNT
from analyzer.render.dissect import MOST_ENTRIES, ours, side_by_side, theirs
from analyzer.render.evidence import frames_of
from analyzer.render.reread import Frame, Message
from analyzer.render.view import View
from tests.capture.files import pcap, some_packets
from tests.expectations import CAPTURES
from tests.render.captures import hostile

ROOT = Path(__file__).parent.parent.parent
LEAK = CAPTURES / "lab" / "umnt_unlock_dropped.pcap"
FINDING = "unlock-unanswered-abf135a9"

SHELL = "#!/bin/sh\nif [ $1 = -v ]; then echo TShark 4.0.0; exit 0; fi\n"
LIST_MODULES = "sys.stderr.write(' '.join(sys.modules))"


def blocks(text: str) -> dict[int, tuple[str, str]]:
    """What each side says of each frame."""
    found = {}
    for part in text.split("\nframe ")[1:]:
        mine, wireshark = part.split("\n  Wireshark\n")
        found[int(part.split(",")[0])] = (mine, wireshark)
    return found


def dissect(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[int, tuple[str, str]]:
    assert main(["dissect", *arguments]) == 0
    return blocks(capsys.readouterr().out)


def test_lock_in_both(tshark: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = dissect(capsys, str(LEAK), "--finding", FINDING)
    assert list(found) == list(next(one for one in analyze([str(LEAK)]).findings if one.id == FINDING).frames)
    mine, wireshark = found[123]
    for line in (
        "NLM4 LOCK call, 192.168.77.21:683",
        "xid: 0xfaf70a68",
        "exclusive: yes",
        "cookie: 35120000",
    ):
        assert line in mine
    for line in ("XID: 0xfaf70a68", "V4 Procedure: LOCK (2)", "exclusive: Yes", "contents: 35:12:00:00"):
        assert line in wireshark
    assert "rpc status: SUCCESS\n      cookie: 35120000\n      status: NLM4_GRANTED (0)" in found[125][0]
    assert "reply to a request in frame 123" in found[125][1], "the frame numbers are those of the capture"
    assert "TCP segment that was seen before" in found[128][0]
    assert "retransmission" in found[128][1]


def test_a_packed_capture(tmp_path: Path, tshark: str, capsys: pytest.CaptureFixture[str]) -> None:
    packed = tmp_path / "leak.pcap.gz"
    packed.write_bytes(gzip.compress(LEAK.read_bytes()))
    found = dissect(capsys, str(packed), "--finding", FINDING)
    assert "V4 Procedure: LOCK (2)" in found[123][1]
    assert "V4 Procedure: UNLOCK (4)" in found[127][1]


def test_several_captures(tmp_path: Path, tshark: str, capsys: pytest.CaptureFixture[str]) -> None:
    early = tmp_path / "early.pcap"
    early.write_bytes(pcap(some_packets(3)))
    id_ = next(one.id for one in analyze([str(LEAK), str(early)]).findings if one.code == "unlock-unanswered")
    assert main(["dissect", str(LEAK), str(early), "--finding", id_]) == 0
    text = capsys.readouterr().out
    assert "these frames only" in text
    assert "V4 Procedure: LOCK (2)" in blocks(text)[126][1]


def in_a_process(capture: Path, finding: str, **env: str) -> subprocess.CompletedProcess[str]:
    """With all that a dying interpreter still says."""
    arguments = ["dissect", str(capture), "--finding", finding]
    code = f"import sys\nfrom analyzer.cli import main\nsys.exit(main({arguments!r}))"
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | env,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_capture_cut_short(tmp_path: Path, tshark: str) -> None:
    cut = tmp_path / "cut.pcap"
    cut.write_bytes(LEAK.read_bytes()[:-7])
    finding = next(one for one in analyze([str(cut)]).findings if one.code == "unlock-unanswered")
    done = in_a_process(cut, finding.id)
    assert (done.returncode, done.stderr) == (0, "")
    found = blocks(done.stdout)
    assert list(found) == list(finding.frames)
    assert "V4 Procedure: LOCK (2)" in found[123][1]


def test_hostile_text(tmp_path: Path, tshark: str) -> None:
    path = str(hostile(tmp_path / "hostile.pcap"))
    view = View(analyze([path]))
    frames = frames_of(view, view.findings)
    lines = list(side_by_side(view.findings[0], frames, [path]))
    assert all(line.isprintable() for line in lines)
    assert any("caller_name: a\\x1b]0;owned\\x07b" in line for line in lines)


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["dissect", str(LEAK), "--finding", FINDING]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


def test_without_tshark(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert "tshark is not on the path" in complaint(capsys)


@pytest.mark.parametrize(
    "script",
    [
        f"{SHELL}echo 'it broke' >&2\nexit 3\n",
        f"{SHELL}echo '<packet><oops</packet>'\nexec sleep 9\n",
        f"{SHELL}exit 0\n",
        "#!/bin/sh\nexit 3\n",
        "#!/nowhere/sh\n",
    ],
    ids=["complains", "babbles", "shows nothing", "has no version", "does not run"],
)
def test_a_tshark_that_fails(tmp_path: Path, script: str) -> None:
    fake = tmp_path / "tshark"
    fake.write_text(script)
    fake.chmod(0o755)
    done = in_a_process(LEAK, FINDING, PATH=f"{tmp_path}:/usr/bin:/bin")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"lockscope: {LEAK}: pyshark could not ask tshark")
    assert done.stderr.count("\n") == 1, done.stderr


@pytest.mark.parametrize("error", [AttributeError("module has no set_child_watcher"), RuntimeError("a\nb")])
def test_a_pyshark_that_fails(
    error: Exception, tshark: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setitem(sys.modules, "pyshark", SimpleNamespace(FileCapture=fails))
    line = complaint(capsys)
    assert f"pyshark could not ask tshark: {type(error).__name__}: {str(error)[0]}" in line
    monkeypatch.setitem(sys.modules, "pyshark", None)
    assert "pyshark could not ask tshark" in complaint(capsys)


def test_an_unknown_finding(tshark: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dissect", str(LEAK), "--finding", "x"]) == 2
    assert capsys.readouterr().err == (
        "lockscope: no finding has the id x here; lockscope analyze lists those that there are\n"
    )
    assert main(["dissect", "-", "--finding", "x"]) == 2
    assert "save the capture first" in capsys.readouterr().err


@pytest.mark.parametrize(("verb", "absent"), [("evidence", "pyshark"), ("dissect", "pandas")])
def test_only_what_is_needed_is_imported(verb: str, absent: str, tshark: str) -> None:
    arguments = [verb, str(LEAK), "--finding", FINDING]
    arguments += ["--output", "/dev/null"] if verb == "evidence" else []
    code = f"import sys\nfrom analyzer.cli import main\nmain({arguments!r})\n{LIST_MODULES}"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert "dpkt" in loaded if verb == "evidence" else "pyshark" in loaded
    assert absent not in loaded


def a_frame(*messages: Message) -> Frame:
    return Frame(1, "x", 1, 0, 1, 4, b"", list(messages))


def test_lists_enums_and_remarks() -> None:
    dump = REGISTRY[MOUNT, 3].procedures[2]
    mounts = [{"hostname": b"a\x1b", "dirpath": b"/srv"}] * (MOST_ENTRIES + 2)
    message = Message("MOUNT3 DUMP reply", "a to b, UDP", 1, "SUCCESS", dump.reply, {"mounts": mounts}, "cut")
    lines = list(ours(a_frame(message)))
    assert lines[:6] == [
        "MOUNT3 DUMP reply, a to b, UDP",
        "  xid: 0x00000001",
        "  rpc status: SUCCESS",
        f"  mounts: {MOST_ENTRIES + 2} entries",
        "  - hostname: a\\x1b",
        "    dirpath: /srv",
    ]
    assert lines[-2:] == ["  - and 2 more", "  (cut)"]
    assert list(ours(a_frame())) == ["no RPC message ends here"]


class Layer:
    """A layer as pyshark gives it."""

    def __init__(self, layer_name: str, **fields: tuple[str, int, int]) -> None:
        self.layer_name = layer_name
        self._fields = fields
        self.field_names = list(fields)

    def get_field(self, name: str) -> Any:
        text, place, size = self._fields[name]
        field = SimpleNamespace(
            showname=text, show="", hide=text.startswith("hidden"), pos=str(place), size=str(size)
        )
        return SimpleNamespace(all_fields=[field])


def layers(*names: str) -> Iterator[Layer]:
    for name in names:
        yield Layer(
            name, length=("inner", 4, 2), body=("out\x1ber", 4, 9), head=("first", 0, 4), len=("hidden", 0, 0)
        )


@pytest.mark.parametrize(
    ("showname", "show", "line"),
    [
        ("contents: <DATA>", "35:12", "contents: 35:12"),
        ("contents: <DATA>", None, "contents: "),
        (None, "cookie: <DATA>", "cookie: <DATA>"),
        ("svid: 3", "3", "svid: 3"),
    ],
)
def test_a_line_of_wireshark(showname: str | None, show: str | None, line: str) -> None:
    field = SimpleNamespace(showname=showname, show=show, hide=False, pos=None, size="")
    layer: Any = SimpleNamespace(
        layer_name="nlm", field_names=["x"], get_field=lambda _: SimpleNamespace(all_fields=[field])
    )
    assert list(theirs(SimpleNamespace(layers=[layer]))) == ["NLM", f"  {line}"]


@pytest.mark.parametrize(
    ("names", "heads"),
    [
        (("eth", "ip", "udp", "rpc", "nlm"), ["RPC", "NLM"]),
        (("eth", "ip", "tcp", "rpc", "nlm", "DATA", "rpc", "mount"), ["RPC", "NLM", "RPC", "MOUNT"]),
        (("eth", "ip", "icmp", "data"), ["ICMP"]),
        (("DATA",), []),
    ],
)
def test_layers_and_order(names: tuple[str, ...], heads: list[str]) -> None:
    lines = list(theirs(SimpleNamespace(layers=list(layers(*names)))))
    assert [line for line in lines if not line.startswith(" ")] == heads
    assert lines[1:4] == (["  first", "  out\\x1ber", "  inner"] if heads else [])
