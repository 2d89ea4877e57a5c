"""The tables of a live run, written at its end.

In: a `View`, a folder. Out: one file for each table but `calls`, which is as long as the run.

Never: runs while packets come.
"""

from __future__ import annotations

from pathlib import Path

from analyzer.errors import AnalyzerError
from analyzer.render import rows
from analyzer.render.view import View


def made(folder: str) -> Path:
    """The folder, made where it is not there; raises where it cannot be, before the run."""
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AnalyzerError(f"{folder}: {error.strerror}") from None
    return path


def write_tables(view: View, folder: Path, style: str) -> None:
    """Write all tables."""
    from analyzer.render.arrow import from_rows
    from analyzer.render.output import binary_output
    from analyzer.render.tables import writer

    for name, table in rows.TABLES.items():
        with binary_output(str(folder / f"{name}.{style}")) as stream:
            out = writer(style, name, stream)
            out.write(from_rows(name, table(view)))
            out.close()
