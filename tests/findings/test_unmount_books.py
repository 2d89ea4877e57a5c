"""The books of mountd: each rule fires where they do not add up, and spares what merely looks so."""

import pytest

from analyzer.findings.rule import DEFINITE, INFO, LOW, POSSIBLE, PROBABLE
from tests.findings.lab import Lab
from tests.world import Exchange

# -- mount-count-imbalance ------------------------------------------------------------------------


def mounted_again(lab: Lab, times: int, close: bool = True, goodbye: bool = False) -> None:
    for _ in range(times):
        lab.mounted(lab.alice)
        if goodbye:
            lab.alice.umount(lab.export)
        if close:
            lab.alice.disconnect(lab.server)
        lab.world.wait(30)
    lab.mounted(lab.alice)


def test_mount_count_imbalance__fires_when_mounts_were_left_without_a_word(lab: Lab) -> None:
    mounted_again(lab, 3)
    lab.fires("mount-count-imbalance", client=lab.alice, export="/srv", severity=LOW, confidence=DEFINITE)


@pytest.mark.parametrize(
    ("times", "close", "goodbye"), [(1, True, False), (4, False, False), (4, True, True)]
)
def test_mount_count_imbalance__silent_about_few_or_live_mounts_and_goodbyes(
    lab: Lab, times: int, close: bool, goodbye: bool
) -> None:
    mounted_again(lab, times, close, goodbye)
    lab.silent("mount-count-imbalance")


# -- umnt-mismatch --------------------------------------------------------------------------------


def test_umnt_mismatch__fires_when_the_path_is_spelt_otherwise(lab: Lab) -> None:
    lab.mounted(lab.alice)
    umnt = lab.alice.umount(lab.export, path="//srv/./")
    lab.fires("umnt-mismatch", umnt, client=lab.alice, severity=LOW, confidence=PROBABLE)


def test_umnt_mismatch__fires_when_it_comes_from_another_address(lab: Lab) -> None:
    lab.mounted(lab.alice)
    second = lab.world.host("alice", lab.bystander.address, transport=lab.alice.transport)
    umnt = second.umount(lab.export)
    lab.fires("umnt-mismatch", umnt, client=second, severity=LOW)


@pytest.mark.parametrize("path", ["/srv", "/srv/", "/data", "/srv/sub"])
def test_umnt_mismatch__silent_about_slashes_and_mounts_never_seen(lab: Lab, path: str) -> None:
    lab.mounted(lab.alice)
    lab.alice.umount(lab.export, path=path)
    lab.silent("umnt-mismatch")


def test_umnt_mismatch__silent_when_another_host_has_it(lab: Lab) -> None:
    lab.mounted(lab.alice)
    lab.bob.umount(lab.export)
    lab.silent("umnt-mismatch")


# -- rmtab-stale-entry ----------------------------------------------------------------------------


@pytest.mark.parametrize("by_name", [True, False])
def test_rmtab_stale_entry__fires_when_the_list_shows_who_left(lab: Lab, by_name: bool) -> None:
    lab.mounted(lab.alice)
    umnt = lab.alice.umount(lab.export)
    lab.world.wait(60)
    dump = lab.bob.dump(lab.server, [("alice" if by_name else lab.alice.address, "/srv")])
    lab.fires("rmtab-stale-entry", umnt, dump, client=lab.alice, severity=LOW, confidence=PROBABLE)


def test_rmtab_stale_entry__silent_about_mounts_in_use(lab: Lab) -> None:
    lab.mounted(lab.alice)
    lab.mounted(lab.alice)
    lab.alice.umount(lab.export)
    lab.world.wait(60)
    lab.bob.dump(lab.server, [("alice", "/srv"), ("bob", "/srv")])
    lab.silent("rmtab-stale-entry", "umntall-ineffective")


def test_rmtab_stale_entry__silent_after_a_new_mount(lab: Lab) -> None:
    lab.mounted(lab.alice)
    lab.alice.umount(lab.export)
    lab.mounted(lab.alice)
    lab.world.wait(60)
    lab.bob.dump(lab.server, [("alice", "/srv")])
    lab.silent("rmtab-stale-entry")


def test_rmtab_stale_entry__silent_about_mounts_older_than_the_capture(lab: Lab) -> None:
    lab.alice.getattr(lab.export.file("db"))
    lab.mounted(lab.alice)
    lab.alice.umount(lab.export)
    lab.world.wait(60)
    lab.bob.dump(lab.server, [("alice", "/srv")])
    lab.silent("rmtab-stale-entry")


def test_rmtab_stale_entry__fires_softly_for_a_client_that_rebooted(lab: Lab) -> None:
    lab.mounted(lab.alice)
    lab.alice.boot()
    notice = lab.alice.notify(lab.server)
    lab.world.wait(60)
    dump = lab.bob.dump(lab.server, [(lab.alice.address, "/srv")])
    found = lab.fires(
        "rmtab-stale-entry",
        notice.replies[0],
        dump,
        client=lab.alice,
        export="/srv",
        severity=LOW,
        confidence=POSSIBLE,
    )
    assert found.caused_by == (lab.fires("mount-without-release").id,)


@pytest.mark.parametrize("when", ["mounted again", "listed before"])
def test_rmtab_stale_entry__silent_about_a_reboot_that_explains_nothing(lab: Lab, when: str) -> None:
    lab.mounted(lab.alice)
    if when == "listed before":
        lab.bob.dump(lab.server, [(lab.alice.address, "/srv")])
        lab.world.wait(60)
    lab.alice.boot()
    lab.alice.notify(lab.server)
    if when == "mounted again":
        lab.mounted(lab.alice)
        lab.world.wait(60)
        lab.bob.dump(lab.server, [(lab.alice.address, "/srv")])
    lab.silent("rmtab-stale-entry")


def looked_up(lab: Lab, hours: float, uses: bool = False, name: str = "") -> Exchange:
    """Carol uses /srv; alice looks up a port, and the list shows her after so many hours."""
    lab.mounted(lab.carol)
    lab.alice.getport(lab.server, 100005, 20048)
    lab.world.wait(3600 * hours)
    if uses:
        lab.alice.getattr(lab.export.file("db"))
    return lab.bob.dump(lab.server, [("carol", "/srv"), (name or lab.alice.address, "/srv")])


def test_rmtab_stale_entry__fires_softly_for_a_host_that_never_uses_it(lab: Lab) -> None:
    dump = looked_up(lab, 1.1)
    lab.fires("rmtab-stale-entry", dump, client=lab.alice, severity=LOW, confidence=POSSIBLE, export="/srv")


@pytest.mark.parametrize(
    ("hours", "uses", "name"),
    [
        pytest.param(0.9, False, "", id="too soon"),
        pytest.param(1.1, True, "", id="in use"),
        pytest.param(1.1, False, "dave", id="never seen"),
    ],
)
def test_rmtab_stale_entry__silent_about_idle_mounts(lab: Lab, hours: float, uses: bool, name: str) -> None:
    looked_up(lab, hours, uses, name)
    lab.silent("rmtab-stale-entry")


def test_rmtab_stale_entry__silent_where_nfs_is_not_in_the_capture(lab: Lab) -> None:
    lab.alice.getport(lab.server, 100005, 20048)
    lab.world.wait(4000)
    lab.bob.dump(lab.server, [(lab.alice.address, "/srv")])
    lab.silent("rmtab-stale-entry")


# -- umntall-ineffective --------------------------------------------------------------------------


def test_umntall_ineffective__fires_when_the_list_still_shows_the_client(lab: Lab) -> None:
    lab.mounted(lab.alice)
    umntall = lab.alice.umntall(lab.server)
    lab.world.wait(5)
    dump = lab.bob.dump(lab.server, [(lab.alice.address, "/srv")])
    sure = PROBABLE if lab.alice.transport == "udp" else DEFINITE  # a MNT may be missing without a trace
    lab.fires("umntall-ineffective", umntall, dump, client=lab.alice, severity=LOW, confidence=sure)
    lab.silent("rmtab-stale-entry")


def test_umntall_ineffective__fires_less_sure_when_packets_are_missing(linux: Lab) -> None:
    linux.mounted(linux.alice)
    linux.alice.umntall(linux.server)
    linux.alice.ping(linux.server, (100005, 3), 20048, captured=False)
    linux.alice.ping(linux.server, (100005, 3), 20048)
    linux.world.wait(5)
    linux.bob.dump(linux.server, [(linux.alice.address, "/srv")])
    linux.fires("umntall-ineffective", client=linux.alice, severity=LOW, confidence=PROBABLE)


@pytest.mark.parametrize("again", [True, False])
def test_umntall_ineffective__silent_when_it_is_gone_or_mounted_again(lab: Lab, again: bool) -> None:
    lab.mounted(lab.alice)
    lab.alice.umntall(lab.server)
    if again:
        lab.mounted(lab.alice)
    lab.world.wait(5)
    lab.bob.dump(lab.server, [("alice", "/srv")] if again else [("bob", "/srv")])
    lab.silent("umntall-ineffective")


def test_umntall_ineffective__fires_as_a_fact_at_a_linux_server(linux: Lab) -> None:
    umntall = linux.alice.umntall(linux.server)
    linux.mounted(linux.alice)
    linux.later(60)
    linux.fires(
        "umntall-ineffective",
        umntall,
        client=linux.alice,
        server=linux.server,
        severity=INFO,
        confidence=PROBABLE,
    )
    linux.clean()


def test_umntall_ineffective__silent_when_a_list_shows_that_it_was_not(linux: Lab) -> None:
    linux.mounted(linux.alice)
    linux.alice.umntall(linux.server)
    linux.world.wait(5)
    linux.bob.dump(linux.server, [])
    linux.silent("umntall-ineffective")


@pytest.mark.parametrize("terrain", ["ganesha6", "opaque"])
def test_umntall_ineffective__silent_about_servers_that_are_not_linux(terrain: str) -> None:
    lab = Lab(terrain)
    lab.mounted(lab.alice)
    lab.alice.umntall(lab.server)
    lab.later(60)
    lab.silent("umntall-ineffective")


# -- mnt-unused -----------------------------------------------------------------------------------


def test_mnt_unused__fires_after_a_minute(lab: Lab) -> None:
    lab.alice.mount(lab.server, "/srv", use=False)
    lab.later(90)
    lab.fires(
        "mnt-unused", lab.alice.mnt, client=lab.alice, export="/srv", severity=INFO, confidence=PROBABLE
    )


def test_mnt_unused__silent_when_it_is_used_or_unmounted_or_young(lab: Lab) -> None:
    lab.mounted(lab.alice)
    lab.bob.mount(lab.server, "/srv", use=False)
    lab.bob.umount(lab.export)
    lab.later(90)
    lab.carol.mount(lab.server, "/srv", use=False)
    lab.later(20)
    lab.silent("mnt-unused")
