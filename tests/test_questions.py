"""The page of questions says what the commands print, and no answer of `locks` and `mounts` is left out."""

from __future__ import annotations

import pytest

from analyzer.cli import parser
from tests import questions, regen


def test_the_page_is_up_to_date() -> None:
    assert questions.PAGE.read_text(encoding="utf-8") == questions.page(), "run python -m tests.regen"


@pytest.mark.parametrize("question", list(questions.questions()), ids=lambda question: question.command)
def test_the_command_answers(question: questions.Question) -> None:
    status, output = questions.answer(question)
    assert status == ("--release-check" in question.command and not output.startswith("nothing pins"))
    assert output.strip() or "--output /dev/null" in question.command


@pytest.mark.parametrize("verb", ["locks", "mounts"])
def test_every_option_answers_a_question(verb: str) -> None:
    asked = " ".join(question.command for question in questions.questions())
    page = questions.PAGE.read_text()
    for action in regen.verbs(parser())[verb]._actions:
        for option in action.option_strings:
            if option.startswith("--") and option not in ("--help", "--output"):
                assert option in asked or f"`{option}" in page, option
