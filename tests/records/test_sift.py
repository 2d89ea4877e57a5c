"""Messages sorted out, against the same said in masks."""

from __future__ import annotations

import numpy as np
import pytest

from analyzer.protocols.nfs3 import NFS
from analyzer.records.sift import LAST_PROCEDURE, PRIVACY, Sifter
from analyzer.tables import Messages, new_table


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("rows", [0, 1, 3000])
def test_every_message_goes_where_it_belongs(compiled: bool, rows: int) -> None:
    draw = np.random.default_rng(rows)
    m = new_table(Messages, rows)
    m.program[:] = draw.choice([NFS, NFS, NFS, NFS, 100021, -1], rows)
    m.version[:] = draw.choice([3, 3, 3, 2], rows)
    m.procedure[:] = draw.integers(-1, LAST_PROCEDURE + 2, rows)
    m.gss[:] = draw.choice([0, 0, 0, PRIVACY], rows)
    m.status[:] = draw.choice([0, 0, 0, -1, 1, 25], rows)
    m.reply[:] = draw.integers(0, 2, rows)
    m.call[:] = draw.integers(-1, 9, rows)
    m.body[:] = draw.integers(-1, 9, rows)

    usual = (m.program == NFS) & (m.version == 3) & (m.procedure > 0) & (m.procedure <= LAST_PROCEDURE)
    usual &= (m.gss != PRIVACY) & (m.status <= 0)
    asks = usual & (m.reply == 0)
    good = usual & (m.reply == 1) & (m.status == 0) & (m.call >= 0) & (m.body >= 0)

    sifted = Sifter(compiled)(m)
    assert sifted.rest.tolist() == np.flatnonzero(~usual).tolist()
    assert sifted.calls.tolist() == np.flatnonzero(asks & (m.body >= 0)).tolist()
    for procedure in range(LAST_PROCEDURE + 1):
        is_it = m.procedure == procedure
        assert sifted.asked[procedure] == np.count_nonzero(asks & is_it)
        assert sifted.good[procedure].tolist() == np.flatnonzero(good & is_it).tolist()
