"""The captures are what the manifest says, and lockscope says about them what it should."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from analyzer.score.expectations import CONFIDENCE, SAME, shortcomings
from analyzer.score.labelled import findings_of
from tests import manifest
from tests.expectations import CAPTURES, expectation_of, expectations

EXPECTED = expectations()
ENTRY_KEYS = {"any_of", "why", "min_confidence", "path", "frames", *SAME}


def test_the_manifest_is_up_to_date() -> None:
    """Every hash and size is right; if not on purpose, a capture has been damaged."""
    assert manifest.MANIFEST.read_text() == manifest.manifest(), "run python -m tests.manifest"


def test_the_manifest_lists_every_file() -> None:
    listed = tomllib.loads(manifest.MANIFEST.read_text())
    assert listed["licence"] == "CC0-1.0"
    names = {"MANIFEST.toml"}
    for entry in listed["capture"]:
        stem = entry["file"].partition(".")[0]
        names |= {entry["file"], f"{stem}.json"}
        names |= {f"{stem}.expect.json"} if "expect_sha256" in entry else set()
    there = {path.relative_to(CAPTURES).as_posix() for path in CAPTURES.rglob("*") if path.is_file()}
    assert there == names


@pytest.mark.parametrize("path", manifest.captures(), ids=lambda path: path.name.partition(".")[0])
def test_the_label_parses(path: Path) -> None:
    label = json.loads(path.with_name(path.name.partition(".")[0] + ".json").read_text())
    assert label["description"]
    assert {fact["fact"] for fact in label["facts"]} >= {"clean"}
    assert isinstance(label["verdict"]["clean"], bool)


@pytest.mark.parametrize("name", EXPECTED)
def test_the_expectation_parses(name: str) -> None:
    expectation = expectation_of(EXPECTED[name])
    assert set(expectation) == {"clean", "says", "must", "may", "never", "notes"}
    assert isinstance(expectation["clean"], bool)
    for entry in expectation["must"]:
        assert set(entry) <= ENTRY_KEYS
        assert entry["any_of"]
        assert entry.get("min_confidence", "possible") in CONFIDENCE
        assert not set(entry["any_of"]) <= set(expectation["never"])


def test_the_catalogue_can_meet_every_entry() -> None:
    from analyzer.findings import catalogue

    for path in EXPECTED.values():
        for entry in expectation_of(path)["must"]:
            assert set(entry["any_of"]) & set(catalogue.RULES), (path.name, entry["any_of"])


@pytest.mark.parametrize("name", EXPECTED)
def test_findings(name: str) -> None:
    """The main job: what must be found is found, and there is no false alarm."""
    capture = EXPECTED[name]
    wrong = shortcomings(expectation_of(capture), findings_of(capture))
    assert not wrong, "\n".join([name, *wrong])
