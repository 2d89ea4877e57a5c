"""The options of `live`.

In: a parser. Out: the same, with them.

Never: imports anything heavy: every verb makes this parser.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

REMEMBER = 3600  # seconds
AUTO, ALL = "auto", "all"  # what a filter may be, besides an expression


def add_options(verb: argparse.ArgumentParser, formats: Sequence[str]) -> None:
    """Add what only `live` knows."""
    what = verb.add_mutually_exclusive_group(required=True)
    what.add_argument("-i", "--interface", metavar="IFACE", help="capture here, by dumpcap or tcpdump")
    what.add_argument("stream", metavar="-", nargs="?", choices=("-",), help="a capture on standard input")
    what.add_argument("--list", action="store_true", help="list the interfaces")
    verb.add_argument(
        "--program",
        choices=("dumpcap", "tcpdump"),
        help="capture with this (default: dumpcap if it is there)",
    )
    verb.add_argument(
        "--filter",
        metavar="FILTER",
        default=ALL,
        help=f"what to capture: {ALL} (default), {AUTO} (RPC programs, on ports that become known), "
        "or what this filter of libpcap lets through",
    )
    verb.add_argument(
        "--ask",
        metavar="HOST",
        action="append",
        default=[],
        help=f"with --filter {AUTO}: ask the portmapper of HOST for ports first; may be repeated",
    )
    verb.add_argument(
        "--jsonl", metavar="FILE", help="add an event to FILE for each finding opened or resolved"
    )
    verb.add_argument(
        "--ring", metavar="DIR", help="keep the newest packets in DIR, for evidence of findings (by dumpcap)"
    )
    verb.add_argument(
        "--ring-size", metavar="MB", type=float, default=1000.0, help="this many (default: 1000)"
    )
    verb.add_argument(
        "--metrics",
        metavar="ADDRESS",
        help="serve numbers to Prometheus at [HOST]:PORT (HOST: this one)",
    )
    verb.add_argument(
        "--hook", metavar="COMMAND", help="run COMMAND for each event, which it reads from standard input"
    )
    verb.add_argument(
        "--remember",
        metavar="SECONDS",
        type=float,
        default=REMEMBER,
        help=f"keep what is over for so long (default: {REMEMBER}); what stands is kept",
    )
    verb.add_argument("--export", metavar="DIR", help="write all tables (but calls) here at the end")
    verb.add_argument("--format", choices=formats, default="csv", help="of the tables (default: csv)")
