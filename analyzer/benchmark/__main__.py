"""The command line of the benchmark."""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from analyzer.benchmark import counts, generate, report
from analyzer.benchmark.measure import CommandFailed, Program, in_turn

LOADS = ("metadata", "bulk", "export", "locks")
FIELDS = ("frame.number", "rpc.xid", "rpc.msgtyp", "rpc.program", "rpc.procedure")
"""What tshark writes of every message beside our table of all that calls and replies say."""
OURS = [sys.executable, "-m", "analyzer"]
DECODING = [*OURS, "export", "--table", "calls", "--format", "csv", "--output", "-"]
LEAST_PACKETS = 1000
LEAST_MEGABYTES = 1
LEAST_REQUESTS = 100


def main(argv: Sequence[str] | None = None) -> int:
    """Make the captures, run both programs, print: 0 done, 1 the counts differ, 2 could not."""
    options = _parser().parse_args(argv)
    say = sys.stdout.write
    tshark = shutil.which("tshark")
    if tshark is None:
        say("tshark is not installed: lockscope alone is measured\n\n")
    same = True
    try:
        for load in LOADS if options.load == "all" else (options.load,):
            capture = captured(load, options)
            runs = in_turn(_programs(load, capture, tshark), options.runs)
            size = capture.stat().st_size / 1e6
            say(report.table(f"{load}: {size:,.0f} MB, {options.runs} runs each", runs) + "\n")
            sys.stdout.flush()
            same &= report.agree(report.calls(runs))
    except (CommandFailed, OSError) as problem:
        sys.stderr.write(f"benchmark: {problem}\n")
        return 2
    return 0 if same else 1


def captured(load: str, options: argparse.Namespace) -> Path:
    """The capture of a load, made unless it is there already.

    Its name holds a hash of the code that makes it, so an old one is never taken for it.
    """
    content = "metadata" if load == "export" else load
    make, amount, unit = {
        "metadata": (generate.metadata, options.packets, 1),
        "bulk": (generate.bulk, options.megabytes, 1_000_000),
        "locks": (generate.locks, options.requests, 1),
    }[content]
    options.dir.mkdir(parents=True, exist_ok=True)
    path: Path = options.dir / f"{content}-{amount}-{_version()}.pcap"
    if not path.exists():
        make(path, amount * unit)
    return path


def _version() -> str:
    folder = Path(__file__).parent
    code = b"".join((folder / name).read_bytes() for name in ("generate.py", "wire.py"))
    return hashlib.sha256(code).hexdigest()[:8]


def _programs(load: str, capture: Path, tshark: str | None) -> dict[str, Program]:
    """lockscope, and tshark where it is there, at the same work. Beside `locks`, lockscope with every call
    decoded and nothing followed."""
    ours = DECODING
    if load == "export":
        theirs = ["-T", "fields", *(word for field in FIELDS for word in ("-e", field)), "-Y", "rpc"]
    else:
        ours = [*OURS, "analyze", "--format", "json"]
        theirs = ["-q", "-z", "rpc,programs"]
    count = (counts.exported, counts.fields) if load == "export" else (counts.analyzed, counts.programs)
    programs = {report.OURS: Program([*ours, str(capture)], count[0])}
    if load == "locks":
        programs[report.DECODING] = Program([*DECODING, str(capture)], counts.exported)
    if tshark is not None:
        programs[report.THEIRS] = Program([tshark, *theirs, "-r", str(capture)], count[1])
    return programs


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m analyzer.benchmark",
        description="lockscope and tshark at the same work, in turn, on the same captures",
    )
    parser.add_argument("load", nargs="?", default="all", choices=(*LOADS, "all"))
    packets = "packets of the metadata capture (default: %(default)s)"
    megabytes = "size of the bulk capture (default: %(default)s)"
    requests = "lock requests of the locks capture (default: %(default)s)"
    runs = "runs of each program after one to warm up (default: %(default)s)"
    kept = "where the captures are kept (default: %(default)s)"
    folder = Path(tempfile.gettempdir()) / "lockscope-benchmark"
    parser.add_argument(
        "--packets", type=_at_least(LEAST_PACKETS), default=1_000_000, metavar="N", help=packets
    )
    parser.add_argument(
        "--megabytes", type=_at_least(LEAST_MEGABYTES), default=500, metavar="M", help=megabytes
    )
    parser.add_argument(
        "--requests", type=_at_least(LEAST_REQUESTS), default=200_000, metavar="N", help=requests
    )
    parser.add_argument("--runs", type=_at_least(1), default=5, metavar="R", help=runs)
    parser.add_argument("--dir", type=Path, default=folder, metavar="D", help=kept)
    return parser


def _at_least(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}")
        return value

    return number


if __name__ == "__main__":
    sys.exit(main())
