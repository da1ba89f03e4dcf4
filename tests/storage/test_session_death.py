"""A session killed with -9: its run is closed and delivered, and no process stays behind."""

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from fake_ramp import wait_until
from nucleation_bluesky.callbacks.journal_reader import is_open, journals
from nucleation_bluesky.storage import server
from nucleation_bluesky.storage.courier_files import CourierFiles
from nucleation_bluesky.storage.read import load_ramps
from nucleation_bluesky.storage.runs import open_run
from nucleation_bluesky.storage.server_files import ServerFiles

pytestmark = pytest.mark.stack
SESSION = Path(__file__).with_name("fake_ramp.py")


def test_killed_session(tmp_path):
    command = [sys.executable, str(SESSION), str(tmp_path), "100000", "--courier"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as session:
        for line in session.stdout:
            if line.startswith("event 12"):
                break
        session.send_signal(signal.SIGKILL)
    (path,) = journals(tmp_path / "journal")
    assert is_open(path)
    files = CourierFiles(tmp_path / "journal")
    wait_until(lambda: files.delivered(path), 100, "delivery")
    courier = files.status()["pid"]
    info = server.ensure_server(tmp_path)
    run = open_run(server.connect(info), -1)
    assert run.stop["exit_status"] == "abort"
    assert run.stop["reason"].startswith("crash")
    ramps = load_ramps(run)
    assert ramps.n_sites == run.stop["num_events"]["primary"] >= 12
    pid = ServerFiles(tmp_path).state().owner["pid"]
    server.release_server(tmp_path)
    wait_until(lambda: not psutil.pid_exists(courier), 30, "end of the courier")
    gone = {psutil.STATUS_ZOMBIE}
    wait_until(
        lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() in gone,
        30,
        "end of the server",
    )
