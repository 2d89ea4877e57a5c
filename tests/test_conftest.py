"""In CI a skip is a failure, whichever way a test is skipped."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SKIPS = {
    "by mark": "import pytest\n@pytest.mark.skip\ndef test_it(): pass\n",
    "in the test": "import pytest\ndef test_it(): pytest.skip('no tool')\n",
    "by fixture": "import pytest\n@pytest.fixture\ndef tool(): pytest.skip('')\ndef test_it(tool): pass\n",
    "whole module": "import pytest\npytest.skip('not here', allow_module_level=True)\n",
    "missing import": "import pytest\npytest.importorskip('no_such_module')\n",
}


def _run(folder: Path, text: str, ci: str) -> subprocess.CompletedProcess[str]:
    shutil.copy(Path(__file__).with_name("conftest.py"), folder / "conftest.py")
    (folder / "test_it.py").write_text(text + "def test_other(): pass\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(folder)]
    environment = {**os.environ, "CI": ci, "PYTHONPATH": ""}
    return subprocess.run(
        [*command, str(folder)], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("way", SKIPS)
def test_a_skip_fails_in_ci(tmp_path: Path, way: str) -> None:
    done = _run(tmp_path, SKIPS[way], "true")
    assert done.returncode not in (0, 5)
    assert "skipped, which in CI is a failure" in done.stdout


def test_a_skip_is_a_skip_elsewhere(tmp_path: Path) -> None:
    done = _run(tmp_path, SKIPS["in the test"], "")
    assert done.returncode == 0
    assert "1 skipped" in done.stdout
