"""What is installed, and that starting costs nothing: heavy packages come when they are needed."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
HEAVY = {"dpkt", "llvmlite", "numba", "pandas", "prometheus_client", "pyarrow", "pyshark", "rich"}
SMALL = "captures/lab/umnt_unlock_dropped.pcap"


def _python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def _loaded_by(statement: str) -> set[str]:
    done = _python("-c", f"{statement}\nimport sys\nsys.stderr.write(' '.join(sys.modules))")
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in done.stderr.split()}


@pytest.mark.parametrize(
    ("statement", "not_loaded"),
    [
        ("import analyzer", HEAVY),
        ("from analyzer.cli import main", HEAVY),
        ("from analyzer.cli import main\ntry: main(['--version'])\nexcept SystemExit: pass", HEAVY),
        (f"from analyzer.cli import main\nmain(['analyze', '--format', 'json', '{SMALL}'])", HEAVY),
    ],
    ids=["package", "command line", "version", "small capture"],
)
def test_no_heavy_import(statement: str, not_loaded: set[str]) -> None:
    assert not _loaded_by(statement) & not_loaded


def test_heavy_imports_would_be_noticed() -> None:
    assert "dpkt" in _loaded_by("import dpkt")


def test_runs_as_a_module() -> None:
    done = _python("-m", "analyzer", "--version")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["lockscope", PROJECT["version"]]


def test_the_command_is_the_module() -> None:
    assert PROJECT["scripts"] == {"lockscope": "analyzer.cli:run"}


def test_the_tested_versions_meet_the_requirements() -> None:
    """Whoever installs by the constraints gets every direct dependency at a fixed version."""
    pinned = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (ROOT / "tests" / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    wanted = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
    assert {requirement.partition(">=")[0] for requirement in wanted} <= pinned


def test_the_installed_distribution_is_this_one() -> None:
    try:
        version = importlib.metadata.version("lockscope")
    except importlib.metadata.PackageNotFoundError:
        version = PROJECT["version"]  # run from a checkout that was not installed
    assert version == PROJECT["version"]


def test_the_package_is_typed() -> None:
    assert (ROOT / "analyzer" / "py.typed").exists()
