"""Pages of the catalogue of findings.

In: rules. Out: a page for a terminal, an index, the same as Markdown.

Never: says anything a rule does not say.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from analyzer.findings.rule import FAMILIES, SECTIONS
from analyzer.render.parameters import needed_by

if TYPE_CHECKING:
    from analyzer.findings.rule import Rule
    from analyzer.render.paint import Paint


def page(rule: Rule, paint: Paint) -> Iterator[str]:
    """The page of one finding."""
    severity = rule.severity.name.lower()
    yield f"{paint.ink(rule.code, 'head')} ({rule.family}, {paint.ink(severity, severity)})"
    yield ""
    yield from paint.wrap(rule.title)
    for name in SECTIONS:
        yield ""
        yield paint.ink(name, "head")
        for number, paragraph in enumerate(rule.sections[name].split("\n\n")):
            if number:
                yield ""
            yield from paint.wrap(" ".join(paragraph.split()), 2)
    if needed := needed_by(rule):
        yield ""
        yield paint.ink("Parameters", "head")
        for parameter in needed:
            yield from paint.wrap(f"{parameter.name}  {parameter.shown}: {parameter.reason}", 2, 2)


def index(rules: Collection[Rule], paint: Paint) -> Iterator[str]:
    """All codes by family."""
    width = max(len(rule.code) for rule in rules)
    for number, (family, members) in enumerate(families(rules)):
        if number:
            yield ""
        yield paint.ink(family, "head")
        for rule in members:
            yield from paint.wrap(f"{rule.code:<{width}}  {rule.title}", 2, width + 2)


def families(rules: Collection[Rule]) -> Iterator[tuple[str, list[Rule]]]:
    """Families in their order, each with its rules by code."""
    for family in FAMILIES:
        members = sorted((rule for rule in rules if rule.family == family), key=lambda rule: rule.code)
        if members:
            yield family, members


def reference(rules: Collection[Rule]) -> Iterator[str]:
    """The whole catalogue as Markdown."""
    yield "# Findings"
    yield ""
    yield "Every code that `lockscope analyze` can report, by family. `lockscope explain CODE` has its page."
    for family, members in families(rules):
        yield ""
        yield f"## {family}"
        yield ""
        yield "| code | severity | what the capture shows |"
        yield "| --- | --- | --- |"
        for rule in members:
            link, severity = f"[`{rule.code}`](#{rule.code})", rule.severity.name.lower()
            yield f"| {link} | {severity} | {' '.join(rule.title.split())} |"
        for rule in members:
            yield ""
            yield f"### {rule.code}"
            yield ""
            yield f"{' '.join(rule.title.split())} ({rule.severity.name.lower()})"
            for name in SECTIONS:
                yield ""
                yield f"**{name}.** {rule.sections[name]}"
            if needed := needed_by(rule):
                yield ""
                yield "**Parameters.** " + ", ".join(f"`{one.name}` ({one.shown})" for one in needed)
