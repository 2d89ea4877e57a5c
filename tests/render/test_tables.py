"""CSV, Parquet and JSON lines say the same, and nothing in them is a formula."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

import analyzer
from analyzer.cli import TABLES, main
from analyzer.records.fields import FIELDS, KIND_OF
from analyzer.render import columns, rows
from analyzer.render.arrow import schema
from analyzer.render.clean import FORMULA
from tests.expectations import CAPTURES
from tests.render.captures import empty, hostile, ordinary

LAB = [
    CAPTURES / "lab" / name
    for name in ("umnt_unlock_dropped.pcap", "callback_blocked.pcap", "server_reboot_reclaim.pcap")
]


def exported(capture: Path, table: str, target: Path, *more: str) -> Path:
    assert main(["export", "--table", table, "--output", str(target), *more, str(capture)]) == 0
    return target


def read_csv(path: Path, table: str) -> pd.DataFrame:
    """A CSV file as pandas reads it, told only what text is text."""
    texts = {
        c.name: "string"
        for c in columns.TABLES[table]
        if c.kind in ("text", "wire", "hex", "path", "category")
    }
    return pd.read_csv(
        path, dtype=texts, keep_default_na=False, na_values={c.name: [""] for c in columns.TABLES[table]}
    )


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("capture", LAB, ids=lambda path: path.stem)
def test_csv_and_back(capture: Path, table: str, tmp_path: Path) -> None:
    frame = getattr(analyzer.analyze(capture), table)
    back = read_csv(exported(capture, table, tmp_path / "t.csv"), table)
    assert list(back.columns) == list(frame.columns)
    assert len(back) == len(frame)
    for column in columns.TABLES[table]:
        expected = [_plain(value, column.kind) for value in frame[column.name]]
        found = [_read(value, column.kind) for value in back[column.name]]
        assert found == expected, column.name


def _plain(value: Any, kind: str) -> Any:
    if kind == "list":
        return " ".join(map(str, value)) or None
    if pd.isna(value):
        return None
    if kind == "time":
        return value.value
    if kind == "duration":
        return value.value
    if kind in ("int", "uint"):
        return int(value)
    if kind == "bool":
        return bool(value)
    return str(value).removeprefix("'")


def _read(value: Any, kind: str) -> Any:
    if pd.isna(value):
        return None
    if kind == "time":
        return pd.Timestamp(value).value
    if kind == "duration":
        return round(float(value) * 1e9)
    if kind in ("int", "uint"):
        return int(value)
    if kind == "bool":
        return str(value).lower() == "true"
    return str(value).removeprefix("'")


@pytest.mark.parametrize("table", TABLES)
def test_parquet_has_the_columns_and_types(table: str, tmp_path: Path) -> None:
    for capture in (LAB[0], empty(tmp_path / "empty.pcap")):
        found = pq.read_table(exported(capture, table, tmp_path / "t.parquet"))
        assert found.schema.names == schema(table).names
        assert [str(kind).split("<")[0] for kind in found.schema.types] == [
            str(kind).split("<")[0] for kind in schema(table).types
        ]
        assert found.num_rows == len(getattr(analyzer.analyze(capture), table))


@pytest.mark.parametrize("table", TABLES)
def test_json_lines(table: str, tmp_path: Path) -> None:
    text = exported(LAB[0], table, tmp_path / "t.jsonl").read_text()
    found = [json.loads(line) for line in text.splitlines()]
    frame = getattr(analyzer.analyze(LAB[0]), table)
    assert len(found) == len(frame)
    for entry in found:
        assert list(entry) == list(frame.columns)
    if table == "calls":
        assert found[0]["time"].endswith("Z")
        assert isinstance(found[0]["latency"], float)


def test_the_format_can_be_said(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    named = exported(LAB[0], "locks", tmp_path / "t.data", "--format", "csv").read_bytes()
    assert main(["export", "--table", "locks", "--output", "-", str(LAB[0])]) == 0
    assert capsysbinary.readouterr().out == named


@pytest.mark.parametrize("table", TABLES)
def test_no_cell_is_a_formula(table: str, tmp_path: Path) -> None:
    capture = hostile(tmp_path / "hostile.pcap")
    text = exported(capture, table, tmp_path / "t.csv").read_text()
    numbers = {c.name for c in columns.TABLES[table] if c.kind in ("int", "uint", "duration")}
    listed = list(csv.DictReader(io.StringIO(text)))
    cells = [cell for row in listed for name, cell in row.items() if name not in numbers]
    assert not [cell for cell in cells if cell.startswith(FORMULA)]
    assert all(cell.isprintable() for cell in cells)
    if table in ("calls", "locks"):
        assert "'=cmd|' /C calc'!A0" in {row["caller_name"] for row in listed}


@pytest.mark.parametrize(
    ("filters", "kept"),
    [
        ((), bool),
        (("--client", "alice"), lambda row: row["client"] == "192.0.2.21"),
        (("--client", "192.0.2.22"), lambda row: row["client"] == "192.0.2.22"),
        (("--server", "::ffff:192.0.2.1"), lambda row: row["server"] == "192.0.2.1"),
        (("--server", "192.0.2.9"), lambda row: not row),
        (("--file", "/db"), lambda row: row["path"].endswith("/db")),
        (("--since", "+1.5"), lambda row: row["time"] >= "2023-11-14T22:13:21.500050"),
        (("--until", "+1.5"), lambda row: row["time"] <= "2023-11-14T22:13:21.500050"),
        (
            ("--since", "2023-11-14T22:13:21Z", "--client", "bob"),
            lambda row: row["client"] == "192.0.2.22" and row["time"] > "2023-11-14T22:13:21",
        ),
    ],
)  # fmt: skip
def test_filters(filters: tuple[str, ...], kept: Any, tmp_path: Path) -> None:
    capture = ordinary(tmp_path / "ordinary.pcap")
    everything = _rows(exported(capture, "calls", tmp_path / "all.csv"))
    some = _rows(exported(capture, "calls", tmp_path / "some.csv", *filters))
    assert some == [row for row in everything if kept(row)]


def _rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text())))


@pytest.mark.parametrize("name", rows.TABLES)
def test_rows_have_their_columns(name: str) -> None:
    from analyzer.engine import analyze
    from analyzer.render.view import View

    wanted = [column.name for column in columns.TABLES[name]]
    for capture in LAB:
        for row in rows.TABLES[name](View(analyze([str(capture)]))):
            assert list(row) == wanted


def test_the_list_of_columns() -> None:
    assert set(columns.TABLES) == set(TABLES) == set(columns.ROW)
    assert set(rows.TABLES) == set(TABLES) - {"calls"}
    for name, listed in columns.TABLES.items():
        names = [column.name for column in listed]
        assert len(set(names)) == len(names), name
        assert all(column.kind in columns.KINDS and column.meaning for column in listed), name
    assert {field.name for field in FIELDS if field.kind != "path"} == set(KIND_OF)
