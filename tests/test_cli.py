"""The command line: exit statuses, one-line complaints, whole files."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from analyzer import __version__, cli
from analyzer.capture import source
from tests.expectations import CAPTURES
from tests.render.captures import HOSTILE, empty, hostile, ordinary

ROOT = Path(__file__).parent.parent
LEAK = str(CAPTURES / "lab" / "umnt_unlock_dropped.pcap")
CLEAN = str(CAPTURES / "lab" / "clean_basic.pcap")


def run(*arguments: str) -> tuple[int, str, str]:
    """Status, standard output and standard error."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = cli.main(list(arguments))
    return status, out.getvalue(), err.getvalue()


def complaint(*arguments: str) -> str:
    """The one line on standard error of a run that could not be done."""
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith("lockscope: ")
    assert err.count("\n") == 1
    return err


@pytest.fixture
def capture(tmp_path: Path) -> str:
    return str(ordinary(tmp_path / "ordinary.pcap"))


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--set", "vanished-silence"), "say NAME=VALUE"),
        (("--set", "=5"), "no parameter is called"),
        (("--set", "vanished=5"), "no parameter is called vanished"),
        (("--set", "vanished-silence=long"), "long is no number"),
        (("--set", "vanished-silence=5", "--set", "polled-waits=1.5"), "no whole number"),
        (("--server-model", "solaris"), "invalid choice"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("verb", ["analyze", "locks", "mounts"])
def test_wrong_ways_to_judge(verb: str, words: tuple[str, ...], why: str) -> None:
    assert why in complaint(verb, *words, LEAK)


def test_a_parameter_is_set() -> None:
    said = ("--set", "unlock-ack=60", "--set", "unlock-answer=60")
    assert "unlock-unanswered" in run("analyze", LEAK)[1]
    assert "unlock-unanswered  (" not in run("analyze", *said, LEAK)[1]


def test_a_server_model_is_named() -> None:
    said = {model: run("locks", "--server-model", model, LEAK) for model in cli.SERVER_MODELS}
    assert said["auto"] == said["linux"] == run("locks", LEAK)
    assert all(status == 0 for status, _, _ in said.values())


def test_the_parameters_are_listed() -> None:
    status, out, _ = run("explain", "--parameters")
    assert status == 0
    assert "vanished-silence  300 s\n" in out
    assert "lock-held-by-vanished-client" in out
    assert "not allowed with" in complaint("explain", "--parameters", "deadlock")


def test_version() -> None:
    assert run("--version") == (0, f"lockscope {__version__}\n", "")


@pytest.mark.parametrize(
    "verb", [(), ("analyze",), ("locks",), ("mounts",), ("export",), ("evidence",), ("explain",)]
)
def test_help(verb: tuple[str, ...]) -> None:
    status, out, err = run(*verb, "--help")
    assert (status, err) == (0, "")
    assert out.startswith("usage: lockscope")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "VERB"),
        (("dance",), "'dance'"),
        (("repair", LEAK), "'repair'"),
        (("analyze",), "CAPTURE"),
        (("analyze", LEAK, "--form", "json"), "--form"),
        (("analyze", LEAK, "--format", "xml"), "markdown"),
        (("analyze", LEAK, "--select", "no-such-code"), "lock-held-after-umnt"),
        (("analyze", LEAK, "--ignore", "unlock-refused,no-such-code"), "the code no-such-code"),
        (("analyze", LEAK, "--fail-on", "terrible"), "critical"),
        (("analyze", LEAK, "--min-confidence", "sure"), "definite"),
        (("analyze", LEAK, "--since", "yesterday"), "RFC 3339"),
        (("analyze", LEAK, "--client", "nobody"), "client1"),
        (("locks", LEAK, "--at", "noon"), "+SECONDS"),
        (("mounts", LEAK, "--release-check", "/nowhere"), "/export"),
        (("export", LEAK, "--output", "x.csv"), "--table"),
        (("export", LEAK, "--table", "calls"), "--output"),
        (("export", LEAK, "--table", "tables", "--output", "x.csv"), "reboots"),
        (("export", LEAK, "--table", "calls", "--output", "x.xls"), ".parquet"),
        (("evidence", LEAK), "--finding"),
        (("evidence", LEAK, "--finding", "a", "--code", "b"), "--code"),
        (("evidence", LEAK, "--finding", "a", "--output", "/dev/null"), "analyze"),
        (("evidence", LEAK, "--code", "no-such-code", "--output", "/dev/null"), "lock-held-after-umnt"),
        (("evidence", LEAK, "--code", "deadlock", "--output", "/dev/null"), "analyze"),
        (("evidence", LEAK, "--code", "", "--output", "/dev/null"), "analyze"),
        (("evidence", "-", "--code", "deadlock", "--output", "/dev/null"), "save the capture first"),
        (("dissect", LEAK), "--finding"),
        (("explain", "no-such-code"), "lock-held-after-umnt"),
    ],
)
def test_wrong_use_is_one_line_that_says_what_is_right(arguments: tuple[str, ...], says: str) -> None:
    assert says in complaint(*arguments)


def test_what_is_no_capture(tmp_path: Path) -> None:
    (tmp_path / "nothing").write_bytes(b"")
    (tmp_path / "text").write_text("dear diary\n" * 10)
    (tmp_path / "empty folder").mkdir()
    for name in ("missing", "nothing", "text", "empty folder"):
        assert str(tmp_path / name) in complaint("analyze", str(tmp_path / name))


def test_a_path_that_would_drive_the_terminal(tmp_path: Path) -> None:
    assert "\\x1b[2J" in complaint("analyze", str(tmp_path / "\x1b[2J"))


def test_an_empty_capture_is_no_error(tmp_path: Path) -> None:
    path = str(empty(tmp_path / "empty.pcap"))
    for style in ("text", "json", "jsonl", "markdown"):
        assert run("analyze", path, "--format", style)[0] == 0
    assert run("locks", path)[0] == run("mounts", path)[0] == 0
    for table in cli.TABLES:
        assert run("export", path, "--table", table, "--output", str(tmp_path / "t.csv"))[0] == 0


@pytest.mark.parametrize("output", ["nowhere/x.json", "."])
def test_output_that_cannot_be_written(tmp_path: Path, output: str) -> None:
    assert str(tmp_path / output) in complaint("analyze", CLEAN, "--output", str(tmp_path / output))
    complaint("export", CLEAN, "--table", "locks", "--format", "csv", "--output", str(tmp_path / output))


def test_a_run_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    before = tmp_path / "x.csv"
    before.write_text("old")
    complaint("export", str(tmp_path / "missing"), "--table", "calls", "--output", str(before))
    assert [path.name for path in tmp_path.iterdir()] == ["x.csv"]
    assert before.read_text() == "old"


def test_a_file_gets_what_standard_output_would(tmp_path: Path) -> None:
    target = tmp_path / "x.json"
    assert run("analyze", LEAK, "--format", "json", "--output", str(target)) == (0, "", "")
    assert target.read_text() == run("analyze", LEAK, "--format", "json")[1]
    assert target.stat().st_mode & 0o777 == 0o666 & ~_umask()
    target.chmod(0o640)
    run("analyze", LEAK, "--output", str(target))
    assert target.stat().st_mode & 0o777 == 0o640


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_output_to_what_is_no_file() -> None:
    assert run("analyze", CLEAN, "--output", "/dev/null") == (0, "", "")
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ((), 0),
        (("--fail-on", "high"), 1),
        (("--fail-on", "critical"), 0),
        (("--fail-on", "high", "--select", "lock-open-at-capture-end"), 0),
        (("--fail-on", "info", "--select", "lock-open-at-capture-end"), 1),
        (("--fail-on", "info", "--client", "192.0.2.99"), 0),
        (("--fail-on", "high", "--min-confidence", "definite"), 0),
    ],
)
def test_fail_on(arguments: tuple[str, ...], status: int) -> None:
    assert run("analyze", LEAK, *arguments)[0] == status


def test_select_and_ignore() -> None:
    def codes(*arguments: str) -> set[str]:
        return {
            found["code"]
            for found in json.loads(run("analyze", LEAK, "--format", "json", *arguments)[1])["findings"]
        }

    everything = codes()
    assert codes("--select", "unlock-unanswered,lock-open-at-capture-end") == {
        "unlock-unanswered",
        "lock-open-at-capture-end",
    }
    assert codes("--select", "unlock-unanswered", "--select", "lock-open-at-capture-end") == codes(
        "--select", "unlock-unanswered, lock-open-at-capture-end"
    )
    assert codes("--ignore", "unlock-unanswered") == everything - {"unlock-unanswered"}


def test_families_can_be_selected() -> None:
    def codes(*arguments: str) -> set[str]:
        found = json.loads(run("analyze", LEAK, "--format", "json", *arguments)[1])["findings"]
        return {finding["family"] for finding in found}

    assert codes("--select", "unmount") == {"unmount"}
    assert codes("--ignore", "leaks,unmount") == codes() - {"leaks", "unmount"}


def test_release_check(capture: str) -> None:
    status, out, _ = run("mounts", LEAK, "--release-check", "/export")
    assert status == 1
    assert "lock 1 on /export/a, whole file" in out
    assert run("mounts", CLEAN, "--release-check", "/export/") == (0, "nothing pins /export/\n", "")
    status, out, _ = run("mounts", capture, "--release-check", "/srv")
    assert status == 1
    assert [line.split()[0] for line in out.splitlines()[2:]] == ["mount", "mount", "lock", "wait"]
    assert "192.0.2.23" not in out
    status, out, _ = run("mounts", capture, "--release-check", "/srv", "--at", "+0.5")
    assert status == 1
    assert "192.0.2.23" in out


def test_answers_for_programs(capture: str) -> None:
    def made(*arguments: str) -> tuple[int, dict[str, Any]]:
        status, out, err = run(*arguments, "--format", "json", capture)
        assert err == ""
        return status, json.loads(out)

    assert set(made("locks")[1]) == {"schema", "at", "locks", "waits"}
    assert set(made("locks", "--held")[1]) == {"schema", "at", "locks"}
    assert made("locks", "--at", "+0.5")[1]["at"] == "2023-11-14T22:13:20.500050000Z"
    assert set(made("locks", "--timeline")[1]) == {"schema", "at", "events"}
    assert set(made("locks", "--callbacks")[1]) == {"schema", "at", "paths"}
    assert set(made("locks", "--wait-times")[1]) == {"schema", "at", "ends", "lengths", "delays"}
    assert set(made("locks", "--recovery")[1]) == {"schema", "at", "restarts", "graces", "reboots"}
    assert set(made("mounts")[1]) == {"schema", "at", "mounts", "locks", "listed"}
    status, release = made("mounts", "--release-check", "/srv")
    assert status == 1
    assert release["schema"] == "lockscope.release/1"
    assert release["export"] == "/srv"
    assert {pin["kind"] for pin in release["pins"]} == {"mount", "lock", "wait"}


@pytest.mark.parametrize("report", ["--timeline", "--callbacks", "--wait-times", "--recovery"])
def test_reports_stand_alone(capture: str, report: str) -> None:
    assert run("locks", capture, report)[0] == 0
    for other in (("--held",), ("--waiting",), ("--at", "+1")):
        assert "goes without" in complaint("locks", capture, report, *other)
    another = "--recovery" if report != "--recovery" else "--callbacks"
    assert "not allowed with" in complaint("locks", capture, report, another)


def test_locks_at_a_time(capture: str) -> None:
    def lines(*arguments: str) -> str:
        status, out, err = run("locks", capture, *arguments)
        assert (status, err) == (0, "")
        return out

    assert "192.0.2.23" in lines()
    assert "192.0.2.22" in lines()
    held = lines("--held")
    assert "192.0.2.21" in held
    assert "192.0.2.22" not in held
    assert "192.0.2.23" not in held
    waiting = lines("--waiting")
    assert "192.0.2.22" in waiting
    assert "192.0.2.21" not in waiting
    early = lines("--at", "+0.5", "--held")
    assert "192.0.2.23" in early
    assert "192.0.2.21" not in early
    assert lines("--at", "+0.5", "--waiting") == "Nobody waits at 2023-11-14 22:13:20.500050 UTC.\n"
    assert "192.0.2.21" not in lines("--client", "carol")


def test_a_report(tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    assert run("report", LEAK, "--output", str(target)) == (0, "", "")
    assert target.read_text().startswith("<!DOCTYPE html>")
    assert run("report", LEAK)[1] == target.read_text()
    chosen = run("report", LEAK, "--select", "unlock-unanswered")[1]
    assert "1 finding: 1 high" in chosen
    assert "is read twice" in complaint("report", "-")


def test_a_report_without_names() -> None:
    page = run("report", LEAK, "--anonymize")[1]
    for word in ("192.168.77", "client1", "/export", "01000601be04", "umnt_unlock_dropped", "636c69656e7431"):
        assert word in run("report", LEAK)[1]
        assert word not in page
    assert "unlock-unanswered" in page
    assert "NLM4 UNLOCK call" in page


def test_explain() -> None:
    _, index, _ = run("explain")
    assert "leaks" in index
    status, page, _ = run("explain", "lock-held-after-umnt")
    assert status == 0
    assert page.startswith("lock-held-after-umnt (leaks, high)")
    assert "When it is a false alarm" in page
    assert "lock-held-after-umnt" in index


@pytest.mark.parametrize("format_", ["text", "json", "jsonl", "markdown"])
def test_a_capture_cut_anywhere(tmp_path: Path, format_: str) -> None:
    whole = ordinary(tmp_path / "whole.pcap").read_bytes()
    cut = tmp_path / "cut.pcap"
    for size in [*range(60), *range(60, len(whole), 97), len(whole) - 1]:
        cut.write_bytes(whole[:size])
        status, _, err = run("analyze", str(cut), "--format", format_)
        assert status == (0 if size >= 4 else 2), size  # what begins like a capture is one, cut short
        assert err.count("\n") == (status == 2)


def test_hostile_names_reach_no_terminal(tmp_path: Path) -> None:
    path = str(hostile(tmp_path / "hostile.pcap"))
    for arguments in (
        ("analyze", path),
        ("analyze", path, "--format", "json"),
        ("analyze", path, "--format", "jsonl"),
        ("analyze", path, "--format", "markdown"),
        ("locks", path),
        ("mounts", path),
        ("mounts", path, "--release-check", "/0"),
        ("mounts", path, "--format", "json"),
        ("locks", path, "--held", "--format", "json"),
        ("locks", path, "--at", "+2"),
        ("locks", path, "--timeline"),
        ("locks", path, "--timeline", "--format", "json"),
        ("locks", path, "--callbacks"),
        ("locks", path, "--wait-times"),
        ("locks", path, "--recovery"),
        ("analyze", path, "--client", "\x1b[2J"),
    ):
        _, out, err = run(*arguments)
        for line in (out + err).split("\n"):
            assert line.isprintable(), line


def test_hostile_names_are_no_markup(tmp_path: Path) -> None:
    path = str(hostile(tmp_path / "hostile.pcap"))
    page = run("analyze", path, "--format", "markdown")[1]
    prose = [part for line in page.split("\n") for part in line.split("`")[::2]]
    assert not [part for part in prose if "<img" in part or "](" in part]
    assert len(HOSTILE) > 5


def _process(*arguments: str, **how: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "analyzer", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how)  # type: ignore[call-overload]


def test_a_reader_that_has_had_enough() -> None:
    process = _process(
        "export",
        "--table",
        "calls",
        "--output",
        "-",
        *[str(p) for p in sorted((CAPTURES / "lab").glob("*.pcap"))],
    )
    assert process.stdout is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    assert process.wait() == 0


def test_ctrl_c() -> None:
    process = _process("analyze", "-", stdin=subprocess.PIPE)
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert (process.returncode, err) == (2, b"lockscope: stopped\n")


def test_standard_input() -> None:
    process = _process("analyze", "--format", "json", "-", stdin=subprocess.PIPE)
    out, _ = process.communicate(Path(LEAK).read_bytes())
    found = json.loads(out)
    assert found["captures"][0]["path"] == source.STDIN
    assert found["findings"] == json.loads(run("analyze", "--format", "json", LEAK)[1])["findings"]


def test_a_terminal_that_knows_ascii_only(tmp_path: Path) -> None:
    path = str(hostile(tmp_path / "hostile.pcap"))
    process = _process("analyze", path, env=os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    out, err = process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert out.isascii()
