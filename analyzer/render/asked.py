"""What may be asked of the verbs `locks` and `mounts`.

In: a parser, and later what was typed. Out: their options; the answer on standard output.

Never: imports anything heavy before it answers: every verb makes these parsers.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from analyzer.errors import AnalyzerError

if TYPE_CHECKING:
    from analyzer.render.sheet import Sheet
    from analyzer.render.times import Instant
    from analyzer.render.view import View

REPORTS = {
    "timeline": "what happened, event by event (with --file of a file, with --client of a client)",
    "callbacks": "which server can call back which client, and where the path ends",
    "wait-times": "how long locks were waited for, and whether callbacks or polls ended the waits",
    "recovery": "after restarts: who was told, who reclaimed, who lost locks, what grace cost",
}

Look = Callable[[], "View"]
"""Analyses, once what was typed is known to be right."""


def lock_options(verb: argparse.ArgumentParser) -> None:
    """The options of `locks`."""
    verb.add_argument(
        "--held", action="store_true", help="only locks that are held (at the end, or --at TIME)"
    )
    verb.add_argument("--waiting", action="store_true", help="only who waits (at the end, or --at TIME)")
    _common(verb)
    which = verb.add_argument_group("other answers").add_mutually_exclusive_group()
    for name, help_ in REPORTS.items():
        which.add_argument(f"--{name}", action="store_const", const=name, dest="report", help=help_)


def mount_options(verb: argparse.ArgumentParser) -> None:
    """The options of `mounts`."""
    verb.add_argument(
        "--release-check",
        metavar="EXPORT",
        help="exit with 0 if nothing pins this export, with 1 and what does if not",
    )
    _common(verb)


def _common(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--at", metavar="TIME", help="as things stood then: RFC 3339, or +SECONDS from the start"
    )
    verb.add_argument("--format", choices=("text", "json"), default="text", help="how to say it")


def locks(args: argparse.Namespace, look: Look) -> None:
    """Answer what was asked of `locks`."""
    from analyzer.render import answers

    if args.report is not None and (args.held or args.waiting or args.at is not None):
        raise AnalyzerError(f"--{args.report} goes without --held, --waiting and --at")
    moment = _moment(args)
    view = look()
    at = moment.at(view.sessions.start) if moment is not None else None
    sheets = answers.locks(view, args.report, at, args.held, args.waiting)
    _say(args, view, "lockscope.locks/1", at, sheets)


def mounts(args: argparse.Namespace, look: Look) -> bool:
    """Answer what was asked of `mounts`; false where an export was to be free and is not."""
    from analyzer.render import answers
    from analyzer.render.release import pins

    moment = _moment(args)
    view = look()
    at = moment.at(view.sessions.start) if moment is not None else None
    if args.release_check is None:
        _say(args, view, "lockscope.mounts/1", at, answers.mounts(view, at))
        return True
    sheet = pins(view, args.release_check, at)
    _say(args, view, "lockscope.release/1", at, [sheet], export=args.release_check)
    return not sheet.rows


def _moment(args: argparse.Namespace) -> Instant | None:
    from analyzer.render.times import parse

    return parse(args.at) if args.at is not None else None


def _say(
    args: argparse.Namespace, view: View, schema: str, at: int | None, sheets: list[Sheet], **more: Any
) -> None:
    from analyzer.render import sheet
    from analyzer.render.output import write
    from analyzer.render.terminal import paint_for
    from analyzer.render.times import rfc3339

    if args.format == "json":
        when = None if at is None else rfc3339(at)
        write(sys.stdout, [sheet.document(schema, sheets, at=when, **more)])
    else:
        write(sys.stdout, (f"{line}\n" for line in sheet.text(view, paint_for(sys.stdout), sheets)))
