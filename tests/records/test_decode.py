"""Messages to calls and replies: who, what, whose answer, in whatever block it comes."""

from __future__ import annotations

import pytest

from analyzer.faults import Fault
from analyzer.protocols.mount import MOUNT
from analyzer.protocols.nfs3 import NFS
from analyzer.protocols.nlm import NLM
from analyzer.protocols.nsm import NSM
from analyzer.records.events import Call, Reply
from tests.findings.lab import TERRAINS, Lab
from tests.records.stream import Stream
from tests.world import MOUNTD, NFSD


@pytest.fixture(params=TERRAINS)
def lab(request: pytest.FixtureRequest) -> Lab:
    return Lab(request.param)


def test_a_call_as_sent_and_the_reply_to_it(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lock = lab.alice.lock(db, -5, 2**63, 2**62, reply="DENIED", exclusive=True, block=False)
    stream = Stream(lab)
    call = next(call for call in stream.of(Call) if call.program == NLM)
    assert (stream.address(call.src), stream.address(call.dst)) == (lab.alice.address, lab.server.address)
    assert (call.frame, call.dport, call.version, call.procedure) == (lock.frame, lab.server.lockd, 4, 2)
    assert (call.machine, call.uid) == (b"alice", 0)
    assert call.args == {
        "cookie": lock.args["cookie"],
        "block": 0,
        "exclusive": 1,
        "caller_name": b"alice",
        "fh": db.handle,
        "oh": b"-5@alice",
        "svid": -5,
        "l_offset": 2**63,
        "l_len": 2**62,
        "reclaim": 0,
        "state": 3,
    }
    (reply,) = [reply for reply in stream.of(Reply) if reply.call is call]
    assert (reply.frame, reply.status, reply.result["status"]) == (lock.reply_frame, 0, 1)


def test_a_reply_finds_its_call_in_whatever_block_it_comes(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    locks = [lab.alice.lock(db, svid, svid, 1) for svid in range(3)]
    stream = Stream(lab, rows=1)
    replies = [reply for reply in stream.of(Reply) if reply.call.program == NLM]
    assert [(reply.call.frame, reply.frame) for reply in replies] == [(k.frame, k.reply_frame) for k in locks]
    assert all(reply.call in stream.of(Call) for reply in replies)


def test_lists_come_as_lists(lab: Lab) -> None:
    entries = [("alice", "/srv"), ("bob", "/mail")]
    lab.alice.dump(lab.server, entries)
    lab.bob.dump(lab.server, [])
    one, none = (reply.result["mounts"] for reply in Stream(lab).of(Reply))
    assert [(e["hostname"].decode(), e["dirpath"].decode()) for e in one] == entries
    assert none == []


def test_copies_name_the_first(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lock = lab.alice.lock(db, 1, reply=None)
    lock.again().again()
    lock.answer("GRANTED", copy=0)
    lock.answer("GRANTED", copy=2)
    calls = [call for call in Stream(lab).of(Call) if call.program == NLM]
    first = calls[0].serial
    assert [call.retransmit_of for call in calls] == [-1, first, first]


@pytest.mark.parametrize("error", [1, 2, 3, 4, 5, 21, 25, 34])
def test_what_rpc_refuses(lab: Lab, error: int) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1, error=error)
    reply = Stream(lab).of(Reply)[-1]
    assert (reply.status, reply.result) == (error, {})
    assert (reply.low, reply.high) == ((3, 4) if error == 2 else (-1, -1))


def test_a_refused_nfs_call_is_told_with_what_its_reply_knows(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    asked = lab.alice.getattr(db, error=21)
    stream = Stream(lab)
    reply = stream.of(Reply)[-1]
    assert reply.status == 21
    call = reply.call
    assert (call.program, call.procedure, call.frame) == (NFS, 1, asked.frame)
    assert stream.address(call.src) == lab.alice.address


def test_a_procedure_that_is_not_declared(lab: Lab) -> None:
    lab.alice.call(lab.server, (NFS, 3), 99, {}, port=NFSD, transport="tcp", body=b"\1\2\3\4", error=3)
    lab.alice.call(lab.server, (MOUNT, 9), 1, {}, port=MOUNTD, body=b"\1\2\3\4", error=2)
    stream = Stream(lab)
    assert [(c.program, c.version, c.procedure, c.args) for c in stream.of(Call)] == [
        (NFS, 3, 99, {}),
        (MOUNT, 9, 1, {}),
    ]
    assert [reply.status for reply in stream.of(Reply)] == [3, 2]


def test_arguments_that_do_not_decode_are_kept_as_far_as_they_go_and_counted(lab: Lab) -> None:
    cookie = b"\0\0\0\4abcd"
    lab.alice.call(lab.server, (NLM, 4), 2, {}, port=lab.server.lockd, body=cookie + b"\xff" * 8, error=4)
    stream = Stream(lab)
    (call,) = stream.of(Call)
    assert call.fault >= 0
    assert call.args["cookie"] == b"abcd"
    assert "fh" not in call.args
    assert stream.engine.faults.count[Fault(call.fault)] == 1
    assert stream.engine.faults.first_frame[Fault(call.fault)] == call.frame


def test_calls_are_counted_by_procedure_every_copy(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1).again()
    lab.alice.notify(lab.server)
    counts = Stream(lab).engine.records.counts
    assert counts == {(MOUNT, 3, 1): 1, (NFS, 3, 19): 1, (NFS, 3, 3): 1, (NLM, 4, 2): 2, (NSM, 1, 6): 1}


def test_the_handle_of_a_callback_is_that_of_the_server_that_calls(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.bob.wait_for(db, 1)
    lab.server.granted(lab.bob, db, 1)
    calls = {call.procedure: call.fh for call in Stream(lab).of(Call) if call.program == NLM}
    assert calls[2] == calls[10] >= 0


def test_machine_names_in_nfs_traffic_name_hosts(lab: Lab) -> None:
    lab.alice.getattr(lab.export.file("db"))
    stream = Stream(lab)
    assert not stream.of(Call)
    assert list(stream.engine.sessions.hosts.names.values()) == [[b"alice"]]


@pytest.mark.parametrize("rows", [1, 3, 1 << 16])
def test_events_come_in_the_order_of_the_wire(lab: Lab, rows: int) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    lab.bob.wait_for(db, 1)
    lab.alice.umount(lab.export)
    frames = [event.frame for event in Stream(lab, rows).events if isinstance(event, Call | Reply)]
    assert frames == sorted(frames)
    assert len(frames) >= 10
