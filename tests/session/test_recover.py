"""After a crash: the dead session's claims and journals are closed, the living one's are not."""

import json
import subprocess
import sys
import textwrap

import pytest
from nucleation_bluesky.callbacks.journal_reader import is_open, journals
from nucleation_bluesky.cli.app import app
from nucleation_bluesky.cli.recover import told
from nucleation_bluesky.ledger import ExposureState, Ledger
from nucleation_bluesky.session.recover import recover
from typer.testing import CliRunner

# a session that claims a site, starts a map of five and measures one; then waits to be killed
SESSION = textwrap.dedent("""
    import json, sys, time
    from pathlib import Path
    import event_model
    from nucleation_bluesky.callbacks.journal import Journal
    from nucleation_bluesky.ledger import Ledger, SiteClaim
    data = Path(sys.argv[1])
    ledger = Ledger(data / "ledger.sqlite")
    ledger.add_sample("s")
    try:
        ledger.current_mount("s")
    except LookupError:
        ledger.mount("s")
    except Exception as error:
        if type(error).__name__ not in ("UnknownSampleError", "UnregisteredMountError"):
            raise
        ledger.mount("s")
    owner = sys.argv[2]
    ledger.acquire_lease(owner)
    x = float(sys.argv[3])
    claim = ledger.claim(SiteClaim(sample="s", epoch=1, x=x, y=0.0, owner=owner, min_distance=1e-9))
    ledger.energise(claim.id)
    journal = Journal(data / "journal", session=owner)
    run = event_model.compose_run(metadata={"plan_name": "nucleation_map", "num_points": 5,
                                            "nucleation": {"family": "afm", "sample": "s"}})
    journal("start", run.start_doc)
    keys = {"x": {"source": "t", "dtype": "number", "shape": []}}
    stream = run.compose_descriptor(name="primary", data_keys=keys, object_keys={"r": ["x"]})
    journal("descriptor", stream.descriptor_doc)
    journal("event", stream.compose_event(data={"x": 1.0}, timestamps={"x": 0.0}))
    print(json.dumps({"uid": run.start_doc["uid"], "token": claim.token}), flush=True)
    time.sleep(300)
""")


@pytest.fixture
def session(tmp_path):
    started = []

    def start(owner, x):
        process = subprocess.Popen(
            [sys.executable, "-c", SESSION, str(tmp_path), owner, str(x)],
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        return process, json.loads(process.stdout.readline())

    yield start
    for process in started:
        process.kill()
        process.wait(10)
        process.stdout.close()


def test_only_what_is_dead_is_closed(tmp_path, session):
    dead, lost = session("dead", 0.0)
    _, kept = session("alive", 1e-6)
    dead.kill()
    dead.wait(10)
    found = recover(tmp_path)
    assert found.burned == [lost["token"]]
    assert found.closed == [lost["uid"]]
    assert found.alive == [kept["uid"]]
    assert [(r.uid, r.done, r.total) for r in found.resumable] == [(lost["uid"], 1, 5)]
    with Ledger(tmp_path / "ledger.sqlite", read_only=True) as ledger:
        states = {e.token: e.state for e in ledger.exposures("s")}
    assert states == {
        lost["token"]: ExposureState.BURNED, kept["token"]: ExposureState.ENERGISED,
    }  # fmt: skip
    assert sorted(is_open(p) for p in journals(tmp_path / "journal")) == [False, True]
    lines = " ".join(told(found))
    assert f"run resume {lost['uid'][:8]}" in lines
    again = recover(tmp_path)  # nothing is done twice
    assert (again.burned, again.closed, again.alive) == ([], [], [kept["uid"]])


def test_command_says_what_happened(tmp_path, session):
    dead, lost = session("dead", 0.0)
    dead.kill()
    dead.wait(10)
    result = CliRunner().invoke(
        app, ["recover", "--no-deliver", "-d", str(tmp_path)], terminal_width=300
    )
    assert result.exit_code == 0, result.output
    assert "1 site(s) of dead sessions burned" in result.output
    assert f"run {lost['uid']} of a dead session closed" in result.output
    assert "1 of 5 sites" in result.output
    nothing = CliRunner().invoke(app, ["recover", "-d", str(tmp_path / "empty")])
    assert "nothing to recover" in nothing.output


def test_damage_is_told_and_fails(tmp_path, session):
    dead, _ = session("dead", 0.0)
    dead.kill()
    dead.wait(10)
    recover(tmp_path)
    (path,) = journals(tmp_path / "journal")
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(bytes(raw))
    result = CliRunner().invoke(app, ["recover", "--no-deliver", "-d", str(tmp_path)])
    assert result.exit_code == 1
    assert "damaged" in result.output
