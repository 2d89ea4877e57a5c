"""What was measured, as text.

In: the runs of lockscope and, where it is there, of tshark. Out: a table of medians with
their spread, the ratios, and whether both counted the same calls.

Never: rounds in anybody's favour: a ratio is that of the medians.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from analyzer.benchmark.measure import Run, Spread

OURS, THEIRS, DECODING = "lockscope", "tshark", "decoding"


def calls(runs: Mapping[str, Sequence[Run]]) -> dict[str, int]:
    """How many calls each program counted in its last run."""
    return {name: done[-1].calls for name, done in runs.items()}


def agree(counted: Mapping[str, int]) -> bool:
    """Whether all programs counted the same number of calls."""
    return len(set(counted.values())) == 1


def table(title: str, runs: Mapping[str, Sequence[Run]]) -> str:
    """One capture's results: median (least - most)."""
    lines = [title, f"  {'':10}{'wall s':>24}{'CPU s':>24}{'peak MB':>10}"]
    for name, done in runs.items():
        wall, cpu = Spread.of([r.wall for r in done]), Spread.of([r.cpu for r in done])
        peak = max(r.peak for r in done) / 1e6
        lines.append(f"  {name:10}{_spread(wall):>24}{_spread(cpu):>24}{peak:>10.0f}")
    if THEIRS in runs:
        lines.append(f"  {'ratio':10}{_ratio(runs, 'wall'):>24}{_ratio(runs, 'cpu'):>24}")
    counted = calls(runs)
    if agree(counted):
        lines.append(f"  calls counted: {next(iter(counted.values())):,}")
    else:
        told = ", ".join(f"{name} {count:,}" for name, count in counted.items())
        lines.append(f"  the counts of calls differ, so the times do not compare: {told}")
    return "\n".join(lines) + "\n"


def _spread(spread: Spread) -> str:
    return f"{spread.median:.2f} ({spread.least:.2f} - {spread.most:.2f})"


def _ratio(runs: Mapping[str, Sequence[Run]], what: str) -> str:
    theirs, ours = (Spread.of([getattr(r, what) for r in runs[name]]) for name in (THEIRS, OURS))
    return f"{theirs.median / max(ours.median, 1e-9):.1f} x"
