"""The one exception a user sees.

In: what could not be done, and where (file, byte offset). Out: one line, no traceback.

Theory. Three kinds of wrong are kept apart: bytes of a capture never raise (they become
`faults`), a request that cannot be carried out raises `AnalyzerError`, anything else is a
bug of ours and looks like one.

Never: raised for what a capture holds after its first bytes.
"""

from __future__ import annotations


class AnalyzerError(Exception):
    """A request that cannot be carried out; `str()` of it is the line for the user."""
