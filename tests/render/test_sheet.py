"""One sheet, two renderings: text for a person, JSON for a program."""

from __future__ import annotations

import json

from analyzer.render.paint import Paint
from analyzer.render.sheet import Cell, Sheet, document, of_table, text
from tests.findings.lab import Lab
from tests.network import BEGIN, SECOND
from tests.render.seen import view

CELLS = (
    Cell("when", "time"),
    Cell("took", "duration"),
    Cell("client", "host"),
    Cell("raw", "hex"),
    Cell("name", "wire", "called"),
    Cell("locks", "list"),
    Cell("sure", "bool"),
    Cell("frame_no", "int"),
)
ROW = {
    "when": BEGIN + 2 * SECOND,
    "took": SECOND // 2,
    "client": "192.0.2.21",
    "raw": b"\x01\xff",
    "name": b"a\x1b[2J",
    "locks": [1, 2],
    "sure": False,
    "frame_no": 12345,
    "unseen": object(),
}
NOTHING = dict.fromkeys(ROW)


def shown(lab: Lab, *sheets: Sheet) -> list[str]:
    return [" ".join(line.split()) for line in text(view(lab), Paint(), sheets)]


def test_for_a_person(lab: Lab) -> None:
    lab.mounted(lab.alice)
    cells = tuple(cell for cell in CELLS if cell.kind != "hex")
    sheet = Sheet("things", "Things", cells, [ROW, NOTHING], "None.", "So it is.")
    start = view(lab).sessions.start
    assert shown(lab, sheet) == [
        "Things",
        "when took client called locks sure frame no",
        rf"+{(BEGIN + 2 * SECOND - start) / SECOND:.3f}s 500.0 ms 192.0.2.21 (alice) a\x1b[2J 1 2 no 12345",
        "- - - - - - -",
        "So it is.",
    ]


def test_for_a_program() -> None:
    sheet = Sheet("things", "Things", CELLS, [ROW, NOTHING], "None.")
    made = json.loads(document("lockscope.things/1", [sheet], at=None))
    assert made["schema"] == "lockscope.things/1"
    assert made["at"] is None
    assert made["things"] == [
        {
            "when": "2023-11-14T22:13:22.000000000Z",
            "took": 0.5,
            "client": "192.0.2.21",
            "raw": "01ff",
            "name": "a\\x1b[2J",
            "locks": [1, 2],
            "sure": False,
            "frame_no": 12345,
        },
        {cell.name: None for cell in CELLS},
    ]


def test_a_program_may_get_other_columns() -> None:
    sheet = Sheet("things", "Things", CELLS, [ROW], "None.", keys=(Cell("took", "duration"),))
    assert json.loads(document("s", [sheet]))["things"] == [{"took": 0.5}]


def test_no_rows(lab: Lab) -> None:
    lab.mounted(lab.alice)
    silent = Sheet("silent", "Silent", CELLS, [], "")
    spoken = Sheet("spoken", "Spoken", CELLS, [], "There is none.")
    assert shown(lab, silent, spoken, silent, spoken) == ["There is none.", "", "There is none."]
    assert json.loads(document("s", [silent, spoken])) == {"schema": "s", "silent": [], "spoken": []}


def test_the_columns_of_a_table() -> None:
    assert [cell.name for cell in of_table("locks")][:3] == ["lock", "server", "export"]
