"""The Python API: DataFrames with types, made when asked for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pandas as pd
import pytest

import analyzer
from analyzer.cli import TABLES
from analyzer.render import columns
from tests.expectations import CAPTURES
from tests.render.captures import empty, ordinary

ROOT = Path(__file__).parent.parent
LEAK = CAPTURES / "lab" / "umnt_unlock_dropped.pcap"

EXPORT = "from analyzer.cli import main\nmain(['export', '--table', 'calls', '--output', '/dev/null'"

DTYPES = {
    "int": "Int64",
    "uint": "UInt64",
    "bool": "boolean",
    "text": "string",
    "wire": "string",
    "hex": "string",
    "time": "datetime64[ns, UTC]",
    "duration": "timedelta64[ns]",
    "list": "object",
}


@pytest.fixture(params=["empty", "ordinary"])
def analysis(request: pytest.FixtureRequest, tmp_path: Path) -> object:
    make = empty if request.param == "empty" else ordinary
    return analyzer.analyze(make(tmp_path / "some.pcap"))


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_typed_with_and_without_rows(analysis: object, name: str) -> None:
    frame = getattr(analysis, name)
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns) == [column.name for column in columns.TABLES[name]]
    for column in columns.TABLES[name]:
        dtype = frame[column.name].dtype
        if column.kind in DTYPES:
            assert str(dtype) == DTYPES[column.kind], column.name
        else:
            assert isinstance(dtype, pd.CategoricalDtype), column.name
    assert getattr(analysis, name) is frame


def test_severities_can_be_compared() -> None:
    found = analyzer.analyze(LEAK).findings
    assert list(found["severity"].cat.categories) == list(columns.SEVERITIES)
    loud = found[found["severity"] >= "medium"]
    assert 0 < len(loud) < len(found)


def test_every_row_leads_back_to_its_frames() -> None:
    calls = analyzer.analyze(LEAK).calls
    assert calls["call_frame"].is_monotonic_increasing
    answered = calls[calls["reply_frame"].notna()]
    assert (answered["reply_frame"] > answered["call_frame"]).all()
    assert (answered["latency"] > pd.Timedelta(0)).all()
    assert calls["reply_frame"].isna().sum() == 1
    assert set(calls["file"]) == {str(LEAK)}


def test_json_is_that_of_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    from analyzer.cli import main

    main(["analyze", "--format", "json", str(LEAK)])
    assert analyzer.analyze([str(LEAK)]).to_json() == capsys.readouterr().out


def test_what_can_be_read_once_only_keeps_its_calls(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    feeder = threading.Thread(target=pipe.write_bytes, args=(LEAK.read_bytes(),))
    feeder.start()
    analysis = analyzer.analyze(pipe)
    feeder.join()
    assert len(analysis.calls) == len(analyzer.analyze(LEAK).calls)
    assert json.loads(analysis.to_json())["findings"]


def test_two_captures_are_one(tmp_path: Path) -> None:
    analysis = analyzer.analyze([ordinary(tmp_path / "b.pcap"), LEAK])
    firsts = analysis.calls.groupby("file", observed=True)["frame_in_file"].min()
    assert len(firsts) == 2
    assert (firsts < 30).all()
    assert analysis.calls["call_frame"].is_unique


def test_a_wrong_path_raises() -> None:
    with pytest.raises(analyzer.AnalyzerError, match="missing"):
        analyzer.analyze("missing.pcap")


def test_public_names() -> None:
    assert sorted(analyzer.__all__) == analyzer.__all__
    assert all(hasattr(analyzer, name) for name in analyzer.__all__)


def test_the_version_is_that_of_the_project() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert analyzer.__version__ == project["version"]


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import analyzer", {"numpy", "pandas", "pyarrow", "numba", "dpkt", "pyshark"}),
        (
            "from analyzer.cli import main\nmain(['--version'])",
            {"numpy", "pandas", "pyarrow", "numba", "analyzer.engine"},
        ),
        *(
            (
                f"from analyzer.cli import main\nmain({[*verb, str(LEAK)]!r})",
                {"pandas", "pyarrow", "numba", "numpy.ma"},
            )
            for verb in (["analyze"], ["locks"], ["mounts"])
        ),
        ("from analyzer.cli import main\nmain(['explain'])", {"pandas", "pyarrow", "numba"}),
        *(
            (f"{EXPORT}, '--format', {style!r}, {str(LEAK)!r}])", {"pandas", "numba"})
            for style in ("csv", "parquet", "jsonl")
        ),
    ],
)
def test_heavy_packages_come_when_they_are_needed(statement: str, absent: set[str]) -> None:
    code = f"{statement}\nimport sys\nsys.stderr.write(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not absent & set(done.stderr.split())
