"""The command line: arguments, exit statuses, one-line complaints.

In: arguments. Out: what `analyzer.render` makes, on standard output or in a file, and an exit status.

Theory. The library does everything; a verb here is a few lines over it. Exit status 0: done; 1: findings at
or above `--fail-on`, or a failed release check; 2: could not do it, with one line on standard error that
says what and what to do. Everything heavy is imported by the verb that needs it, so that `--version` is
instant.

Never: shows a traceback for what a user or a capture did.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn

from analyzer import __version__
from analyzer.capture.ahead import ask_ahead
from analyzer.errors import AnalyzerError
from analyzer.render import asked

if TYPE_CHECKING:
    from analyzer.engine import Analysis
    from analyzer.parameters import Settings
    from analyzer.render.anonymous import Veil
    from analyzer.render.view import Filters, View

DONE, FOUND, FAILED = 0, 1, 2
SEVERITIES = ("info", "low", "medium", "high", "critical")
CONFIDENCES = ("possible", "probable", "definite")
TABLES = ("calls", "locks", "waits", "mounts", "reboots", "callbacks", "findings", "hosts", "files", "health")
SERVER_MODELS = ("linux", "ganesha", "strict", "auto")
FORMATS = ("csv", "parquet", "jsonl")
ALL_LOCKS = ("locks", "mounts", "report", "waits", "callbacks", "files")
"""Verbs and tables that show locks which are over."""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        raise AnalyzerError(f"{message} (see {self.prog} --help)")


def run() -> NoReturn:
    """The command itself: `main`, and out without taking the heap apart.

    NumPy's BLAS starts no threads: nothing here multiplies matrices, and threads spin as they start.

    Freeing what an analysis made, object by object, took a tenth of the run; to look for garbage in it
    while it is rendered, as much.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    gc.disable()
    status = main()
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `lockscope` with these arguments; return its exit status."""
    try:
        args = parser().parse_args(argv)
        if hasattr(args, "captures"):
            ask_ahead(args.captures[0])
        status: int = args.run(args)
        sys.stdout.flush()
    except SystemExit as done:  # --help and --version
        return int(done.code or 0)
    except AnalyzerError as error:
        return _complain(str(error))
    except BrokenPipeError:  # whoever read our output has had enough
        _abandon_output()
        return DONE
    except KeyboardInterrupt:
        return _complain("stopped")
    except OSError as error:
        _abandon_output()
        where = f"{error.filename}: " if error.filename else ""
        return _complain(f"{where}{error.strerror or error}")
    return status


def _complain(line: str) -> int:
    from analyzer.render.clean import clean

    with suppress(OSError):
        sys.stderr.write(f"lockscope: {clean(line)}\n")
    return FAILED


def _abandon_output() -> None:
    """What is left in the buffer of standard output goes nowhere, quietly."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# -- arguments ----------------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    """The parser of all verbs."""
    top = _Parser(
        prog="lockscope",
        description="Finds lock leaks, callback faults and unreleased exports in captures of NFSv3 traffic.",
        epilog="Exit status: 0 done, 1 findings at or above --fail-on, a failed release check "
        "or a comparison that differs, 2 not done.",
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"lockscope {__version__}")
    verbs = top.add_subparsers(
        metavar="VERB", dest="verb", required=True, parser_class=_Parser, prog=top.prog
    )
    _add_analyze(verbs)
    _add_locks(verbs)
    _add_mounts(verbs)
    _add_export(verbs)
    _add_report(verbs)
    _add_evidence(verbs)
    _add_dissect(verbs)
    _add_explain(verbs)
    _add_live(verbs)
    return top


def _verb(
    verbs: Any, name: str, run: Callable[[argparse.Namespace], int], text: str
) -> argparse.ArgumentParser:
    verb: argparse.ArgumentParser = verbs.add_parser(name, help=text, description=text, allow_abbrev=False)
    verb.set_defaults(run=run)
    return verb


def _captures(verb: argparse.ArgumentParser, once: str = " - for standard input;") -> None:
    """Captures and filters; `once` is empty for a verb that reads a capture twice."""
    verb.add_argument(
        "captures",
        metavar="CAPTURE",
        nargs="+",
        help=f"a pcap, pcapng or snoop file, plain or packed with gzip, xz or zstd;{once} a directory",
    )
    group = verb.add_argument_group(
        "filters (of what is shown; frame numbers stay those of the whole capture)"
    )
    group.add_argument(
        "--client", metavar="HOST", help="only this client: an address, or a name it gave itself"
    )
    group.add_argument("--server", metavar="HOST", help="only this server")
    group.add_argument(
        "--file", metavar="PATH", help="only files whose path ends so, or with this handle (hex)"
    )
    group.add_argument(
        "--since", metavar="TIME", help="only from this time: RFC 3339, or +SECONDS from the start"
    )
    group.add_argument("--until", metavar="TIME", help="only up to this time")
    _judgement(verb)


def _judgement(verb: argparse.ArgumentParser) -> None:
    """What changes verdicts."""
    judged = verb.add_argument_group("how to judge")
    judged.add_argument(
        "--set",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="another value for a window or threshold (lockscope explain --parameters lists them)",
    )
    judged.add_argument(
        "--server-model",
        choices=SERVER_MODELS,
        default="auto",
        help="who owns a lock, what a _MSG is answered with, what becomes of a cookie "
        "(default: auto, by the file handles)",
    )


def _choice(verb: argparse.ArgumentParser) -> None:
    """Which findings."""
    verb.add_argument(
        "--select",
        metavar="CODES",
        action="append",
        help="only findings of these codes or families, by comma",
    )
    verb.add_argument(
        "--ignore", metavar="CODES", action="append", help="no findings of these codes or families"
    )
    verb.add_argument("--min-confidence", choices=CONFIDENCES, help="only findings at least so sure")


def _anonymize(verb: argparse.ArgumentParser) -> None:
    group = verb.add_argument_group("what may be given away")
    group.add_argument(
        "--anonymize",
        action="store_true",
        help="replace addresses, names, paths, owners and handles; the same by the same all over the run "
        "(numbers, times and ports stay)",
    )
    group.add_argument(
        "--anonymize-key",
        metavar="FILE",
        help="a file with a secret of 16 bytes or more, for the same pseudonyms in every run",
    )


def _add_analyze(verbs: Any) -> None:
    verb = _verb(verbs, "analyze", _analyze, "Say what happened, and what went wrong.")
    _captures(verb)
    formats = ("text", "json", "jsonl", "markdown")
    verb.add_argument("--format", choices=formats, default="text", help="how to say it (default: text)")
    verb.add_argument("--output", metavar="FILE", help="write to a file (default: standard output)")
    _choice(verb)
    verb.add_argument("--fail-on", choices=SEVERITIES, help="exit with 1 if a finding is at least so severe")
    _anonymize(verb)


def _add_locks(verbs: Any) -> None:
    verb = _verb(
        verbs, "locks", _locks, "Say who held which lock, from which frame to which, and who waited."
    )
    _captures(verb)
    asked.lock_options(verb)


def _add_mounts(verbs: Any) -> None:
    verb = _verb(verbs, "mounts", _mounts, "Say who mounted what, and what still pins an export.")
    _captures(verb)
    asked.mount_options(verb)


def _add_export(verbs: Any) -> None:
    verb = _verb(verbs, "export", _export, "Write a table as CSV, Parquet or JSON lines.")
    _captures(verb)
    verb.add_argument("--table", choices=TABLES, required=True, help="which one")
    verb.add_argument(
        "--output", metavar="FILE", required=True, help="F.csv, F.parquet or F.jsonl; - for standard output"
    )
    verb.add_argument("--format", choices=FORMATS, help="whatever FILE is called (default for -: csv)")
    _anonymize(verb)


def _add_report(verbs: Any) -> None:
    verb = _verb(verbs, "report", _report, "Write one page of HTML: findings, evidence, timelines.")
    _captures(verb, once="")
    verb.add_argument("--output", metavar="FILE", help="write to a file (default: standard output)")
    _choice(verb)
    _anonymize(verb)


def _add_evidence(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "evidence",
        _evidence,
        "Write a small pcapng of just the frames of a finding, with a comment on each.",
    )
    _captures(verb, once="")
    which = verb.add_mutually_exclusive_group(required=True)
    which.add_argument("--finding", metavar="ID", help="of this finding (analyze has the ids)")
    which.add_argument("--code", metavar="CODE", help="of all findings of this code")
    verb.add_argument(
        "--output", metavar="FILE", help="write there (default: ID.pcapng or CODE.pcapng, here)"
    )
    _anonymize(verb)


def _add_dissect(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "dissect",
        _dissect,
        "Show the frames of a finding as Wireshark dissects them, beside what lockscope decodes; "
        "or compare both, field by field, over whole captures.",
    )
    _captures(verb, once="")
    which = verb.add_mutually_exclusive_group(required=True)
    which.add_argument("--finding", metavar="ID", help="of this finding (analyze has the ids)")
    which.add_argument(
        "--compare",
        action="store_true",
        help="count the values that agree and list those that do not; exit with 1 if there are any. "
        "Each capture is compared by itself, without filters",
    )
    verb.add_argument(
        "--first", metavar="N", type=int, help="with --compare: only the first N frames of a capture"
    )


def _add_explain(verbs: Any) -> None:
    verb = _verb(verbs, "explain", _explain, "Say what a finding means, why it matters and what to do.")
    which = verb.add_mutually_exclusive_group()
    which.add_argument("code", metavar="CODE", nargs="?", help="code of a finding (default: list them all)")
    which.add_argument("--parameters", action="store_true", help="list the windows and thresholds instead")


def _add_live(verbs: Any) -> None:
    from analyzer.watch.options import add_options

    verb = _verb(verbs, "live", _live, "Watch an interface, and say so when something goes wrong.")
    add_options(verb, FORMATS)
    _anonymize(verb)
    _choice(verb)
    _judgement(verb)


# -- verbs --------------------------------------------------------------------------------------


def _analyze(args: argparse.Namespace) -> int:
    from analyzer.render.output import text_output, write

    veil = _veil(args)
    filters = _filters(args)
    with text_output(args.output) as stream:
        view = _view(args, filters, veil)
        write(stream, _rendered(view, args.format, stream))
    limit = len(SEVERITIES) if args.fail_on is None else SEVERITIES.index(args.fail_on)
    return FOUND if any(found.severity >= limit for found in view.findings) else DONE


def _rendered(view: View, style: str, stream: IO[str]) -> Iterator[str]:
    if style in ("json", "jsonl"):
        from analyzer.render import document

        yield from document.lines(view) if style == "jsonl" else [document.text(view)]
    elif style == "markdown":
        from analyzer.render.markdown import ticket

        yield from (f"{line}\n" for line in ticket(view))
    else:
        from analyzer.render.terminal import paint_for
        from analyzer.render.text import summary

        yield from (f"{line}\n" for line in summary(view, paint_for(stream)))


def _locks(args: argparse.Namespace) -> int:
    asked.locks(args, lambda: _view(args, _filters(args)))
    return DONE


def _mounts(args: argparse.Namespace) -> int:
    return DONE if asked.mounts(args, lambda: _view(args, _filters(args))) else FOUND


def _export(args: argparse.Namespace) -> int:
    from analyzer.render.export import export, style_of

    style = args.format or style_of(args.output)
    veil = _veil(args)
    filters = _filters(args) if veil is None else veil.filters(_filters(args))
    from analyzer.render.output import binary_output

    with binary_output(args.output) as stream:
        late = export(partial(_analysis, args, veil), args.table, style, stream, filters)
    if late:
        sys.stderr.write(f"lockscope: {late} replies came too late to be put beside their calls\n")
    return DONE


def _report(args: argparse.Namespace) -> int:
    from analyzer.capture.find import find_captures
    from analyzer.render.output import text_output, write
    from analyzer.render.reread import refuse_read_once, reread
    from analyzer.render.webpage import evidence_of, page

    refuse_read_once(args.captures)
    veil, filters = _veil(args), _filters(args)
    with text_output(args.output) as stream:
        view = _view(args, filters, veil)
        paths, _ = find_captures(args.captures)
        frames = reread(paths, evidence_of(view), str if veil is None else veil.names.host)
        write(stream, [page(view, frames, with_values=veil is None)])
    return DONE


def _evidence(args: argparse.Namespace) -> int:
    from analyzer.render.clean import clean
    from analyzer.render.evidence import chosen, frames_of, write_evidence
    from analyzer.render.output import binary_output
    from analyzer.render.reread import refuse_read_once
    from analyzer.render.view import codes
    from analyzer.watch.ring import recorded

    refuse_read_once(args.captures)
    veil = _veil(args)
    filters = _filters(args)
    codes([args.code or ""])
    what = Path(args.finding or args.code).name
    output = args.output or f"{what if veil is None else what + '-anonymized'}.pcapng"
    with binary_output(output) as stream:
        from_ring = recorded(args.captures, args.finding) if veil is None else None
        if from_ring is not None:
            write_evidence(stream, *from_ring)
            return DONE
        view = _view(args, filters)
        found = chosen(view, args.finding, args.code)
        if Path(output).exists() and any(Path(output).samefile(info.path) for info in view.analysis.captures):
            raise AnalyzerError(f"{output}: is a capture that is read; give another name with --output")
        if veil is None:
            frames = frames_of(view, found)
        else:
            from analyzer.render.veiled import veiled

            frames, found = veiled(view, found, _analysis(args, veil).findings, veil)
        write_evidence(stream, frames, found)
    if output != "-":
        _print([f"{clean(output)}: {len(frames)} frames"])
    if veil is not None:
        sys.stderr.writelines(f"lockscope: {number} {what}\n" for what, number in veil.lost.items())
    return DONE


def _dissect(args: argparse.Namespace) -> int:
    from analyzer.render.dissect import found_tshark, side_by_side
    from analyzer.render.evidence import chosen, frames_of
    from analyzer.render.reread import refuse_read_once

    refuse_read_once(args.captures)
    found_tshark()
    if args.compare:
        from analyzer.render.compare import reports

        status = DONE
        for lines, differs in reports(args.captures, args.first):
            _print(lines)
            status = FOUND if differs else status
        return status
    view = _view(args, _filters(args))
    finding = chosen(view, args.finding, None)[0]
    frames = frames_of(view, [finding])
    _print(list(side_by_side(finding, frames, [info.path for info in view.analysis.captures])))
    return DONE


def _explain(args: argparse.Namespace) -> int:
    from analyzer.findings.catalogue import RULES
    from analyzer.render import pages, parameters
    from analyzer.render.terminal import paint_for
    from analyzer.render.view import codes

    paint = paint_for(sys.stdout)
    if args.parameters:
        _print(parameters.index(paint))
        return DONE
    if args.code is None:
        _print(pages.index(RULES.values(), paint))
        return DONE
    known = codes([args.code])
    for code in sorted(known):
        _print(pages.page(RULES[code], paint))
    return DONE


def _live(args: argparse.Namespace) -> int:
    from analyzer.watch.command import live

    return live(args, _filters(args), _settings(args), _veil(args))


# -- what verbs share -----------------------------------------------------------------------------


def _filters(args: argparse.Namespace) -> Filters:
    from analyzer.render.times import parse
    from analyzer.render.view import Filters, codes

    confidence = getattr(args, "min_confidence", None)
    if confidence is not None:
        from analyzer.findings.rule import Confidence

        confidence = Confidence[confidence.upper()]
    return Filters(
        client=getattr(args, "client", None),
        server=getattr(args, "server", None),
        file=getattr(args, "file", None),
        since=None if getattr(args, "since", None) is None else parse(args.since),
        until=None if getattr(args, "until", None) is None else parse(args.until),
        select=codes(getattr(args, "select", None) or ()),
        ignore=codes(getattr(args, "ignore", None) or ()),
        min_confidence=confidence,
    )


def _view(args: argparse.Namespace, filters: Filters, veil: Veil | None = None) -> View:
    from analyzer.render.view import View

    return View(_analysis(args, veil), filters if veil is None else veil.filters(filters))


def _veil(args: argparse.Namespace) -> Veil | None:
    """What anonymizes, where that is asked for."""
    if not args.anonymize and args.anonymize_key is None:
        return None
    from analyzer.render.anonymous import veil

    return veil(args.anonymize, args.anonymize_key)


def _analysis(
    args: argparse.Namespace, veil: Veil | None = None, taps: Sequence[Any] = (), names_only: bool = False
) -> Analysis:
    """Analyse, with what a terminal shows meanwhile; all locks are kept for those who show them all."""
    from analyzer.engine import analyze
    from analyzer.render import terminal

    shows = sys.stderr is not None and sys.stderr.isatty()
    try:
        analysis = analyze(
            args.captures,
            server_model=args.server_model,
            settings=_settings(args),
            on_compile=terminal.say_compile,
            on_progress=terminal.show_progress if shows else None,
            taps=taps if veil is None else (veil, *taps),
            whole=args.verb in ALL_LOCKS or getattr(args, "table", None) in ALL_LOCKS,
            names_only=names_only,
        )
    finally:
        if shows:
            terminal.clear_progress()
    if veil is not None:
        veil.rename(analysis)
    return analysis


def _settings(args: argparse.Namespace) -> Settings:
    """Windows and thresholds as the user wants them."""
    from analyzer.parameters import DEFAULTS, assignment, settings

    if not args.set:
        return DEFAULTS
    from analyzer.findings import catalogue  # noqa: F401 (declares them)

    return settings(dict(assignment(word) for word in args.set))


def _print(lines: Iterator[str] | Sequence[str]) -> None:
    from analyzer.render.output import write

    write(sys.stdout, (f"{line}\n" for line in lines))
