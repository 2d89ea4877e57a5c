"""The guide shows what its code prints and draws."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import guide

Run = tuple[str, dict[Path, tuple[str, str]]]


@pytest.fixture(scope="module")
def run() -> Run:
    """The page as it should be, and its figures."""
    return guide.run()


def test_the_page_is_up_to_date(run: Run) -> None:
    assert guide.PAGE.read_text(encoding="utf-8") == run[0], "run python -m tests.regen"


def test_the_figures_are_up_to_date(run: Run) -> None:
    assert {path.name for path in run[1]} == {path.name for path in guide.FIGURES.iterdir()}
    for path, (data, _) in run[1].items():
        assert guide.data_in(path.read_text(encoding="utf-8")) == data, "run python -m tests.regen"


def test_each_question_is_answered(run: Run) -> None:
    sections = re.split(r"^## ", run[0], flags=re.MULTILINE)[1:]
    questions = [section for section in sections if section.partition("\n")[0].endswith("?")]
    assert len(questions) == 5
    assert all("```text" in question for question in questions)
    assert sum("](guide/figure-" in question for question in questions) >= 3


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("1 + 1\n", "2\n"),
        ("print('a')\n", "a\n"),
        ("x = 1\n", ""),
        ("None\n", ""),
        ("print(1)\n2\n", "1\n2\n"),
    ],
)
def test_what_a_block_shows(code: str, said: str) -> None:
    assert guide._printed(code, {}) == said


def test_a_figure_tells_its_data() -> None:
    names: dict[str, object] = {}
    guide._printed(
        "import matplotlib.pyplot as plt\nf, a = plt.subplots()\na.plot([1, 2], [3, 4.00000001])\n", names
    )
    guide._printed("a.set_title('<&\">')\n", names)
    ((_, data, svg),) = guide._drawn()
    assert guide.data_in(svg) == data
    assert "[[1.0, 3.0], [2.0, 4.0]]" in data
