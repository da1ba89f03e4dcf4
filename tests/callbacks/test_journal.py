"""The journal under a real RunEngine: complete, first, fatal on failure, recoverable."""

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from bluesky import plans as bp
from bluesky.preprocessors import set_run_key_wrapper
from event_model import DocumentNames, schema_validators
from nucleation_bluesky.callbacks import journal as journal_module
from nucleation_bluesky.callbacks.journal import FORMAT, Journal, JournalError
from nucleation_bluesky.callbacks.journal_codec import encode
from nucleation_bluesky.callbacks.journal_reader import (
    JournalDamagedError,
    JournalReader,
    is_open,
    journals,
    read_journal,
)
from nucleation_bluesky.callbacks.journal_recovery import (
    OwnerAliveError,
    close_journal,
    recover,
)
from nucleation_bluesky.ledger.errors import NetworkFileSystemError
from ophyd.sim import SynAxis, det


def lists(value):
    """Tuples as lists, arrays as they are."""
    if isinstance(value, dict):
        return {key: lists(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [lists(item) for item in value]
    return value


@pytest.fixture
def engine(tmp_path):
    run_engine = RunEngine({})
    run_engine.journal = Journal(tmp_path / "journal", session="me")
    run_engine.journal.attach(run_engine)
    return run_engine


def test_every_document_is_there(engine, tmp_path):
    seen = []
    engine.subscribe(lambda name, doc: seen.append((name, doc)))
    (uid,) = engine(bp.scan([det], SynAxis(name="m"), 0, 1, 7))
    (path,) = journals(tmp_path / "journal")
    assert uid in path.name
    assert not is_open(path)
    assert [(n, lists(d)) for n, d in seen] == list(read_journal(path))
    assert path.stat().st_mode & 0o777 == 0o600
    assert not list((tmp_path / "journal").glob(".*.reserve"))


def test_a_running_run_can_be_followed(engine, tmp_path):
    counts = []

    def follow(name, doc):
        (path,) = journals(tmp_path / "journal")
        counts.append(sum(n == "event" for n, _ in read_journal(path)))

    engine.subscribe(follow, "event")
    engine(bp.count([det], 4))
    assert counts == [1, 2, 3, 4]


def test_interleaved_runs_go_to_their_own_files(engine, tmp_path):
    def plan():
        yield from set_run_key_wrapper(bps.open_run({"which": "a"}), "a")
        yield from set_run_key_wrapper(bps.open_run({"which": "b"}), "b")
        for key in "aba":
            yield from set_run_key_wrapper(bps.trigger_and_read([det]), key)
        yield from set_run_key_wrapper(bps.close_run(), "a")
        yield from set_run_key_wrapper(bps.close_run(), "b")

    engine(plan())
    events = {}
    for path in journals(tmp_path / "journal"):
        documents = list(read_journal(path))
        which = documents[0][1]["which"]
        events[which] = sum(name == "event" for name, _ in documents)
        assert documents[-1][0] == "stop"
    assert events == {"a": 2, "b": 1}


def test_must_be_first(tmp_path):
    run_engine = RunEngine({})
    run_engine.subscribe(lambda *_: None)
    with pytest.raises(JournalError, match="first subscriber"):
        Journal(tmp_path).attach(run_engine)


def test_network_file_system_is_refused(tmp_path, monkeypatch):
    def refuse(path, what):
        raise NetworkFileSystemError(f"{what} cannot live in {path}")

    monkeypatch.setattr(journal_module, "require_local_filesystem", refuse)
    with pytest.raises(JournalError, match="cannot live"):
        Journal(tmp_path)


def test_unrecordable_metadata_stops_the_run_before_it_begins(engine, tmp_path):
    moved = []
    axis = SynAxis(name="m", readback_func=lambda v: moved.append(v) or v)
    moved.clear()
    with pytest.raises(TypeError):
        engine(bp.scan([det], axis, 0, 1, 3, md={"bad": np.array([object()])}))
    assert not moved
    assert not journals(tmp_path / "journal")


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from bluesky import RunEngine, plan_stubs as bps
from ophyd.sim import det
from nucleation_bluesky.callbacks.journal import Journal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
directory = Path(sys.argv[1])
RE = RunEngine({})
Journal(directory).attach(RE)
sites = []
def plan():
    yield from bps.open_run()
    for site in range(3000):
        sites.append(site)
        yield from bps.trigger_and_read([det])
    yield from bps.close_run()
resource.setrlimit(resource.RLIMIT_FSIZE, (270_000, 270_000))
import nucleation_bluesky.callbacks.journal as j
try:
    RE(plan())
except Exception as error:
    print(type(error).__name__, error)
print("sites", len(sites))
"""


def test_full_disk_stops_the_run(tmp_path):
    """The write limit of a process stands for a full disk: the next site is not begun."""
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "JournalError" in done.stdout
    assert "free space" in done.stdout
    tried = int(done.stdout.split("sites")[-1])
    (path,) = journals(tmp_path)
    events = sum(name == "event" for name, _ in read_journal(path))
    assert 0 < events < 3000
    assert tried <= events + 2


def dead_session(tmp_path, code="os.kill(os.getpid(), signal.SIGKILL)"):
    """A process that dies with a run open after 5 events."""
    script = f"""
    import os, signal, sys
    from bluesky import RunEngine, plan_stubs as bps
    from ophyd.sim import det
    from nucleation_bluesky.callbacks.journal import Journal
    RE = RunEngine({{}})
    Journal({str(tmp_path)!r}).attach(RE)
    def end(name, doc):
        if doc["seq_num"] == 5:
            {code}
    RE.subscribe(end, "event")
    def plan():
        yield from bps.open_run()
        for _ in range(10):
            yield from bps.trigger_and_read([det])
        yield from bps.close_run()
    RE(plan())
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    return subprocess.run(command, timeout=60, check=False).returncode


def test_a_killed_session_is_closed_once(tmp_path):
    assert dead_session(tmp_path) == -signal.SIGKILL
    (path,) = journals(tmp_path)
    assert is_open(path)
    with path.open("ab") as file:
        file.write(b'{"crc":"0123abcd","name":"eve')  # a write that the crash tore
    (closed,) = recover(tmp_path)
    documents = list(read_journal(closed.path))
    assert [name for name, _ in documents].count("event") == 5
    stop = documents[-1][1]
    assert stop["exit_status"] == "abort"
    assert stop["reason"].startswith("crash")
    assert stop["num_events"] == {"primary": 5}
    assert stop["run_start"] == documents[0][1]["uid"]
    schema_validators[DocumentNames.stop].validate(stop)
    assert recover(tmp_path) == []


def test_a_living_session_is_left_alone(engine, tmp_path):
    refused = []

    def look(name, doc):
        (path,) = journals(tmp_path / "journal")
        assert recover(tmp_path / "journal") == []
        with pytest.raises(OwnerAliveError):
            close_journal(path, "no")
        refused.append(path)

    engine.subscribe(look, "event")
    engine(bp.count([det], 2))
    assert len(refused) == 2


def test_damage_before_the_end_is_an_error(engine, tmp_path):
    engine(bp.count([det], 3))
    (path,) = journals(tmp_path / "journal")
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    with pytest.raises(JournalDamagedError, match="damaged at byte"):
        list(read_journal(path))


def test_torn_last_line_waits(engine, tmp_path):
    engine(bp.count([det], 3))
    (path,) = journals(tmp_path / "journal")
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    with JournalReader(path) as reader:
        documents = reader.read()
        assert documents[-1][0] == "event"
        with Path(path).open("ab") as file:
            file.write(whole[-20:])
        assert reader.read()[0][0] == "stop"


def test_a_damaged_journal_does_not_keep_the_others_open(tmp_path):
    dead_session(tmp_path)
    (sound,) = journals(tmp_path)
    content = sound.read_bytes()
    lines = content.splitlines(keepends=True)
    damaged = sound.with_name(f"0{sound.name}")  # comes first
    damaged.write_bytes(lines[0] + lines[1].replace(b"start", b"stagt") + b"".join(lines[2:]))
    nameless = sound.with_name(f"1{sound.name}")
    nameless.write_bytes(encode("header", {"format": FORMAT, "version": 1, "owner": {}}))
    assert [closed.path.name for closed in recover(tmp_path)] == [sound.name.replace(".open", "")]
    assert is_open(damaged)
    assert damaged.exists()
    assert nameless.exists()
