"""The page of questions: what people ask of a lock server's traffic, and what lockscope answers.

In: questions, each with the command that answers it, and the labelled captures. Out: `docs/questions.md`, in
which the output of every command is what it printed.

Theory. An answer that nobody runs goes stale. So the page is made by running the commands, and a test
compares.

Never: writes an answer itself.
"""

from __future__ import annotations

import io
import os
import shlex
import textwrap
from collections.abc import Iterator
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "questions.md"
LAB = "captures/lab/"


@dataclass(frozen=True, slots=True)
class Question:
    """One question, the command that answers it, and what to know about the answer."""

    asked: str
    command: str
    about: str = ""


SECTIONS: dict[str, list[Question]] = {
    "Who holds what": [
        Question(
            "Who holds the lock on this file?",
            f"locks --held --file a.datx {LAB}soak_with_leak.pcap.zst",
            "A Linux server cannot say which NFSv3 client a lock belongs to; the wire can. `--file` "
            "takes the end of a path, or a file handle in hex. *last heard* is the last packet of the "
            "holder.",
        ),
        Question(
            "Who held it at that time?",
            f"locks --at +5 {LAB}callback_blocked.pcap",
            "`--at` takes seconds from the start of the capture, or RFC 3339. Locks and waits are as "
            "they stood then.",
        ),
        Question(
            "Who is waiting, how long, behind whom?",
            f"locks --waiting {LAB}raw_granted_silent.pcap",
            "*behind lock* names what the server holds in the way, nothing where it holds nothing: "
            "then the waiter's turn has come and it does not know.",
        ),
        Question(
            "Is this lock stale, or in use?",
            f"locks --held {LAB}umnt_unlock_dropped.pcap",
            "*state* compares the two sides: held by both, leak (the server has it, the client let "
            "go), lost (the reverse). `analyze` says why; `export --table calls --file NAME` has "
            "every call that names the file.",
        ),
        Question(
            "Did the client ever send UNLOCK, and was it answered?",
            f"locks --timeline --file /export/a {LAB}umnt_unlock_dropped.pcap",
            "Everything that happened to a file. What is not there was not in the capture.",
        ),
        Question(
            "What did this client do?",
            f"locks --timeline --client client2 {LAB}callback_blocked.pcap",
        ),
        Question(
            "Which process holds it?",
            f"locks --held --format json {LAB}leak_client_power_cut.pcap",
            "`svid`, `oh` and `caller_name` are the owner as the client names it. On Linux svid is a "
            "counter of lock owners, no process id, and oh is the text `svid@host`.",
        ),
    ],
    "Waiting": [
        Question(
            "Which client never got its callback, and why?",
            f"locks --callbacks {LAB}callback_blocked.pcap {LAB}clean_contention.pcap",
            "The way from each server back to each client, and the step where it ends: the look-up of "
            "lockd's port, the connection, the callback, its answer.",
        ),
        Question(
            "Why does locking take 30 seconds?",
            f"locks --wait-times {LAB}callback_blocked.pcap",
            "Waits that end by polls, and locks that take seconds from a release to the waiter: "
            "callbacks do not arrive. The same on a server that is well:",
        ),
        Question("", f"locks --wait-times {LAB}clean_soak_contended.pcap.zst"),
        Question(
            'Why ENOLCK, why "No locks available"?',
            "analyze --select grace-period-active,nsm-monitor-failed,nlm-server-stall,nlm-auth-anomaly,"
            f"version-or-proc-mismatch,no-nlm-traffic {LAB}lockd_sigkill.pcap",
            "Grace, a server that cannot monitor the client, does not answer or is not registered, that "
            "refuses its credentials or its version, or no lock request at all.",
        ),
        Question(
            "Is it the network or the server?",
            f"analyze --select performance,visibility {LAB}server_statd_dead.pcap",
            "A family name selects all its codes. Copies of calls, holes and lost segments are in "
            "*Health*; each call with its latency is in `export --table calls`.",
        ),
    ],
    "Unmounting": [
        Question(
            "Why is my umount busy, on the server?",
            f"mounts {LAB}umnt_unlock_dropped.pcap",
            "Who has which export mounted or uses it, and which locks stand.",
        ),
        Question(
            "Is it safe to remove the disk, or to fail over, now?",
            f"mounts --release-check /export {LAB}umnt_unlock_dropped.pcap",
            "A script looks at the exit status: 0 if nothing pins the export, 1 if something does.",
        ),
        Question("", f"mounts --release-check /export {LAB}clean_basic.pcap"),
        Question(
            "Was it safe at that time?",
            f"mounts --release-check /export --at +3 {LAB}clean_basic.pcap",
        ),
        Question(
            "Why is my umount busy, on the client?",
            f"analyze --client client1 --select umnt-but-traffic-continues {LAB}umnt_ebusy.pcap",
            "`locks --held --client NAME` has the locks it still holds.",
        ),
        Question(
            "Which clients really use this export, as against `showmount -a`?",
            f"mounts {LAB}raw_auth_errors.pcap",
            "Where the capture holds an answer to DUMP, each entry stands beside what was seen of its "
            "client.",
        ),
    ],
    "Restarts": [
        Question(
            "After the reboot, who reclaimed and who lost locks? How long was grace, what did it cost?",
            f"locks --recovery {LAB}server_reboot_lost_reclaim.pcap",
        ),
        Question("", f"locks --recovery {LAB}server_reboot_reclaim.pcap"),
        Question(
            "Did my client's reboot free its locks?",
            f"locks --recovery {LAB}recovered_client_reboot.pcap",
            "*freed* counts the locks that its notice ended, *then granted* those that others got of "
            "them since.",
        ),
        Question(
            "Why did the database refuse to start after a crash?",
            f"analyze --select leaks,nsm-name-mismatch {LAB}leak_client_reboot_no_notify.pcap",
            "A lock of its former life stands, and perhaps a notice under a name that the server does "
            "not know.",
        ),
    ],
    "Faults": [
        Question(
            "Is somebody dropping our locks?",
            "analyze --select security,false-reboot-notice,lock-lost-silently "
            f"{LAB}raw_forged_sm_notify.pcap",
            "Notices and FREE_ALL in a foreign name, UNLOCKs of others; a notice of a host that did not "
            "reboot; and locks that went to somebody else though nothing on the wire says why.",
        ),
        Question(
            "Two clients both think they hold it: prove it.",
            f"analyze --select lock-taken-in-recovery {LAB}server_reboot_lost_reclaim.pcap",
            "`lockscope evidence --finding ID` writes just these frames, with a comment on each.",
        ),
        Question(
            "What can I send to somebody who has no lockscope?",
            f"report --output /dev/null {LAB}umnt_unlock_dropped.pcap",
            "One page of HTML that loads nothing: findings with their frames decoded, timelines of locks "
            "and mounts. `lockscope evidence` writes the frames of a finding as a small capture.",
        ),
        Question(
            "Can it be judged by our own settings?",
            "explain --parameters",
            "`--set NAME=VALUE` changes a window or threshold, `--server-model` says what kind of "
            "server it is.",
        ),
    ],
    "Raw data": [
        Question(
            "Give me the raw data.",
            f"export --table waits --output - {LAB}callback_blocked.pcap",
            "CSV, Parquet or JSON lines; [the tables](reference/tables.md) are `calls`, `locks`, "
            "`waits`, `mounts`, `reboots`, `callbacks`, `findings`, `hosts`, `files` and `health`. In "
            "Python they are DataFrames: `analyzer.analyze(paths).waits`.",
        ),
        Question(
            "Only this client, this file, this time?",
            f"locks --client client2 --file state.dat --since +30 --until +40 {LAB}callback_blocked.pcap",
            "`--client`, `--server`, `--file`, `--since` and `--until` go with every verb that reads "
            "captures.",
        ),
    ],
}
MOST_LINES = 30
WIDTH = 115
HEAD = """\
What people ask, the command that answers it, and what it prints for a capture in `captures/`. The page is
made by running the commands. `locks` and `mounts` print the same as JSON with `--format json`."""


def questions() -> Iterator[Question]:
    """All of them."""
    for section in SECTIONS.values():
        yield from section


def page() -> str:
    """The page."""
    lines = ["# Questions", "", *HEAD.splitlines()]
    for title, section in SECTIONS.items():
        lines += ["", f"## {title}"]
        for question in section:
            lines += _answered(question)
    return "".join(f"{line}\n" for line in lines)


def _answered(question: Question) -> Iterator[str]:
    if question.asked:
        yield ""
        yield f"### {question.asked}"
    if question.about:
        yield ""
        yield from textwrap.wrap(question.about, WIDTH, break_on_hyphens=False, break_long_words=False)
    status, output = answer(question)
    yield ""
    yield "```console"
    yield f"$ lockscope {question.command}"
    yield from output.splitlines()[:MOST_LINES]
    if len(output.splitlines()) > MOST_LINES:
        yield "..."
    if status:
        yield "$ echo $?"
        yield str(status)
    yield "```"


def answer(question: Question) -> tuple[int, str]:
    """Status and output of the command."""
    from analyzer.cli import main

    out, err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), io.StringIO()
    with chdir(ROOT), redirect_stdout(out), redirect_stderr(err), mock.patch.dict(os.environ, COLUMNS="100"):
        status = main(shlex.split(question.command))
    out.flush()
    assert not err.getvalue(), err.getvalue()
    assert isinstance(out.buffer, io.BytesIO)
    return status, out.buffer.getvalue().decode()
