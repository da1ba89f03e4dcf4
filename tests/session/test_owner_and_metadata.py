"""One session per instrument; metadata that outlive the session; the baseline."""

import os
import subprocess
import sys

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.plans import count
from nucleation_bluesky.callbacks.journal_codec import CodecError
from nucleation_bluesky.session.baseline import baseline
from nucleation_bluesky.session.lock import InstrumentInUseError, InstrumentLock
from nucleation_bluesky.session.persistent import PersistentMetadata
from ophyd.sim import det1, motor

HOLDER = """
import sys, time
from pathlib import Path
from nucleation_bluesky.session.lock import InstrumentLock
lock = InstrumentLock(Path(sys.argv[1]), "NB:AFM:", "other-session")
print("held", flush=True)
time.sleep(float(sys.argv[2]))
"""


def holder(directory, seconds):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(directory), str(seconds)], stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"held\n"
    return process


def test_a_second_session_is_refused_until_the_first_is_gone(tmp_path):
    process = holder(tmp_path, 60)
    try:
        with pytest.raises(InstrumentInUseError) as caught:
            InstrumentLock(tmp_path, "NB:AFM:", "mine")
        sentence = str(caught.value)
        assert "owned by session other-session" in sentence
        assert f"process {process.pid}" in sentence
        InstrumentLock(tmp_path, "NB:SECCM:", "mine").release()  # another instrument
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    InstrumentLock(tmp_path, "NB:AFM:", "mine").release()  # no stale lock after kill -9


def test_patience_outlasts_a_session_that_closes(tmp_path):
    process = holder(tmp_path, 1.0)
    lock = InstrumentLock(tmp_path, "NB:AFM:", "mine", patience=20.0)
    lock.release()
    process.wait()
    process.stdout.close()


def test_metadata_are_there_again(tmp_path):
    path = tmp_path / "metadata.json"
    configured = {"sample": "a", "nucleation": {"family": "afm"}}
    first = PersistentMetadata(path, configured)
    engine = RunEngine(first)
    engine(count([]))
    engine.md["proposal"] = "4711"
    engine.md["grid"] = np.arange(3)
    engine.md["sample"] = "changed by hand"
    second = PersistentMetadata(path, {"sample": "b"})
    assert second["scan_id"] == 1
    assert second["proposal"] == "4711"
    assert list(second["grid"]) == [0, 1, 2]
    assert second["sample"] == "b"  # the configuration decides
    assert "nucleation" not in second
    del second["proposal"]
    assert "proposal" not in PersistentMetadata(path, {})


def test_what_cannot_be_kept_is_refused(tmp_path):
    kept = PersistentMetadata(tmp_path / "metadata.json", {})
    with pytest.raises(CodecError):
        kept["thing"] = object()
    assert "thing" not in kept


def test_damaged_metadata_are_named(tmp_path):
    path = tmp_path / "metadata.json"
    PersistentMetadata(path, {})["a"] = 1
    path.write_bytes(path.read_bytes()[:-9] + b"xx" + path.read_bytes()[-7:])
    with pytest.raises(ValueError, match=r"metadata\.json is damaged .* move it away"):
        PersistentMetadata(path, {})


def events(documents, stream):
    uids = {d["uid"] for n, d in documents if n == "descriptor" and d["name"] == stream}
    return [d for n, d in documents if n == "event" and d["descriptor"] in uids]


def test_baseline_at_both_ends():
    engine, documents = RunEngine({}, context_managers=[]), []
    engine.preprocessors.append(baseline([motor]))
    engine.subscribe(lambda name, doc: documents.append((name, doc)))
    engine(count([det1], num=2))
    assert len(events(documents, "baseline")) == 2
    assert "motor" in events(documents, "baseline")[0]["data"]


def test_a_lost_controller_does_not_hide_the_cause():
    class Gone:
        name, parent, hints = "gone", None, {}
        calls = 0

        def read(self):
            type(self).calls += 1
            if self.calls > 1:
                raise TimeoutError("the controller is gone")
            return {"gone": {"value": 1.0, "timestamp": 0.0}}

        def describe(self):
            return {"gone": {"source": "", "dtype": "number", "shape": []}}

        def read_configuration(self):
            return {}

        describe_configuration = read_configuration

    class Failing:
        name, parent = "failing", None

        def trigger(self):
            raise RuntimeError("the first cause")

        def read(self):
            return {}

        describe = read_configuration = describe_configuration = read

    engine, documents = RunEngine({}, context_managers=[]), []
    engine.preprocessors.append(baseline([Gone()]))
    engine.subscribe(lambda name, doc: documents.append((name, doc)))
    with pytest.raises(RuntimeError, match="the first cause"):
        engine(count([Failing()]))
    assert documents[-1][1]["reason"] == "the first cause"


def test_environment_variable_names_the_file(tmp_path, monkeypatch):
    from nucleation_bluesky.session import load_configuration  # noqa: PLC0415

    path = tmp_path / "lab.toml"
    path.write_text('operator = "Ada"\n')
    monkeypatch.setenv("NUCLEATION_CONFIG", os.fspath(path))
    assert load_configuration().operator == "Ada"


def test_worst_case_of_a_plan():
    from nucleation_bluesky.session.session_plans import worst_case  # noqa: PLC0415

    ramp = {"start": 0.0, "stop": -4.0, "sample_rate": 1000.0, "n_post": 5}
    one = worst_case({**ramp, "rate": 1.0, "rows": 1, "cols": 1})
    assert one >= 3 * 4 * 4005
    assert worst_case({**ramp, "rate": 1.0, "rows": 10, "cols": 20}) == 200 * one
    slow = worst_case({**ramp, "rates": [4.0, 1.0], "rows": 1, "cols": 1})
    assert slow == one  # the slowest sweep counts
    assert worst_case({**ramp, "rate": 1.0, "rows": 9, "cols": 9, "sites": [(0, 0)]}) == one
    assert worst_case({"gain": 1e9}) == 0
    assert worst_case({"rows": 3, "cols": 3, "rate": 1.0}) == 0  # of another family
