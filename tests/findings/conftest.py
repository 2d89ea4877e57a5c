"""The laboratory of the finding tests, on every terrain or on the plain Linux one."""

import pytest

from tests.findings.lab import TERRAINS, Lab


@pytest.fixture(params=TERRAINS)
def lab(request: pytest.FixtureRequest) -> Lab:
    """A laboratory; each test runs on every terrain."""
    return Lab(request.param)


@pytest.fixture
def linux() -> Lab:
    """A laboratory of Linux hosts on IPv4 and TCP, for what only they do."""
    return Lab("linux")
