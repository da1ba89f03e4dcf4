"""The exposure ledger: append-only, conservative about distances, recovers only the dead."""

import multiprocessing
import os
import signal
import sqlite3
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nucleation_bluesky.ledger import (
    ExposureState,
    Guard,
    Ledger,
    Position,
    Registration,
    SiteClaim,
    filesystem,
)
from nucleation_bluesky.ledger.errors import (
    BadPositionError,
    IllegalTransitionError,
    LedgerCorruptError,
    LedgerError,
    NetworkFileSystemError,
    SiteTooCloseError,
    SiteUsedError,
    UnknownSampleError,
    UnregisteredMountError,
)

NM = 1e-9


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite") as opened:
        opened.add_sample("licgc")
        opened.mount("licgc")
        yield opened


def site(x=0.0, y=0.0, **changes):
    fields = {"sample": "licgc", "epoch": 1, "x": x, "y": y, "owner": "me", "min_distance": 15 * NM}
    return SiteClaim(**(fields | changes))


def test_an_exposure_goes_forward_only(ledger):
    done = ledger.claim(site())
    ledger.energise(done.id)
    ledger.finish(done.id, {"termination": np.int64(2), "charge": np.nan, "token": done.token})
    burned = ledger.claim(site(x=20 * NM))
    ledger.burn(burned.id, "killed")
    for number, steps in (
        (done.id, (ledger.energise, ledger.finish, lambda n: ledger.burn(n, "no"))),
        (burned.id, (ledger.energise, ledger.finish, lambda n: ledger.burn(n, "no"))),
    ):
        for step in steps:
            with pytest.raises(IllegalTransitionError, match="never goes back"):
                step(number)
    claimed = ledger.claim(site(x=40 * NM))
    with pytest.raises(IllegalTransitionError):
        ledger.finish(claimed.id)
    assert [e.state for e in ledger.exposures("licgc")] == ["DONE", "BURNED", "CLAIMED"]
    assert ledger.exposure(done.id).detail == {
        "termination": 2,
        "charge": None,
        "token": done.token,
    }
    assert ledger.exposure(burned.id).detail == {"reason": "killed"}
    assert [state for state, _ in ledger.history(done.id)] == ["CLAIMED", "ENERGISED", "DONE"]


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE exposures SET x = 1",
        "DELETE FROM exposures",
        "UPDATE transitions SET state = 'CLAIMED'",
        "DELETE FROM transitions",
        "DELETE FROM mounts",
        "UPDATE samples SET sample = 'other'",
        "INSERT INTO transitions VALUES (NULL, 1, 'CLAIMED', 0.0, '{}')",
        "INSERT OR REPLACE INTO transitions VALUES (1, 1, 'ENERGISED', 0.0, '{}')",
        "INSERT OR REPLACE INTO exposures SELECT id, token, sample, epoch, area, frame, 9.0, y, "
        "position_uncertainty, u, v, uncertainty, technique, owner, time FROM exposures",
    ],
)
def test_the_database_itself_is_append_only(ledger, sql):
    first = ledger.claim(site())
    ledger.burn(first.id, "x")
    before = ledger.exposures()
    other = sqlite3.connect(ledger.path)
    with pytest.raises(sqlite3.IntegrityError):
        other.execute(sql)
    other.close()
    assert ledger.exposures() == before


def test_durability_is_full(ledger):
    assert ledger._db.query("PRAGMA synchronous") == [(2,)]
    assert ledger._db.query("PRAGMA journal_mode") == [("wal",)]


def test_a_used_site_is_refused_unless_the_plan_revisits(ledger):
    first = ledger.claim(site())
    with pytest.raises(SiteUsedError, match=rf"exposure {first.id}.*choose a fresh site"):
        ledger.claim(site())
    with pytest.raises(SiteUsedError):  # without any minimum distance too
        ledger.claim(site(min_distance=0.0))
    ledger.claim(site(exposures_per_site=2))
    with pytest.raises(SiteUsedError, match="exposed 2 time"):
        ledger.claim(site(exposures_per_site=2))
    assert len(ledger.exposures()) == 2


def test_a_burned_site_stays_used(ledger):
    ledger.burn(ledger.claim(site()).id, "killed")
    with pytest.raises(SiteUsedError):
        ledger.claim(site())


def test_minimum_distance_is_conservative(ledger):
    first = ledger.claim(site(position_uncertainty=3 * NM))
    with pytest.raises(SiteTooCloseError, match=rf"18\.0 nm from exposure {first.id}.*5\.0 nm"):
        ledger.claim(site(x=18 * NM, position_uncertainty=4 * NM))
    ledger.claim(site(x=20.1 * NM, position_uncertainty=4 * NM))
    ledger.claim(site(y=-15 * NM - 3 * NM))
    # a revisit of one's own site does not excuse a neighbour
    with pytest.raises(SiteTooCloseError):
        ledger.claim(site(x=9 * NM, y=0.0, exposures_per_site=5))


def test_pitch_equal_to_the_minimum_distance_passes(ledger):
    for k in range(30):
        ledger.claim(site(x=k * 15 * NM, y=0.7))


def test_remounting_needs_a_registration_or_a_new_area(ledger):
    ledger.claim(site(x=100 * NM))
    epoch = ledger.mount("licgc")
    with pytest.raises(UnregisteredMountError, match="1 exposures from earlier mounts"):
        ledger.claim(site(epoch=epoch, x=1.0))
    with pytest.raises(UnregisteredMountError):
        ledger.free([[0.0, 0.0]], sample="licgc")
    epoch = ledger.mount("licgc", Registration(dx=0, dy=50 * NM, angle=np.pi / 2))
    with pytest.raises(SiteUsedError):  # (50, -100) -> (100, 50) + (0, 50)
        ledger.claim(site(epoch=epoch, x=-50 * NM, y=-100 * NM))
    ledger.claim(site(epoch=epoch, x=100 * NM))  # lies at (0, 150) on the sample
    with pytest.raises(UnknownSampleError, match="mount 3, not 1"):
        ledger.claim(site(epoch=1, x=1.0))
    epoch = ledger.mount("licgc", "new_area")
    ledger.claim(site(epoch=epoch, x=100 * NM))


def test_registration_maps_points_as_documented():
    place = Registration(dx=1.0, dy=2.0, angle=np.pi / 2)
    assert np.allclose(place.apply([[1.0, 0.0], [0.0, 1.0]]), [[1.0, 3.0], [0.0, 2.0]])


def test_registration_uncertainty_counts(ledger):
    ledger.claim(site())
    epoch = ledger.mount("licgc", Registration(0, 0, uncertainty=10 * NM))
    with pytest.raises(SiteTooCloseError):
        ledger.claim(site(epoch=epoch, x=24 * NM))
    ledger.claim(site(epoch=epoch, x=25.5 * NM))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("field", ["x", "y", "position_uncertainty", "min_distance"])
def test_non_finite_positions_are_refused(field, bad):
    with pytest.raises(BadPositionError):
        site(**{field: bad})


def test_unknown_samples_are_refused(ledger):
    with pytest.raises(UnknownSampleError, match="add it first"):
        ledger.mount("other")
    with pytest.raises(UnknownSampleError):
        ledger.claim(site(sample="other"))


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    points=st.lists(
        st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=12, unique=True
    ),
    uncertainty=st.sampled_from([0.0, 2 * NM]),
    allowed=st.integers(1, 2),
)
def test_free_says_what_claim_would(tmp_path_factory, points, uncertainty, allowed):
    with Ledger(tmp_path_factory.mktemp("l") / "l.sqlite") as ledger:
        ledger.add_sample("licgc")
        ledger.mount("licgc")
        common = {
            "min_distance": 15 * NM,
            "position_uncertainty": uncertainty,
            "exposures_per_site": allowed,
        }
        for x, y in points[::2]:
            try:
                ledger.claim(site(x=x * 4 * NM, y=y * 4 * NM, **common))
            except (SiteUsedError, SiteTooCloseError):
                continue
        sites = np.array(points) * 4 * NM
        mask = ledger.free(sites, sample="licgc", **common)
        for free, (x, y) in zip(mask, sites, strict=True):
            with Ledger(tmp_path_factory.mktemp("c") / "l.sqlite") as copy:
                ledger._db._connection.backup(copy._db._connection)
                if free:
                    copy.claim(site(x=x, y=y, **common))
                else:
                    with pytest.raises((SiteUsedError, SiteTooCloseError)):
                        copy.claim(site(x=x, y=y, **common))


def test_two_processes_cannot_both_have_a_site(ledger):
    won, lost = [], []

    def take(owner):
        with Ledger(ledger.path) as mine:
            for k in range(20):
                try:
                    won.append(mine.claim(site(x=k * 20 * NM, owner=owner)).x)
                except SiteUsedError:
                    lost.append(k)

    threads = [threading.Thread(target=take, args=(f"owner{n}",)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(won) == len(set(won)) == 20
    assert len(lost) == 20


def _claim_and_wait(path, connection):
    ledger = Ledger(path)
    exposure = ledger.claim(site(x=1e-6, owner="child"))
    ledger.energise(exposure.id)
    connection.send(exposure.id)
    connection.recv()


def test_recovery_burns_only_claims_of_the_dead(ledger):
    mine = ledger.claim(site())
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=_claim_and_wait, args=(ledger.path, theirs))
    child.start()
    assert ours.poll(30)
    claimed = ours.recv()
    assert ledger.recover() == []
    os.kill(child.pid, signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, though not yet reaped
    burned = ledger.recover()
    child.join(10)
    assert [e.id for e in burned] == [claimed]
    assert "session 'child' ended" in burned[0].detail["reason"]
    assert ledger.exposure(mine.id).state is ExposureState.CLAIMED
    assert ledger.recover() == []
    ledger.release_lease("me")
    assert [e.id for e in ledger.recover()] == [mine.id]


def test_a_refused_claim_costs_no_lease(ledger):
    ledger.claim(site(owner="first"))
    with pytest.raises(SiteUsedError):
        ledger.claim(site(owner="second"))
    claimed = ledger.claim(site(x=1e-6, owner="second"))
    with Ledger(ledger.path) as other:
        assert other.recover() == []
    assert ledger.exposure(claimed.id).state is ExposureState.CLAIMED


def test_a_lease_of_another_host_counts_until_it_expires(ledger, monkeypatch):
    exposure = ledger.claim(site())
    monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")
    assert ledger.recover() == []
    later = __import__("time").time() + 3600
    monkeypatch.setattr("time.time", lambda: later)
    assert [e.id for e in ledger.recover()] == [exposure.id]


def test_reading_never_recovers_or_writes(ledger, tmp_path):
    ledger.claim(site())
    ledger.release_lease("me")
    with Ledger(ledger.path, read_only=True) as reader:
        assert [e.state for e in reader.exposures()] == ["CLAIMED"]
        with pytest.raises(LedgerError, match="reading only"):
            reader.recover()
        with pytest.raises(LedgerError, match="reading only"):
            reader.claim(site(x=1.0))
    with pytest.raises(LedgerError, match="there is no ledger"):
        Ledger(tmp_path / "absent.sqlite", read_only=True)
    assert not (tmp_path / "absent.sqlite").exists()


def test_damaged_or_foreign_files_are_refused(tmp_path, ledger):
    for k in range(300):
        ledger.claim(site(x=k * 20 * NM))
    ledger.close()
    content = bytearray(ledger.path.read_bytes())
    for page in range(4, len(content) // 4096, 3):
        content[page * 4096 : page * 4096 + 2000] = b"\xa5" * 2000
    ledger.path.write_bytes(content)
    with pytest.raises(LedgerCorruptError, match="damaged"):
        Ledger(ledger.path)
    (tmp_path / "text.sqlite").write_text("no database at all " * 100)
    with pytest.raises(LedgerCorruptError, match="damaged"):
        Ledger(tmp_path / "text.sqlite")
    other = sqlite3.connect(tmp_path / "other.sqlite")
    other.execute("CREATE TABLE t (a)")
    other.commit()
    other.close()
    with pytest.raises(LedgerCorruptError, match="not an exposure ledger"):
        Ledger(tmp_path / "other.sqlite")


def test_network_file_systems_are_refused(tmp_path, monkeypatch):
    class Partition:
        def __init__(self, mountpoint, fstype):
            self.mountpoint, self.fstype = mountpoint, fstype

    table = [Partition("/", "ext4"), Partition(str(tmp_path / "share"), "nfs4")]
    monkeypatch.setattr(filesystem.psutil, "disk_partitions", lambda **_: table)
    assert filesystem.filesystem_type(tmp_path / "x") == "ext4"
    with pytest.raises(NetworkFileSystemError, match=r"nfs4.*local disk"):
        Ledger(tmp_path / "share" / "sub" / "ledger.sqlite")
    Ledger(tmp_path / "shared.sqlite").close()


def test_guard_claims_where_the_tip_is(ledger):
    here = [Position(1e-6, 2e-6, 1e-9)]
    guard = Guard(ledger, "licgc", 1, "me", lambda: here[0], min_distance=15 * NM, technique="t")
    claim = guard.claim()
    assert len(claim.token) == 24
    assert set(claim.token) <= set("0123456789abcdef")
    guard.energised(claim)
    guard.finished(claim, {"termination": 1})
    record = ledger.exposure(claim.id)
    assert (record.x, record.y, record.position_uncertainty) == (1e-6, 2e-6, 1e-9)
    assert (record.token, record.technique, record.state) == (claim.token, "t", "DONE")
    with pytest.raises(SiteUsedError):
        guard.claim()


def test_an_exposure_without_an_event_is_burned_with_the_end_of_its_run(ledger):
    here = [Position(0.0, 0.0, 1e-9)]
    guard = Guard(ledger, "licgc", 1, "me", lambda: here[0], await_record=True)
    guard.recorded("start", {"uid": "a"})
    claims = []
    for k in range(2):
        here[0] = Position(k * 1e-6, 0.0, 1e-9)
        claims.append(guard.claim())
        guard.energised(claims[k])
        guard.finished(claims[k], {"termination": 1})

    def states():
        return [ledger.exposure(claim.id).state for claim in claims]

    guard.recorded("start", {"uid": "b"})  # a run within the run is not theirs
    guard.recorded("stop", {"run_start": "b"})
    assert states() == ["ENERGISED", "ENERGISED"]
    guard.recorded("event", {"data": {"tip_token": claims[0].token}})
    assert states() == ["DONE", "ENERGISED"]
    guard.recorded("stop", {"run_start": "a", "exit_status": "abort"})
    assert states() == ["DONE", "BURNED"]


def test_an_exposure_that_could_not_be_burned_is_tried_again(ledger, monkeypatch):
    guard = Guard(ledger, "licgc", 1, "me", lambda: Position(0.0, 0.0, 1e-9), await_record=True)
    claim = guard.claim()
    guard.energised(claim)
    guard.finished(claim)

    def full(*_):
        raise LedgerError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(ledger, "burn", full)
        guard.recorded("stop", {"run_start": "a"})
    assert ledger.exposure(claim.id).state == "ENERGISED"
    guard.recorded("stop", {"run_start": "b"})
    assert ledger.exposure(claim.id).state == "BURNED"
