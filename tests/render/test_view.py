"""What is shown of an analysis."""

from __future__ import annotations

from pathlib import Path

from analyzer.engine import analyze
from analyzer.render.view import View
from tests.render.captures import ordinary


def test_names_are_looked_up_once(tmp_path: Path) -> None:
    """Every line of a table asks for one; a capture may have thousands of hosts."""
    view = View(analyze([str(ordinary(tmp_path / "one.pcap"))]))
    assert view.known_as()
    assert view.known_as() is view.known_as()
