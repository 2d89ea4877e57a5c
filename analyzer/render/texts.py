"""Columns of values from the wire as text that is safe to show.

In: `Texts`, as they were copied out of memory. Out: `Texts`.

Theory. Nearly all names are plain ASCII and stay as they are, which one look at all their bytes tells; hex
of values behind one another is their hex behind one another.

Never: looks at one value at a time where all are plain.
"""

from __future__ import annotations

import numpy as np

from analyzer.records.gather import Texts
from analyzer.render.clean import clean

BLANK, PRINTED = np.uint8(32), 95  # the first printing character of ASCII, and how many there are


def shown(texts: Texts) -> Texts:
    """The values as they are shown."""
    return hexed(texts) if texts.is_hex else cleaned(texts)


def hexed(texts: Texts) -> Texts:
    """The values in lower-case hex."""
    data = np.frombuffer(texts.data.tobytes().hex().encode(), np.uint8)
    return Texts(data, 2 * texts.offsets, False)


def cleaned(texts: Texts) -> Texts:
    """The values as text, what does not print as `clean` has it."""
    if (texts.data - BLANK < PRINTED).all():  # what is below wraps to the upper end
        return texts
    values = [clean(value).encode() for value in texts]
    offsets = np.zeros(len(values) + 1, np.int64)
    np.cumsum([len(value) for value in values], out=offsets[1:])
    return Texts(np.frombuffer(b"".join(values), np.uint8), offsets, False)
