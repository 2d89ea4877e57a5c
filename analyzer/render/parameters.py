"""The parameters of the rules: which there are, why they have their values, which finding needs which.

In: what is declared. Out: a list for a terminal, the same as Markdown, the parameters of one rule.

Theory. Which rule needs which parameter is read off its code, helpers included, so it cannot be wrong. What
the sessions need to make their ledgers belongs to no rule.

Never: holds a parameter.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import TYPE_CHECKING

from analyzer.findings import catalogue
from analyzer.parameters import DECLARED, Parameter

if TYPE_CHECKING:
    from analyzer.findings.rule import Rule
    from analyzer.render.paint import Paint


def needed_by(rule: Rule) -> list[Parameter]:
    """The parameters that a rule asks for, itself or through its helpers, by name."""
    return sorted(asked_for(rule.check), key=lambda parameter: parameter.name)


def asked_for(thing: object) -> set[Parameter]:
    """The parameters that a function or a class names, itself or in what it names."""
    found: set[Parameter] = set()
    ahead = [thing]
    seen: set[object] = set()
    while ahead:
        thing = ahead.pop()
        if isinstance(thing, Parameter):
            found.add(thing)
        elif isinstance(thing, type) and thing not in seen:
            ahead += vars(thing).values()
        elif isinstance(thing, FunctionType) and thing not in seen:
            ahead += [thing.__globals__.get(name) for name in _names(thing.__code__)]
        else:
            continue
        seen.add(thing)
    return found


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names(inner)


def needs() -> dict[Parameter, list[str]]:
    """Every parameter by name, with the codes of the rules that need it."""
    codes: dict[Parameter, list[str]] = {DECLARED[name]: [] for name in sorted(DECLARED)}
    for code in sorted(catalogue.RULES):
        for parameter in needed_by(catalogue.RULES[code]):
            codes[parameter].append(code)
    return codes


def index(paint: Paint) -> Iterator[str]:
    """All parameters, for a terminal."""
    for number, (parameter, codes) in enumerate(needs().items()):
        if number:
            yield ""
        yield f"{paint.ink(parameter.name, 'head')}  {parameter.shown}"
        yield from paint.wrap(parameter.reason, 4)
        yield from paint.wrap(", ".join(codes) or "(the ledgers)", 4)


def reference() -> Iterator[str]:
    """All parameters as Markdown."""
    yield "# Parameters"
    yield ""
    yield "The windows and thresholds of the rules. `--set NAME=VALUE` changes one for a run of any verb that"
    yield "reads captures; in Python it is `analyzer.analyze(paths, parameters={NAME: VALUE})`. Where no"
    yield "finding is named, the ledgers of locks and mounts need it."
    yield ""
    yield "| parameter | default | why | needed by |"
    yield "| --- | --- | --- | --- |"
    for parameter, codes in needs().items():
        links = ", ".join(f"[{code}](findings.md#{code})" for code in codes)
        yield f"| `{parameter.name}` | {parameter.shown} | {parameter.reason} | {links} |"
