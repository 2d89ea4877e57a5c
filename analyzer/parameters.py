"""Windows and thresholds: each declared once, beside the rule that needs it, with its reason.

In: declarations (`window`, `threshold`), and what a user sets. Out: `Settings`, the values for one analysis.

Theory. When to call silence long, or a number large, is a judgement, so each one has a name, a default and a
reason, and can be set. Whoever judges asks the settings of its analysis: `settings[SILENCE]`. What is not set
has its default. Limits that bound memory are no parameters: they change no verdict of a capture that keeps
within them.

Never: holds a value for all analyses; two with different settings may run side by side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from analyzer.errors import AnalyzerError
from analyzer.frozen import frozen

AUTO = "auto"
"""The server model that goes by file handles (`analyzer.sessions.servers`)."""

SECOND = 1_000_000_000
LARGEST = 10**9  # of a value as it is said: thirty years, or more requests than a capture holds

DECLARED: dict[str, Parameter] = {}


@frozen
class Parameter:
    """One window or threshold. A window is said in seconds and kept in nanoseconds."""

    name: str
    default: int
    unit: str
    reason: str
    scale: int  # what one unit is worth
    least: int  # the smallest value that makes sense, as it is said

    def value(self, said: str | float) -> int:
        """A value from what a user said; raises `AnalyzerError`."""
        try:
            number = float(said)
        except (TypeError, ValueError):
            number = math.nan
        if not self.least <= number <= LARGEST or (self.scale == 1 and number != int(number)):
            kind = "number of seconds" if self.scale > 1 else "whole number"
            raise AnalyzerError(f"parameter {self.name}: {said} is no {kind} from {self.least} to {LARGEST}")
        return round(number * self.scale)

    @property
    def shown(self) -> str:
        """The default with its unit."""
        return f"{self.default / self.scale:g} {self.unit}"


class Settings(dict[Parameter, int]):
    """The parameters of one analysis: those that are set, and the defaults of all others."""

    def __missing__(self, parameter: Parameter) -> int:
        return parameter.default


DEFAULTS = Settings()


def window(name: str, default: float, reason: str, least: int = 0) -> Parameter:
    """Declare a stretch of time, in seconds."""
    return _declared(Parameter(name, round(default * SECOND), "s", reason, SECOND, least))


def threshold(name: str, default: int, unit: str, reason: str, least: int = 1) -> Parameter:
    """Declare a number; `unit` says of what."""
    return _declared(Parameter(name, default, unit, reason, 1, least))


def _declared(parameter: Parameter) -> Parameter:
    if parameter.name in DECLARED:
        raise TypeError(f"two parameters are called {parameter.name}")
    DECLARED[parameter.name] = parameter
    return parameter


def settings(said: Mapping[str, str | float]) -> Settings:
    """Settings from names and values; raises `AnalyzerError` on a wrong one.

    Knows what has been declared so far, which is all once `analyzer.findings.catalogue` is imported.
    """
    made = Settings()
    for name, value in said.items():
        parameter = DECLARED.get(name)
        if parameter is None:
            from difflib import get_close_matches

            near = get_close_matches(name, DECLARED, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise AnalyzerError(
                f"no parameter is called {name}{hint} (lockscope explain --parameters lists them)"
            )
        made[parameter] = parameter.value(value)
    return made


def assignment(word: str) -> tuple[str, str]:
    """NAME and VALUE of NAME=VALUE."""
    name, equals, value = word.partition("=")
    if not equals:
        raise AnalyzerError(f"--set {word}: say NAME=VALUE")
    return name, value
