"""Forms that are not ours: converted by editcap, or taken apart by pyshark, and then like any other."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from analyzer.capture import foreign, shark
from analyzer.capture.find import find_captures
from analyzer.capture.foreign import is_foreign
from analyzer.engine import Analysis, analyze
from analyzer.errors import AnalyzerError
from tests.capture import files
from tests.expectations import CAPTURES

WHOLE = CAPTURES / "lab" / "clean_basic.pcap"

pytestmark = pytest.mark.skipif(shutil.which("editcap") is None, reason="editcap is not installed")


def written(folder: Path, form: str) -> Path:
    """The capture in another form."""
    path = folder / f"capture.{form}"
    subprocess.run(["editcap", "-F", form, WHOLE, path], check=True)
    return path


def about(analysis: Analysis) -> tuple[object, ...]:
    return (
        analysis.counts,
        analysis.health.messages,
        len(analysis.findings),
        len(analysis.sessions.ledger.locks),
    )


@pytest.mark.parametrize("form", ["netmon2", "ngwsniffer_2_0", "lanalyzer", "visual"])
def test_the_same_in_another_form(tmp_path: Path, form: str) -> None:
    found, whole = analyze([str(written(tmp_path, form))]), analyze([str(WHOLE)])
    assert about(found) == about(whole)
    assert (found.health.frames, found.captures[0].complete) == (whole.health.frames, True)


@pytest.mark.usefixtures("tshark")
def test_what_editcap_cannot_convert_goes_through_pyshark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, "nettl")
    for compiled in (False, True):
        assert about(analyze([str(path)], compiled=compiled)) == about(analyze([str(WHOLE)]))
    found = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "tshark" else found(name))
    with pytest.raises(AnalyzerError, match=r"apt install tshark"):
        analyze([str(path)])


def test_pyshark_that_fails_is_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, real, left = written(tmp_path, "nettl"), shark._record, iter(range(5))

    def failing(packet: Any) -> bytes:
        if next(left, None) is None:
            raise RuntimeError("tshark is tired")
        return real(packet)

    converted = foreign.Converted(str(path))
    monkeypatch.setattr(shark, "_record", failing)
    with pytest.raises(OSError, match="pyshark could not ask tshark: tshark is tired"):
        list(iter(lambda: converted.read(1000), b""))
    converted.close()


def test_one_that_is_cut_short_is_read_up_to_there(tmp_path: Path) -> None:
    path = written(tmp_path, "ngwsniffer_2_0")
    path.write_bytes(path.read_bytes()[:3000])
    (info,) = analyze([str(path)]).captures
    assert 0 < info.packets < 100
    assert not info.complete


def test_what_is_no_capture_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "-notes.txt"
    path.write_text("no packets here\n" * 30)
    with pytest.raises(AnalyzerError, match=r"not a packet capture .*, nor anything that editcap reads"):
        analyze([str(path)])
    monkeypatch.setattr(foreign, "TOOL", "no-such-editcap")
    with pytest.raises(AnalyzerError, match=r"not a packet capture .*apt install wireshark-common"):
        analyze([str(path)])


def test_what_lies_in_a_directory_is_not_converted(tmp_path: Path) -> None:
    other = written(tmp_path, "netmon2")
    shutil.copy(WHOLE, tmp_path)
    assert find_captures([str(tmp_path)]) == ([str(tmp_path / WHOLE.name)], [str(other)])


@pytest.mark.parametrize(
    ("head", "foreign"),
    [
        (b"", False),
        (b"snoop\0", False),
        (b"snoopy", True),
        (files.pcap_header()[:6], False),
        (files.pcap_header(">", files.NANO)[:6], False),
        (b"\x0a\x0d\x0d\x0a\0\0", False),
        (b"GMBU\0\2", True),
        (b"iptrac", True),
    ],
)
def test_what_is_foreign(head: bytes, foreign: bool) -> None:
    assert is_foreign(head) == foreign
