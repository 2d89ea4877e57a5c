"""`python -m analyzer` is `lockscope`."""

from analyzer.cli import run

run()
