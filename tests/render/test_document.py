"""`lockscope.analysis/1`: every key there, every type as promised."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from analyzer.engine import analyze
from analyzer.findings.catalogue import RULES
from analyzer.findings.rule import FAMILIES
from analyzer.render import document
from analyzer.render.view import View
from analyzer.score.expectations import CONFIDENCE, SEVERITY
from tests.expectations import CAPTURES
from tests.render.captures import empty, hostile, ordinary

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z")
HEX = re.compile(r"([0-9a-f]{2})+")
HEALTH = (
    *("frames", "messages", "orphan_replies", "unanswered_calls", "retransmissions", "tcp_gaps"),
    "truncated_frames",
)
FINDING = (
    *("id", "code", "family", "severity", "confidence", "server", "client", "peer", "export", "path", "fh"),
    *("owner", "range", "first_time", "last_time", "frames", "count", "message", "remedy", "caused_by"),
)
LAB = sorted((CAPTURES / "lab").glob("*.pcap"))[::4]


def documents(tmp_path: Path) -> list[Any]:
    made = [empty(tmp_path / "e.pcap"), ordinary(tmp_path / "o.pcap"), hostile(tmp_path / "h.pcap"), *LAB]
    return [json.loads(document.text(View(analyze([str(path)])))) for path in made]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    return documents(tmp_path_factory.mktemp("captures"))


def test_top(shown: list[Any]) -> None:
    for whole in shown:
        assert list(whole) == ["schema", "captures", "health", "counts", "findings"]
        assert whole["schema"] == "lockscope.analysis/1"
        assert {name: type(whole["health"][name]) for name in HEALTH} == dict.fromkeys(HEALTH, int)
        assert isinstance(whole["health"]["faults"], dict)
        counts = whole["counts"]
        assert list(counts) == ["nfs", "nlm", "nsm", "mount", "portmap", "by_procedure"]
        assert sum(counts[name] for name in list(counts)[:5]) <= sum(counts["by_procedure"].values())


def test_captures(shown: list[Any]) -> None:
    for whole in shown:
        for capture in whole["captures"]:
            assert list(capture) == ["path", "packets", "bytes", "start", "end", "link_types", "complete"]
            for moment in (capture["start"], capture["end"]):
                assert moment is None if capture["packets"] == 0 else TIME.fullmatch(moment)
            assert capture["complete"] is True
            assert capture["link_types"] == (["ETHERNET"] if capture["packets"] else capture["link_types"])


def test_findings(shown: list[Any]) -> None:
    found = [finding for whole in shown for finding in whole["findings"]]
    assert len(found) > 20
    for finding in found:
        assert tuple(finding) == FINDING
        assert finding["code"] in RULES
        assert finding["id"].startswith(finding["code"] + "-")
        assert finding["family"] in FAMILIES
        assert finding["severity"] in SEVERITY
        assert finding["confidence"] in CONFIDENCE
        assert TIME.fullmatch(finding["first_time"])
        assert finding["first_time"] <= finding["last_time"]
        assert finding["frames"] == sorted(set(finding["frames"]))
        assert len(finding["frames"]) <= 64
        assert finding["count"] >= 1
        assert finding["fh"] is None or HEX.fullmatch(finding["fh"])
        if finding["owner"] is not None:
            assert list(finding["owner"]) == ["caller", "svid", "oh"]
        if finding["range"] is not None:
            assert list(finding["range"]) == ["start", "end"]
    for whole in shown:
        order = [(-SEVERITY.index(f["severity"]), f["first_time"], f["id"]) for f in whole["findings"]]
        assert order == sorted(order)
        assert {cause for f in whole["findings"] for cause in f["caused_by"]} <= {
            f["id"] for f in whole["findings"]
        }


def test_a_range_to_the_end_of_the_file_has_no_end(shown: list[Any]) -> None:
    ranges = [f["range"] for whole in shown for f in whole["findings"] if f["range"] is not None]
    assert {"start": 0, "end": None} in ranges
    assert {"start": 0, "end": 99} in ranges


def test_what_was_cut_short_is_told_by_file(tmp_path: Path) -> None:
    whole = ordinary(tmp_path / "cut.pcap")
    whole.write_bytes(whole.read_bytes()[:-5])
    shown = json.loads(document.text(View(analyze([str(whole)]))))
    assert shown["captures"][0]["complete"] is False
    assert shown["health"]["faults"]
    assert list(shown["health"]["faults"]) == list(shown["health"]["meanings"])


def test_lines_are_the_parts(tmp_path: Path) -> None:
    view = View(analyze([str(LAB[0])]))
    whole = document.document(view)
    parts = [json.loads(line) for line in document.lines(view)]
    assert [part.pop("type") for part in parts] == ["capture", "health", "counts"] + ["finding"] * len(
        view.findings
    )
    assert parts[1] == whole["health"]
    assert parts[3:] == whole["findings"]
