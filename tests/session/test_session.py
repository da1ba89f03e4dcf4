"""A session starts what it needs, and leaves no process behind."""

import shutil

import psutil
import pytest
from nucleation_bluesky.contract.enums import Fault
from nucleation_bluesky.session.config import Configuration, InstrumentConfig, VirtualConfig
from nucleation_bluesky.session.session import Session, SessionError
from nucleation_bluesky.storage.disk import DiskNearlyFullError

pytestmark = pytest.mark.stack


def alive(pids):
    return [
        pid
        for pid in pids
        if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    ]


def configured(path, prefix, **changes):
    return Configuration(data_directory=path, instrument=InstrumentConfig(prefix=prefix, **changes))


def test_without_tiled_and_a_second_owner(tmp_path):
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    with Session(configured(tmp_path / "a", "T:SESSION:"), tiled=False) as session:
        started = {child.pid for child in psutil.Process().children(recursive=True)} - before
        assert session.virtual.pid in started
        assert session.server is None
        assert not session.wait_delivered()
        with pytest.raises(SessionError, match="runs without Tiled"):
            _ = session.catalog
        assert session.instrument.controller.owner.get() == session.owner
        lab, third = VirtualConfig(enabled=False), tmp_path / "c"
        other = configured(tmp_path / "b", "T:SESSION:", virtual=lab)
        with (
            pytest.raises((RuntimeError, ValueError, OSError), match="own"),
            Session(other, tiled=False),
        ):
            pass
        controller = session.instrument.controller
        assert controller.owner.get() == session.owner
        assert controller.fault.get() == int(Fault.NONE)  # nothing was tried on a living one
        session.heartbeat.stop()  # as a session that dies
        with Session(other, tiled=False) as heir:
            assert controller.owner.get() == heir.owner
            session.heartbeat.start()  # it was only suspended
            heir.heartbeat.stop()
            with Session(other.model_copy(update={"data_directory": third}), tiled=False) as last:
                assert controller.owner.get() == last.owner  # nobody beats for a dead heir
    assert alive(started) == []
    assert not list((tmp_path / "a" / "journal").glob("*.jsonl"))


def test_a_full_disk_is_noticed_before_anything_starts(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10**8))
    children = psutil.Process().children(recursive=True)
    with (
        pytest.raises(DiskNearlyFullError, match=r"0\.1 GB free.*choose another"),
        Session(configured(tmp_path / "full", "T:FULL:"), tiled=False),
    ):
        pass
    assert psutil.Process().children(recursive=True) == children
    assert not (tmp_path / "full").exists()
