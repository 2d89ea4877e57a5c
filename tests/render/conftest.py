"""The laboratory of the tests of reports."""

import pytest

from tests.findings.lab import TERRAINS, Lab


@pytest.fixture
def lab() -> Lab:
    """A laboratory of Linux hosts."""
    return Lab("linux")


@pytest.fixture(params=TERRAINS)
def everywhere(request: pytest.FixtureRequest) -> Lab:
    """A laboratory on each terrain."""
    return Lab(request.param)
