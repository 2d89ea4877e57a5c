"""What each program printed, and how many calls that is."""

from __future__ import annotations

import io
import json

from analyzer.benchmark import counts

TSHARK = b"""
==========================================================
ONC-RPC Program Statistics:
Program    Version  Calls    Min SRT    Max SRT    Avg SRT
Portmap(100000)  2     24   0.000020   0.000020   0.000020
NFS(100003)      3   8440   0.000020   0.000020   0.000020
NLM(100021)      4    188   0.000020   0.000020   0.000020
===================================================================
"""


def test_programs() -> None:
    assert counts.programs(io.BytesIO(TSHARK)) == 24 + 8440 + 188


def test_analyzed_counts_every_group_once() -> None:
    groups = {
        "nfs": 1,
        "nlm": 20,
        "nsm": 300,
        "mount": 4000,
        "portmap": 50000,
        "by_procedure": {"NFS3 READ": 7},
    }
    assert counts.analyzed(io.BytesIO(json.dumps({"counts": groups}).encode())) == 54321


def test_exported_counts_rows_of_calls() -> None:
    assert counts.exported(io.BytesIO(b"call_frame,reply_frame\n1,2\n,3\n4,\n")) == 2


def test_fields_counts_messages_that_are_calls() -> None:
    assert counts.fields(io.BytesIO(b"1\t0x1\t0\t100003\t1\n2\t0x1,0x2\t1,0\t100003\t1,6\n3\t\t\t\t\n")) == 2
