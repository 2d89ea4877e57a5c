from __future__ import annotations

from analyzer.protocols.named import KLM1, NFS2, NFS4, RQUOTA1, RQUOTA2, STAT_CB1


def test_names_stand_at_their_numbers() -> None:
    assert NFS2.procedures[17].name == "STATFS"
    assert NFS2.procedures[8].name == "WRITE"
    assert NFS4.procedures[1].name == "COMPOUND"
    assert RQUOTA1.procedures[1].name == RQUOTA2.procedures[1].name == "GETQUOTA"
    assert KLM1.procedures[4].name == "UNLOCK"
    assert STAT_CB1.procedures[1].name == "MON_CALLBACK"


def test_nothing_of_them_is_decoded() -> None:
    for program in (NFS2, NFS4, RQUOTA1, RQUOTA2, KLM1, STAT_CB1):
        assert all(each.call is None and each.reply is None for each in program.procedures.values())
