"""The labelled captures of the project.

In: the folder `captures/`. Out: its captures by name, and what is expected of each.

Never: judges; `analyzer.score` does.
"""

from __future__ import annotations

from pathlib import Path

from analyzer.score import labelled
from analyzer.score.expectations import Json

CAPTURES = Path(__file__).parent.parent / "captures"


def expectations() -> dict[str, Path]:
    """Every capture that has an expectation, by its name below `captures/`."""
    return {
        path.relative_to(CAPTURES).as_posix().removesuffix(labelled.SUFFIX): capture
        for path, capture in labelled.pairs(CAPTURES).items()
    }


def expectation_of(capture: Path) -> Json:
    """The expectation that stands beside a capture."""
    stem = capture.name.partition(".")[0]
    return labelled.expectation(capture.with_name(stem + labelled.SUFFIX))
