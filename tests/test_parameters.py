"""Windows and thresholds: what may be said, and that saying it changes a verdict and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import analyzer
from analyzer import parameters
from analyzer.engine import analyze
from analyzer.errors import AnalyzerError
from analyzer.findings.catalogue import RULES
from analyzer.findings.grading import Grading
from analyzer.findings.rule import Finding
from analyzer.parameters import DECLARED, SECOND, Parameter, settings, threshold, window
from analyzer.render.parameters import asked_for, needed_by, needs
from analyzer.sessions.world import Sessions
from tests.expectations import CAPTURES

PACKAGE = Path(parameters.__file__).parent
LAB = CAPTURES / "lab"


# -- values -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "said", "value"),
    [
        ("vanished-silence", "120", 120 * SECOND),
        ("vanished-silence", 0, 0),
        ("vanished-silence", "0.25", SECOND // 4),
        ("vanished-silence", " 1e3 ", 1000 * SECOND),
        ("polled-waits", "5", 5),
        ("polled-waits", 5.0, 5),
    ],
)
def test_a_value(name: str, said: str | float, value: int) -> None:
    assert settings({name: said}) == {DECLARED[name]: value}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("vanished-silence", "-1"),
        ("vanished-silence", "soon"),
        ("vanished-silence", ""),
        ("vanished-silence", "nan"),
        ("vanished-silence", "inf"),
        ("vanished-silence", 1e10),
        ("vanished-silence", None),
        ("polled-waits", "2.5"),
        ("polled-waits", "0"),
        ("polled-waits", "nan"),
        ("nlm-timeout", "0"),
    ],
)
def test_no_value(name: str, said: str) -> None:
    with pytest.raises(AnalyzerError, match=name):
        settings({name: said})


def test_a_name_that_is_nearly_right() -> None:
    with pytest.raises(AnalyzerError, match="did you mean vanished-silence"):
        settings({"vanished_silence": 5})
    with pytest.raises(AnalyzerError, match=r"no parameter is called xyz \("):
        settings({"xyz": 5})


def test_what_is_not_set_has_its_default() -> None:
    one, other = DECLARED["vanished-silence"], DECLARED["polled-waits"]
    made = settings({other.name: 7})
    assert (made[one], made[other]) == (one.default, 7)


def test_no_name_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parameters, "DECLARED", {})
    assert window("a", 1.5, "why").shown == "1.5 s"
    assert threshold("b", 3, "calls", "why").shown == "3 calls"
    with pytest.raises(TypeError, match="two parameters"):
        window("a", 2, "why")


# -- the declarations -------------------------------------------------------------------------------


@pytest.mark.parametrize("parameter", DECLARED.values(), ids=DECLARED)
def test_a_declaration(parameter: Parameter) -> None:
    assert parameter.name == parameter.name.lower().replace("_", "-")
    assert parameter.name not in RULES, "a code and a parameter would be taken for each other"
    assert parameter.value(parameter.default / parameter.scale) == parameter.default
    assert len(parameter.reason.split()) > 2
    assert "|" not in parameter.reason


def test_each_is_needed() -> None:
    """By a rule, by the laws for all rules, or by the sessions."""
    by_rules = {parameter for parameter, codes in needs().items() if codes}
    assert by_rules | asked_for(Grading) | asked_for(Sessions) == set(DECLARED.values())


def test_helpers_count_for_the_rules_that_use_them() -> None:
    names = {code: {parameter.name for parameter in needed_by(rule)} for code, rule in RULES.items()}
    assert "callback-answer" in names["grant-callback-unanswered"]  # in the rule itself
    assert "callback-after-release" in names["grant-callback-missing"]  # in a function
    assert "grant-under-way" in names["lock-orphaned-by-duplicate"]  # in a method
    assert names["nfs3-proc-22"] == set()


NANOSECONDS = re.compile(r"\bSECOND\b|_000_000\b")


def test_rules_have_no_window_of_their_own() -> None:
    """What is measured in time is a parameter.

    `rule` needs the unit to say how long something took, `operations` and `spans` bound memory.
    """
    modules = [path for folder in ("findings", "sessions") for path in (PACKAGE / folder).glob("*.py")]
    found = {path.name for path in modules if NANOSECONDS.search(path.read_text())}
    assert found == {"rule.py", "operations.py", "spans.py"}


# -- verdicts ---------------------------------------------------------------------------------------


def findings(capture: str, **said: float) -> list[Finding]:
    values = {name.replace("_", "-"): value for name, value in said.items()}
    return analyze([str(LAB / capture)], settings=settings(values)).findings


@pytest.mark.parametrize(
    ("capture", "code", "said"),
    [
        ("umnt_unlock_dropped.pcap", "unlock-unanswered", {"unlock_ack": 60, "unlock_answer": 60}),
        ("umnt_unlock_dropped.pcap", "lock-held-after-umnt", {"umnt_watched": 60}),
        ("leak_client_power_cut.pcap", "lock-held-by-vanished-client", {"vanished_blocked": 3600}),
        ("callback_blocked.pcap", "grant-callback-unreachable", {"callback_connect": 3600}),
        ("raw_granted_silent.pcap", "grant-callback-unanswered", {"watched_at_least": 3600}),
        ("server_statd_dead.pcap", "nlm-server-stall", {"slow_answer": 3600}),
    ],
)
def test_a_parameter_changes_a_verdict(capture: str, code: str, said: dict[str, float]) -> None:
    assert code in {found.code for found in findings(capture)}
    assert code not in {found.code for found in findings(capture, **said)}


def test_python_sets_them() -> None:
    leak = LAB / "umnt_unlock_dropped.pcap"
    said = {"unlock-ack": 60, "unlock-answer": 60}
    assert "unlock-unanswered" in set(analyzer.analyze(leak).findings["code"])
    assert "unlock-unanswered" not in set(analyzer.analyze(leak, parameters=said).findings["code"])
