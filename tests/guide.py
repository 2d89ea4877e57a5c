"""The guide: a page whose Python is run, with what it printed and drew.

In: `docs/guide.md`. Out: the same page with the output of each block behind it, and its figures.

Theory. As in a notebook, the blocks share their names, and what the last line of a block is worth is shown.
A figure is an SVG that holds its data as text too: whether it is up to date is asked of the data, because the
same data are drawn otherwise by another version of matplotlib.

Never: writes prose.
"""

from __future__ import annotations

import ast
import html
import io
import json
import re
from collections.abc import Iterator
from contextlib import chdir, redirect_stdout
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "guide.md"
FIGURES = ROOT / "docs" / "guide"
BLOCK = re.compile(r"```python\n(.*?)```\n(?:\n```text\n.*?```\n|\n!\[[^\n]*\)\n)*", re.DOTALL)
DATA = re.compile(r"<dc:description>(.*?)</dc:description>", re.DOTALL)
DIGITS = 5
WIDTH = 110


def run() -> tuple[str, dict[Path, tuple[str, str]]]:
    """The page as it should be, and of each figure its file, its data and its SVG."""
    import matplotlib as mpl
    import pandas as pd

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "lockscope"
    names: dict[str, Any] = {}
    figures: dict[Path, tuple[str, str]] = {}

    def ran(found: re.Match[str]) -> str:
        code = found.group(1)
        parts = [f"```python\n{code}```\n"]
        if printed := _printed(code, names):
            parts.append(f"```text\n{printed}```\n")
        for title, data, drawn in _drawn():
            path = FIGURES / f"figure-{len(figures) + 1}.svg"
            figures[path] = data, drawn
            parts.append(f"![{title}](guide/{path.name})\n")
        return "\n".join(parts)

    # What the page sets of pandas' options ends with it.
    with chdir(ROOT), pd.option_context("display.width", WIDTH, "display.max_columns", 12):
        return BLOCK.sub(ran, PAGE.read_text(encoding="utf-8")), figures


def data_in(svg: str) -> str:
    """The data that a figure was drawn from."""
    found = DATA.search(svg)
    return html.unescape(found.group(1)) if found else ""


def write() -> int:
    """Write the page, and the figures whose data changed; how many files that were."""
    text, figures = run()
    PAGE.write_text(text, encoding="utf-8")
    FIGURES.mkdir(exist_ok=True)
    stale = {path: svg for path, (data, svg) in figures.items() if not _is_current(path, data)}
    for path, svg in stale.items():
        path.write_text(svg, encoding="utf-8")
    return 1 + len(stale)


def _is_current(path: Path, data: str) -> bool:
    return path.exists() and data_in(path.read_text(encoding="utf-8")) == data


def _printed(code: str, names: dict[str, Any]) -> str:
    """What a block prints, its last expression included."""
    body = ast.parse(code).body
    last = body[-1]
    with redirect_stdout(io.StringIO()) as out:
        exec(compile(ast.Module(body[:-1], []), PAGE.name, "exec"), names)
        if not isinstance(last, ast.Expr):
            exec(compile(ast.Module([last], []), PAGE.name, "exec"), names)
        else:
            value = eval(compile(ast.Expression(last.value), PAGE.name, "eval"), names)
            if value is not None:
                print(value)
    return "".join(f"{line.rstrip()}\n" for line in out.getvalue().splitlines())


def _drawn() -> Iterator[tuple[str, str, str]]:
    """Title, data and SVG of each figure that is open; they are closed."""
    import matplotlib.pyplot as plt

    for number in plt.get_fignums():
        figure = plt.figure(number)
        data = json.dumps([_axes(axes) for axes in figure.axes])
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Description": data, "Date": None, "Creator": None})
        plt.close(figure)
        text = "".join(f"{line.rstrip()}\n" for line in out.getvalue().splitlines())
        yield figure.axes[0].get_title(), data, text


def _axes(axes: Any) -> dict[str, Any]:
    """What is drawn in a figure, as numbers and words."""
    legend = axes.get_legend()
    return {
        "labels": [axes.get_title(), axes.get_xlabel(), axes.get_ylabel()],
        "legend": [text.get_text() for text in legend.get_texts()] if legend is not None else [],
        "lines": [_rounded(line.get_xydata()) for line in axes.lines],
        "points": [_rounded(each.get_offsets()) for each in axes.collections if len(each.get_offsets()) > 1],
        "areas": [_rounded(path.vertices) for each in axes.collections for path in each.get_paths()[:100]],
    }


def _rounded(values: Any) -> list[list[float]]:
    return [[float(f"{value:.{DIGITS}g}") for value in pair] for pair in values.tolist()]
