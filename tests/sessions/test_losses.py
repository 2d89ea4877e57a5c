"""What is missing of other connections between two hosts, as stretches of time."""

from __future__ import annotations

import pytest

from analyzer.sessions.losses import Losses
from analyzer.sessions.spans import NEAR, Spans
from tests.findings.lab import Lab
from tests.sessions.view import View

LONG, SHORT, LATE = (10, 90), (20, 30), (95, 99)
ASKED = [
    (0, 9, False),
    (0, 10, True),
    (40, 50, True),  # in the long one, behind the one that begins last before it
    (90, 91, True),
    (91, 94, False),
    (94, 95, True),
    (100, 200, False),
]


@pytest.mark.parametrize(("since", "until", "missed"), ASKED)
def test_a_loss_of_any_connection_to_the_service_counts(since: int, until: int, missed: bool) -> None:
    lab = Lab()
    lab.alice.lock(lab.mounted(lab.alice), 1)
    s = View(lab).s
    (lock,) = s.ledger.locks
    call = lock.request.call
    for flow, torn in enumerate((LONG, SHORT, LATE), start=1000):
        s.connections.torn[flow] = torn
        s.nlm_flows[flow] = [call, call]
    losses = Losses(s.connections, s.nlm_flows)
    assert losses.whole(call.flow, since, until)
    assert losses.missed(call, since, until) == missed


def test_a_clock_that_goes_back_hides_no_loss() -> None:
    spans = Spans()
    spans.add((1, 0), 9 * NEAR)
    spans.add((1, 0), 2 * NEAR)
    assert spans.between((1, 0), 2 * NEAR, 2 * NEAR)
    assert not spans.between((1, 0), 0, NEAR)
