"""What a good analyzer says about a labelled capture, as rules over its findings.

In: an expectation (`NAME.expect.json`) and the findings of an analysis, both as plain JSON. Out: one line for
each thing that is not as it should be; none means all is well.

Theory. `must` entries are met by at least one finding each, and one finding may meet several. `never` holds
the diagnoses of a careless analyzer: wrong at any severity. Beyond those, a finding of severity medium or
above is a false alarm unless `must` or `may` knows its code; on a clean capture anything above info is.

Never: knows how findings come about.
"""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

CONFIDENCE = ("possible", "probable", "definite")
SEVERITY = ("info", "low", "medium", "high", "critical")
SAME = ("server", "client", "peer", "export")


def shortcomings(expectation: Json, findings: list[Json]) -> list[str]:
    """Everything in `findings` that is not as the expectation says."""
    return unmet(expectation, findings) + false_alarms(expectation, findings)


def unmet(expectation: Json, findings: list[Json]) -> list[str]:
    """The `must` entries that no finding meets."""
    return [
        f"must[{at}] is not met: {_entry(entry)}"
        for at, entry in enumerate(expectation["must"])
        if not any(meets(entry, finding) for finding in findings)
    ]


def meets(entry: Json, finding: Json) -> bool:
    """Whether a finding has a code of the entry and agrees in all that the entry names."""
    if finding["code"] not in entry["any_of"]:
        return False
    if any(finding[name] not in _values(entry[name]) for name in SAME if name in entry):
        return False
    if "path" in entry and not (finding["path"] or "").endswith(entry["path"]):
        return False
    if "frames" in entry and not set(entry["frames"]) & set(finding["frames"]):
        return False
    wanted = entry.get("min_confidence", "possible")
    return CONFIDENCE.index(finding["confidence"]) >= CONFIDENCE.index(wanted)


def false_alarms(expectation: Json, findings: list[Json]) -> list[str]:
    """The findings that should not be there."""
    wrong = ((why_wrong(expectation, finding), finding) for finding in findings)
    return [f"{why}: {_finding(finding)}" for why, finding in wrong if why is not None]


def why_wrong(expectation: Json, finding: Json) -> str | None:
    """Why a finding is a false alarm; None where it is not."""
    if finding["code"] in expectation["never"]:
        return "never right here"
    known = set(expectation["may"]).union(*(entry["any_of"] for entry in expectation["must"]))
    tolerated = "info" if expectation["clean"] else "low"
    if finding["code"] not in known and SEVERITY.index(finding["severity"]) > SEVERITY.index(tolerated):
        return "clean, nothing to report" if expectation["clean"] else "false alarm"
    return None


def codes_of(expectation: Json) -> set[str]:
    """Every code that an expectation names."""
    named = set(expectation["may"]) | set(expectation["never"])
    return named.union(*(entry["any_of"] for entry in expectation["must"]))


def _values(wanted: str | list[str]) -> list[str]:
    return wanted if isinstance(wanted, list) else [wanted]


def _entry(entry: Json) -> str:
    return ", ".join(f"{name}={value}" for name, value in entry.items() if name != "why")


def _finding(finding: Json) -> str:
    shown = ("code", "severity", "confidence", "server", "client", "peer", "export", "path", "frames")
    return ", ".join(f"{name}={finding[name]}" for name in shown if finding[name] is not None)
