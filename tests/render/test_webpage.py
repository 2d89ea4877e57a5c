"""The page: whole, of plain elements only, with nothing in it that a browser would run or fetch."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest

from analyzer.engine import analyze
from analyzer.render import webpage
from analyzer.render.reread import reread
from analyzer.render.view import View
from analyzer.render.webpage import evidence_of, page
from tests.expectations import CAPTURES
from tests.render.captures import HOSTILE, empty, hostile, ordinary

VOID = {"meta"}
TAGS = {
    *("html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "p", "span", "ul", "li", "table"),
    *("tr", "th", "td", "article", "dl", "dt", "dd", "a", "details", "summary", "div", "pre"),
    *("svg", "line", "rect", "text"),
}
LEAK = CAPTURES / "lab" / "umnt_unlock_dropped.pcap"


class Read(HTMLParser):
    """Elements, attributes and text of a page; every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def made(path: Path) -> str:
    view = View(analyze([str(path)]))
    return page(view, reread([str(path)], evidence_of(view)))


@pytest.mark.parametrize("name", ["empty", "ordinary", "hostile", "leak"])
def test_nothing_to_run_or_to_fetch(tmp_path: Path, name: str) -> None:
    makers = {"empty": empty, "ordinary": ordinary, "hostile": hostile}
    text = made(makers[name](tmp_path / "some.pcap") if name in makers else LEAK)
    read = Read(text)
    assert set(read.tags) <= TAGS
    assert not [key for key, _ in read.attributes if key.startswith("on") or key in ("src", "srcset")]
    links = [value or "" for key, value in read.attributes if key == "href"]
    assert all(link.startswith("#") for link in links)
    assert "default-src 'none'" in text
    assert "url(" not in text
    assert "@import" not in text
    assert "://" not in text.replace("\\", "")


def test_hostile_names_are_text(tmp_path: Path) -> None:
    text = made(hostile(tmp_path / "hostile.pcap"))
    assert "<img" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    shown = "".join(Read(text).text)
    assert HOSTILE[5] in shown  # the tag, as it is, for people to read
    for line in text.split("\n"):
        assert line.isprintable()


def test_findings_with_their_evidence() -> None:
    view = View(analyze([str(LEAK)]))
    text = made(LEAK)
    read = Read(text)
    ids = {value for key, value in read.attributes if key == "id"}
    assert {finding.id for finding in view.findings} <= ids
    links = {value for key, value in read.attributes if key == "href"}
    assert {link.removeprefix("#") for link in links if link} <= ids
    shown = "".join(read.text)
    for finding in view.findings:
        assert finding.message in shown
    assert "frame 127, 2026-11-20 11:39:47.861424 UTC" in shown
    assert "NLM4 UNLOCK call" in shown
    assert "caller_name: client1" in shown


def test_charts_and_reports() -> None:
    shown = "".join(Read(made(LEAK)).text)
    assert "/export/a on 192.168.77.10" in shown
    assert "held on the server only +4.917s to +31.525s" in shown
    assert "mounted +" in shown
    for title in ("At the end", "Timelines", "Callbacks", "Waiting", "Restarts", "Health"):
        assert title in shown


def test_it_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webpage, "MOST_FRAMES", 4)
    view = View(analyze([str(LEAK)]))
    assert len(evidence_of(view)) <= 4 * len(view.findings)
    assert "evidence: 4 of 11 frames" in made(LEAK)


def test_the_same_every_time() -> None:
    assert made(LEAK) == made(LEAK)
