"""The catalogue: complete pages, two kinds of scenario for every rule, findings the same every time."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from analyzer.engine import Engine, analyze
from analyzer.findings import catalogue
from analyzer.findings.catalogue import MOST_FRAMES, RULES, evaluate
from analyzer.findings.rule import (
    DEFINITE,
    FAMILIES,
    HIGH,
    INFO,
    LOW,
    MEDIUM,
    POSSIBLE,
    PROBABLE,
    SECTIONS,
    Case,
    Confidence,
    Finding,
    Rule,
    Severity,
    rule,
)
from analyzer.sessions.model import Place
from analyzer.sessions.mounts import FAR
from tests.expectations import expectations
from tests.findings.lab import TERRAINS, Lab
from tests.records.stream import feed_in_blocks
from tests.sessions.view import View

HERE = Path(__file__).parent

# -- the list -------------------------------------------------------------------------------------


def scenarios() -> dict[tuple[str, str], list[str]]:
    """Names of tests by (code, fires or silent)."""
    found: dict[tuple[str, str], list[str]] = {}
    for path in sorted(HERE.glob("test_*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and "__" in node.name:
                code, _, rest = node.name.removeprefix("test_").partition("__")
                found.setdefault((code.replace("_", "-"), rest.partition("_")[0]), []).append(node.name)
    return found


@pytest.mark.parametrize("kind", ["fires", "silent"])
@pytest.mark.parametrize("code", RULES)
def test_every_rule_has_both_kinds_of_scenario(code: str, kind: str) -> None:
    assert scenarios().get((code, kind)), f"no test_{code.replace('-', '_')}__{kind}_..."


def test_no_scenario_is_for_a_rule_that_does_not_exist() -> None:
    assert {code for code, _ in scenarios()} <= RULES.keys()


@pytest.mark.parametrize("made", RULES.values(), ids=RULES)
def test_a_rules_page_is_complete(made: Rule) -> None:
    assert made.code == RULES[made.code].code
    assert made.family in FAMILIES
    assert made.title.endswith(".")
    assert "\n" not in made.title
    assert list(made.sections) == list(SECTIONS)
    assert all(text.strip() for text in made.sections.values())
    assert made.remedy
    assert "\n" not in made.remedy


def test_codes_are_unique() -> None:
    made = [each for module in catalogue.MODULES for each in vars(module).values() if isinstance(each, Rule)]
    codes = [each.code for each in made]
    assert sorted(codes) == sorted(set(codes)) == sorted(RULES)


def test_no_code_is_dropped_or_renamed() -> None:
    """Reports and scripts name them: a rule that goes wrong is retired on its page, not taken away."""
    assert set(CODES.split()) <= RULES.keys()


CODES = """
    lock-held-after-umnt lock-held-by-vanished-client lock-leaked-by-cancel-race
    lock-leaked-by-refused-grant lock-lost-silently lock-on-stale-file lock-open-at-capture-end
    lock-orphaned-by-duplicate lock-survived-client-reboot residual-range-after-unlock
    share-reservation-leaked unlock-owner-mismatch unlock-refused unlock-unanswered unmonitored-lock
    false-reboot-notice grace-longer-than-expected grace-period-active grace-without-notify
    lock-taken-in-recovery notify-before-ready nsm-monitor-failed nsm-name-mismatch nsm-notify-unanswered
    nsm-state-anomaly peer-restarted-without-notify reclaim-fabricated reclaim-missing
    reclaim-outside-grace reclaim-refused recovery-completed
    async-result-missing async-result-orphan blocked-without-block grant-accepted-twice
    grant-callback-missing grant-callback-unanswered grant-callback-unreachable grant-delivered-by-poll
    grant-mismatch grant-repeated-after-acceptance grant-unsolicited grant-wrong-destination
    export-pinned-by-locks mnt-denied mnt-unused mount-count-imbalance mount-open-at-capture-end
    mount-without-release nfs3-proc-22 rmtab-stale-entry umnt-but-traffic-continues umnt-lost
    umnt-mismatch umntall-ineffective
    cookie-reuse-conflict foreign-unlock free-all-unexpected io-against-foreign-lock malformed-xdr
    nlm-auth-anomaly nlm-smnotify-remote nsm-notify-spoofed owner-collision portmap-tamper
    range-suspicious sm-mon-remote unprivileged-source-port version-or-proc-mismatch
    blocked-too-long deadlock lock-convoy lock-ping-pong lock-starvation long-hold nlm-connection-churn
    nlm-server-stall nonblocking-retry-storm port-lookup-storm rpc-retransmit-storm test-polling
    capture-blind-spot network-loss no-nlm-traffic
"""


def test_a_rule_without_a_complete_page_is_refused() -> None:
    def check(_: object) -> Iterator[Case]:
        """A title.

        ## What it is
        Something.
        """
        yield from ()

    with pytest.raises(TypeError, match="has no section"):
        rule("some-code", LOW)(check)


# -- from cases to findings -----------------------------------------------------------------------


def made(*cases: Case, severity: Severity = HIGH) -> list[Finding]:
    """The findings of one rule that sees these cases, about the hosts of a small capture."""
    lab = Lab()
    lab.mounted(lab.alice, lab.bob)
    sessions = View(lab).s
    only = Rule("some-code", "leaks", severity, lambda _: iter(cases), "T.", {"What to do": "Do."})
    original = dict(RULES)
    RULES.clear()
    RULES["some-code"] = only
    try:
        return evaluate(sessions)
    finally:
        RULES.clear()
        RULES.update(original)


def case(frame: int = 1, **how: Any) -> Case:
    return Case("m", [frame, 0, frame], Place(frame, frame * 100), **{"client": 0, **how})


@pytest.mark.parametrize(
    ("how", "confidence", "severity"),
    [
        ({}, DEFINITE, HIGH),
        ({"confidence": PROBABLE}, PROBABLE, HIGH),
        ({"demote": 1}, PROBABLE, HIGH),
        ({"demote": 2}, POSSIBLE, HIGH),
        ({"severity": LOW}, DEFINITE, LOW),
        ({"due": FAR}, POSSIBLE, MEDIUM),
        ({"due": FAR, "severity": INFO}, POSSIBLE, INFO),
        ({"due": FAR, "confidence": POSSIBLE}, POSSIBLE, MEDIUM),
        ({"due": 1}, DEFINITE, HIGH),
        ({"older": True}, PROBABLE, HIGH),
        ({"guessed": True}, PROBABLE, HIGH),
        ({"untraced": True}, PROBABLE, HIGH),
        ({"older": True, "guessed": True}, POSSIBLE, HIGH),
    ],
)
def test_grades(how: dict[str, Any], confidence: Confidence, severity: Severity) -> None:
    (finding,) = made(case(**how))
    assert (finding.confidence, finding.severity) == (confidence, severity)


@pytest.mark.parametrize("how", [{"demote": 3}, {"confidence": POSSIBLE, "demote": 1}])
def test_below_possible_is_no_finding(how: dict[str, Any]) -> None:
    assert made(case(**how)) == []


def test_cases_about_the_same_are_one_finding() -> None:
    (finding,) = made(case(1, confidence=POSSIBLE), case(5), case(3, severity=LOW))
    assert finding.count == 3
    assert finding.frames == (1, 3, 5)
    assert (finding.first_time, finding.last_time) == (100, 500)
    assert (finding.confidence, finding.severity) == (DEFINITE, HIGH)
    assert finding.message == "m (3 times)"


@pytest.mark.parametrize(
    "other", [{"client": 1}, {"server": 1}, {"peer": 1}, {"export": "/x"}, {"group": "x"}]
)
def test_cases_about_something_else_are_findings_of_their_own(other: dict[str, Any]) -> None:
    assert len(made(case(1), case(2, **other))) == 2


def test_very_many_frames_are_cut_in_the_middle() -> None:
    (finding,) = made(*(case(frame) for frame in range(1, 1001)))
    assert len(finding.frames) == MOST_FRAMES
    assert finding.frames[0] == 1
    assert finding.frames[-1] == 1000
    assert finding.count == 1000


def test_findings_are_ordered_by_severity_time_and_id() -> None:
    found = made(
        case(9, client=0),
        case(2, client=1, severity=LOW, group="low"),
        case(3, client=2),
        case(3, client=1),
    )
    assert [(-f.severity, f.first_time, f.id) for f in found] == sorted(
        (-f.severity, f.first_time, f.id) for f in found
    )
    assert [f.first_time for f in found] == [300, 300, 900, 200]


def test_only_the_codes_asked_for() -> None:
    lab = Lab()
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1)
    sessions = View(lab).s
    assert {f.code for f in evaluate(sessions)} == {"lock-open-at-capture-end", "mount-open-at-capture-end"}
    assert {f.code for f in evaluate(sessions, ["mount-open-at-capture-end"])} == {
        "mount-open-at-capture-end"
    }


# -- the same every time --------------------------------------------------------------------------

CAPTURES = {
    name: path
    for name, path in expectations().items()
    if path.suffix == ".pcap" and path.stat().st_size < 90_000
}
SAMPLE = sorted(CAPTURES)[::6]


def in_blocks(path: Path, rows: int) -> list[Finding]:
    """What is found when the engine is fed a few packets at a time."""
    engine = Engine(False)
    feed_in_blocks(engine, path, rows)
    return evaluate(engine.sessions)


@pytest.mark.parametrize("name", SAMPLE)
def test_findings_are_stable_across_runs_and_block_sizes(name: str) -> None:
    path = CAPTURES[name]
    whole = analyze([str(path)], compiled=False).findings
    assert analyze([str(path)], compiled=False).findings == whole
    for rows in (5, 1):
        assert in_blocks(path, rows) == whole, f"in blocks of {rows}"


def busy(lab: Lab) -> None:
    """Old versions with padded handles, a mount older than the capture, a callback that overtakes."""
    db = lab.export.file("db")
    lab.alice.getattr(db)
    lab.alice.umount(lab.export)
    lab.world.wait(3)
    lab.alice.getattr(db)
    lab.mounted(lab.bob)
    lab.alice.lock(db, 1, version=3)
    wait = lab.bob.wait_for(db, 2, version=3, reply=None)
    lab.alice.unlock(db, 1, version=3)
    lab.server.granted(lab.bob, db, 2, version=3)
    wait.answer("BLOCKED")
    lab.bob.lock(db, 2, 0, 5, exclusive=False)
    lab.later(2)


def restarted(lab: Lab) -> None:
    """A reboot of a client, one of the server, a reclaim too late, a loser that writes."""
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    lab.world.wait(2)
    lab.server.boot()
    lab.server.notify(lab.alice)
    lab.bob.lock(db, 1, reply="GRACE")
    lab.world.wait(60)
    lab.bob.lock(db, 1)
    lab.alice.write(db)
    lab.alice.lock(db, 1, reclaim=True, reply="GRACE")
    lab.bob.boot()
    lab.bob.notify(lab.server)
    lab.bob.umount(lab.export)
    lab.later(3)


@pytest.mark.parametrize("terrain", TERRAINS)
@pytest.mark.parametrize("story", [busy, restarted])
def test_findings_of_a_story_are_stable_across_block_sizes(
    story: Callable[[Lab], None], terrain: str, tmp_path: Path
) -> None:
    lab = Lab(terrain)
    story(lab)
    path = tmp_path / "story.pcap"
    lab.world.write(path)
    assert len(lab.findings()) > 2
    for rows in (1, 2, 9):
        assert in_blocks(path, rows) == lab.findings(), f"in blocks of {rows}"


@pytest.mark.parametrize("name", SAMPLE)
def test_causes_exist_and_order_holds(name: str) -> None:
    found = analyze([str(CAPTURES[name])], compiled=False).findings
    ids = [finding.id for finding in found]
    assert len(ids) == len(set(ids))
    assert {cause for finding in found for cause in finding.caused_by} <= set(ids)
    assert found == sorted(found, key=lambda f: (-f.severity, f.first_time, f.id))


# -- families -------------------------------------------------------------------------------------

FAMILY_OF = {
    "leaks": (
        "lock-open-at-capture-end lock-held-after-umnt lock-held-by-vanished-client "
        "lock-survived-client-reboot lock-orphaned-by-duplicate lock-leaked-by-cancel-race "
        "lock-leaked-by-refused-grant unlock-unanswered unlock-refused residual-range-after-unlock "
        "unlock-owner-mismatch share-reservation-leaked unmonitored-lock lock-on-stale-file "
        "lock-lost-silently "
    ),
    "callbacks": (
        "grant-callback-unanswered grant-callback-unreachable grant-callback-missing "
        "grant-unsolicited grant-mismatch async-result-missing async-result-orphan "
        "grant-delivered-by-poll grant-repeated-after-acceptance grant-wrong-destination "
        "blocked-without-block grant-accepted-twice "
    ),
    "unmount": (
        "mount-open-at-capture-end umnt-but-traffic-continues mount-without-release umnt-lost "
        "umnt-mismatch rmtab-stale-entry mount-count-imbalance umntall-ineffective "
        "export-pinned-by-locks nfs3-proc-22 mnt-denied mnt-unused "
    ),
    "recovery": (
        "recovery-completed grace-period-active grace-longer-than-expected grace-without-notify "
        "reclaim-outside-grace reclaim-refused reclaim-missing lock-taken-in-recovery "
        "reclaim-fabricated nsm-notify-unanswered nsm-name-mismatch nsm-state-anomaly "
        "nsm-monitor-failed peer-restarted-without-notify false-reboot-notice notify-before-ready "
    ),
    "security": (
        "nsm-notify-spoofed nlm-smnotify-remote free-all-unexpected foreign-unlock owner-collision "
        "nlm-auth-anomaly unprivileged-source-port cookie-reuse-conflict version-or-proc-mismatch "
        "malformed-xdr range-suspicious sm-mon-remote portmap-tamper io-against-foreign-lock "
    ),
    "performance": (
        "lock-convoy lock-starvation long-hold nonblocking-retry-storm blocked-too-long "
        "nlm-server-stall rpc-retransmit-storm port-lookup-storm nlm-connection-churn "
        "lock-ping-pong deadlock "
    ),
    "visibility": ("no-nlm-traffic capture-blind-spot network-loss "),
}


def test_every_code_is_in_its_family() -> None:
    """Programs group findings by family: it may never change."""
    expected = {code: family for family, codes in FAMILY_OF.items() for code in codes.split()}
    assert {code: rule.family for code, rule in RULES.items() if code in expected} == expected
