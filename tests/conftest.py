"""What holds for all tests: in CI nothing is skipped, and generated examples repeat.

Where `CI` is set a skipped test, or module, is a failed one: a suite that quietly leaves out
what needs tshark would say that all is well.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import settings

IN_CI = os.environ.get("CI", "").lower() not in ("", "0", "false")

settings.register_profile("lockscope", deadline=None, derandomize=IN_CI)
settings.load_profile("lockscope")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """The report of one test, which in CI is a failure where the test was skipped."""
    return _no_skip((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, Any, Any]:
    """The same for a module that skips itself."""
    return _no_skip((yield))


def _no_skip(report: Any) -> Any:
    if IN_CI and report.outcome == "skipped":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"skipped, which in CI is a failure: {reason}"
    return report


@pytest.fixture(scope="session")
def tshark() -> str:
    """The path of tshark; a test that asks for it is skipped where there is none."""
    path = shutil.which("tshark")
    if path is None:
        pytest.skip("tshark is not installed")
    return path
