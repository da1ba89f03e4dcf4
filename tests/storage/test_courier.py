"""Live delivery, faults of server and courier, idempotent replay; real processes throughout."""

import os
import signal
import subprocess
import sys
import threading
import time
from typing import ClassVar

import numpy as np
import psutil
import pyarrow as pa
import pytest
from fake_ramp import WIDTH, FakeRamp, ramp_plan, site_samples, wait_until, waveform
from nucleation_bluesky.callbacks.journal_reader import journals, read_journal
from nucleation_bluesky.storage import courier_process, server

pytestmark = pytest.mark.stack


def sequence(client, uid):
    base = client[uid].base["primary"].base
    return np.asarray(base["internal"].read(["seq_num"])["seq_num"])


def assert_equals_journal(house, uid, sites):
    (path,) = [p for p in journals(house.data / "journal") if uid in p.name]
    events = [doc for name, doc in read_journal(path) if name == "event"]
    client = house.client
    assert [key for key in client if key == uid] == [uid]
    assert len(events) == sites
    seq = sequence(client, uid)
    assert sorted(seq) == list(range(1, sites + 1))
    run = client[uid]
    table = run.base["primary"].base["internal"].read()
    order = np.argsort(seq)
    charge = np.asarray(table["ramp_charge"])[order]
    assert np.array_equal(charge, [e["data"]["ramp_charge"] for e in events])
    assert run.stop["num_events"] == {"primary": sites}
    for channel in ("bias", "current", "height"):
        rows = run["primary"][f"ramp_{channel}"].read()
        assert rows.shape == (sites, WIDTH)
        for site in range(sites):
            assert np.array_equal(rows[site, : site_samples(site)], waveform(channel, site))
            assert np.isnan(rows[site, site_samples(site) :]).all()


def in_thread(target):
    thread = threading.Thread(target=target)
    thread.start()
    return thread


class Spy:
    def __init__(self, run_engine):
        self.uid = ""
        self.times = {}
        run_engine.subscribe(self)

    def __call__(self, name, doc):
        if name == "start":
            self.uid, self.times = doc["uid"], {}
        elif name == "event":
            self.times[doc["seq_num"]] = time.monotonic()

    @property
    def longest_gap(self):
        return float(np.diff(list(self.times.values())).max())


@pytest.fixture(scope="module")
def spy(house):
    return Spy(house.RE)


def test_running_map_is_visible_and_lazy(house, spy):
    """Rows and waveform slices are there while the run, and its file, are still open."""
    plan = ramp_plan(FakeRamp(house.waveforms, rows=500), 150, 0.04)
    seen = []

    def watch():
        client = house.client
        while 150 not in spy.times:
            threading.Event().wait(0.2)
            try:
                run = client[spy.uid]
                count = len(sequence(client, spy.uid))
                array = run["primary"]["ramp_current"]
                row = array[count - 1 : count]
            except KeyError:
                continue
            assert "stop" not in run.metadata
            assert np.array_equal(row[0, : site_samples(count - 1)], waveform("current", count - 1))
            seen.append((count, time.monotonic() - spy.times[count]))

    watcher = in_thread(watch)
    (uid,) = house.RE(plan)
    watcher.join(30)
    assert seen
    assert seen[-1][0] > 20
    assert house.courier.wait_delivered([uid], 20)
    assert_equals_journal(house, uid, 150)
    run = house.client[uid]
    data = run["primary"].read()
    assert data["ramp_vertices"].shape == (150, 4)
    assert data["ramp_charge"].dtype == np.float64
    keys = run["primary"].metadata["data_keys"]
    assert keys["ramp_current"]["units"] == "A"
    assert [name for name, _ in run.documents()][-1] == "stop"


def test_server_frozen_then_killed_in_mid_run(house, spy):
    """The RunEngine does not notice; afterwards Tiled equals the journal, exactly once."""
    frozen = house.server_pid
    stages = []

    def disturb():
        wait_until(lambda: len(spy.times) >= 20, what="20 events")
        os.kill(frozen, signal.SIGSTOP)
        stages.append("frozen")
        wait_until(lambda: len(spy.times) >= 60, what="60 events")
        os.kill(frozen, signal.SIGCONT)
        wait_until(lambda: len(spy.times) >= 80, what="80 events")
        psutil.Process(frozen).kill()
        stages.append("killed")

    thread = in_thread(disturb)
    (uid,) = house.RE(ramp_plan(FakeRamp(house.waveforms), 110, 0.03))
    thread.join(60)
    assert stages == ["frozen", "killed"]
    assert len(spy.times) == 110
    assert spy.longest_gap < 5  # no request's deadline (10 s) was ever waited for
    assert house.courier.wait_delivered([uid], 60)
    house.info = server.ensure_server(house.data)
    assert house.server_pid != frozen
    assert_equals_journal(house, uid, 110)


def test_courier_killed_in_mid_run(house, spy):
    killed = []

    def disturb():
        wait_until(lambda: len(spy.times) >= 40, what="40 events")
        process = house.courier.process
        process.kill()
        killed.append(process.pid)

    thread = in_thread(disturb)
    (uid,) = house.RE(ramp_plan(FakeRamp(house.waveforms), 100, 0.03))
    thread.join(30)
    assert house.courier.wait_delivered([uid], 30)
    assert house.courier.process.pid != killed[0]
    assert_equals_journal(house, uid, 100)


def test_replay_twice_changes_nothing(house, spy):
    uid = spy.uid
    (path,) = [p for p in journals(house.data / "journal") if uid in p.name]
    node = house.client[uid]
    node.update_metadata({"kept": 1}, drop_revision=True)
    before = node.base["primary"].base["internal"].item["attributes"]
    for _ in range(2):
        house.courier.files.forget_delivery(path)
        assert house.courier.wait_delivered([uid], 20)
    after = house.client[uid]
    assert after.metadata["kept"] == 1
    assert after.base["primary"].base["internal"].item["attributes"] == before
    assert_equals_journal(house, uid, 100)


def test_duplicated_rows_are_rebuilt(house, spy):
    """A row too many in Tiled (an append that was applied twice) does not survive."""
    uid = spy.uid
    (path,) = [p for p in journals(house.data / "journal") if uid in p.name]
    table = house.client[uid].base["primary"].base["internal"]
    schema = table.structure().arrow_schema_decoded
    table.append_partition(0, pa.Table.from_pandas(table.read().iloc[:3], schema=schema))
    assert len(sequence(house.client, uid)) == 103
    house.courier.files.forget_delivery(path)
    assert house.courier.wait_delivered([uid], 20)
    assert_equals_journal(house, uid, 100)


def test_values_that_drift_in_type_lose_no_row(house):
    """Integers become floats, stray strings become NaN with a note, huge integers stay numbers."""
    ramp = FakeRamp(house.waveforms)
    ramp.overrides = {
        "charge": {0: 1, 5: "OVLD", 6: np.float32(0.5), 7: None},
        "n_post": {9: 2.5, 10: 2**63, 11: 2**80},
    }
    (uid,) = house.RE(ramp_plan(ramp, 14, 0.1))
    assert house.courier.wait_delivered([uid], 20)
    run = house.client[uid]
    table = run.base["primary"].base["internal"].read()
    assert list(table["seq_num"]) == list(range(1, 15))
    charge = table["ramp_charge"]
    assert charge[0] == 1
    assert np.isnan(charge[5])
    assert charge[6] == 0.5
    assert np.isnan(charge[7])
    assert charge.dtype == np.float64
    assert list(table["ramp_n_post"])[8:12] == [0, 2.5, float(2**63), float(2**80)]
    assert any("'OVLD'" in note and "seq_num 6" in note for note in run.metadata["notes"])


def test_poison_run_is_set_aside_and_blocks_no_other(house, tmp_path):
    directory = house.data / "journal"
    good = journals(directory)[0]
    lines = good.read_bytes().splitlines(keepends=True)
    poison = directory / "20000101T000000Z_poison.jsonl"
    poison.write_bytes(b"".join([*lines[:3], b'{"crc":"00000000",garbage}\n', *lines[3:]]))
    wait_until(lambda: house.courier.files.quarantined(poison), what="quarantine")
    assert "damaged" in house.courier.files.quarantined(poison)
    (uid,) = house.RE(ramp_plan(FakeRamp(house.waveforms), 3))
    assert house.courier.wait_delivered([uid], 20)
    poison.unlink()


def test_unsafe_file_location_is_refused(house):
    ramp = FakeRamp(house.waveforms / ".." / "waveforms")
    (uid,) = house.RE(ramp_plan(ramp, 2))
    (path,) = [p for p in journals(house.data / "journal") if uid in p.name]
    wait_until(lambda: house.courier.files.quarantined(path), 60, "quarantine")
    assert ".." in house.courier.files.quarantined(path)


def test_no_key_in_logs_or_process_list(house):
    key = house.info.api_key
    assert key not in repr(house.info)
    assert key not in server.ServerFiles(house.data).log.read_text()
    assert key not in house.courier.log.read_text()
    for pid in (house.server_pid, house.courier.process.pid):
        assert key not in " ".join(psutil.Process(pid).cmdline())
    home = server.ServerFiles(house.data).home
    assert (home / "api_key").stat().st_mode & 0o077 == 0
    assert key not in (home / "config.yml").read_text()


def test_a_courier_that_keeps_ending_is_started_ever_more_seldom(tmp_path, monkeypatch, caplog):
    pauses = [courier_process.WATCH / 2]
    for _ in range(8):
        pauses.append(courier_process.next_pause(pauses[-1], lived=0.5))
    assert pauses[1:] == [1, 2, 4, 8, 16, 30, 30, 30]
    assert courier_process.next_pause(30, lived=3600.0) == 1

    class Ending(courier_process.CourierProcess):
        starts = 0
        asked: ClassVar[list[float]] = []
        enough = threading.Event()

        def _spawn(self):
            self.starts += 1
            if self.starts == 3:
                raise OSError(12, "no memory")
            if self.starts > 5:
                self.enough.set()
            return subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])

    real = courier_process.next_pause
    monkeypatch.setattr(courier_process, "WATCH", 0.02)
    monkeypatch.setattr(
        courier_process, "next_pause", lambda p, lived: Ending.asked.append(p) or real(p, lived)
    )
    ending = Ending(tmp_path)
    assert ending.enough.wait(60)
    ending.release()
    assert Ending.asked[:4] == pytest.approx([0.01, 0.02, 0.04, 0.08])
    said = [record.getMessage() for record in caplog.records]
    assert len([line for line in said if "ended with code 3" in line]) == 1
    assert str(ending.log) in said[0]
    assert len([line for line in said if "cannot be started" in line]) == 1
