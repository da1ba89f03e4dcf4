"""Rows are appended while other clients read the same tables; a request that hangs ends alone."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import duckdb
import httpx
import numpy as np
import psutil
import pyarrow as pa
import pytest
from nucleation_bluesky.storage import server, table_access
from nucleation_bluesky.storage.courier_job import is_server_trouble
from nucleation_bluesky.storage.server_files import ServerFiles
from nucleation_bluesky.storage.table_access import NoTurnError, Turns, open_tables
from tiled.client import from_uri
from tiled.storage import SQLStorage, parse_storage

APPENDS = 100
READERS = 3


@pytest.fixture
def served(tmp_path):
    data = tmp_path / "data"
    info = server.ensure_server(data)
    state = ServerFiles(data).state()
    assert state is not None
    process = psutil.Process(state.owner["pid"])
    yield info, process
    server.release_server(data)
    if process.is_running():
        process.kill()
        process.wait(10)


def _row(i: int) -> pa.Table:
    return pa.table({"seq_num": pa.array([i]), "name": pa.array([f"site {i}"])})


@contextmanager
def serving(program: str, data: Path) -> Iterator[tuple[subprocess.Popen, str, str]]:
    """Run a server of one's own; its process, its address and its key."""
    files = ServerFiles(data)
    files.prepare()
    command = [sys.executable, "-c", program, str(data)]
    with subprocess.Popen(command, start_new_session=True) as process:
        try:
            files.users.register()
            yield process, _address(files, process), files.api_key()
        finally:
            process.kill()


def _address(files: ServerFiles, process: subprocess.Popen) -> str:
    waiting = threading.Event()
    for _ in range(600):
        state = files.state()
        if state is not None and server.is_healthy(f"http://127.0.0.1:{state.port}"):
            return f"http://127.0.0.1:{state.port}"
        assert process.poll() is None
        waiting.wait(0.1)
    raise AssertionError("the server did not start")


def test_readers_beside_a_writer(served):
    """Every answer is right, and the server lives; one shared connection crashes it here."""
    info, process = served
    _append_and_read(info.uri.rstrip("/"), info.api_key)
    assert process.is_running()


CHECKPOINTS = """
import sys
from nucleation_bluesky.storage import server_main, table_access

table_access.LONGEST_LOG = "1KB"
sys.argv = ["server", "--data", sys.argv[1], "--linger", "60"]
server_main.main()
"""


def test_readers_beside_a_writer_while_the_file_is_closed_and_opened(tmp_path):
    """No row is lost where every few rows end in a checkpoint, after which the file is closed."""
    with serving(CHECKPOINTS, tmp_path / "data") as (process, uri, key):
        _append_and_read(uri, key)
        assert process.poll() is None


def _append_and_read(uri: str, key: str) -> None:
    api = f"{uri}/api/v1"
    table = from_uri(api, api_key=key).create_appendable_table(_row(0).schema, key="rows")
    done = threading.Event()
    lengths: list[list[int]] = [[] for _ in range(READERS)]
    wrong: list[str] = []

    def read(mine: list[int]) -> None:
        try:
            ask(mine)
        except httpx.HTTPError as error:  # a request that hangs, a server that died
            wrong.append(repr(error))

    def ask(mine: list[int]) -> None:
        headers = {"Authorization": f"Apikey {key}"}
        with httpx.Client(headers=headers, trust_env=False, timeout=20) as client:
            while not done.is_set():
                params = {"partition": "0", "format": "application/json-seq"}
                answer = client.get(f"{api}/table/partition/rows", params=params)
                if answer.status_code != httpx.codes.OK:
                    wrong.append(f"HTTP {answer.status_code}")
                    continue
                rows = [json.loads(line)["seq_num"] for line in answer.text.splitlines() if line]
                if rows != list(range(len(rows))):
                    wrong.append(f"rows {rows}")
                mine.append(len(rows))

    threads = [threading.Thread(target=read, args=(mine,)) for mine in lengths]
    for thread in threads:
        thread.start()
    try:
        for i in range(APPENDS):
            table.append_partition(0, _row(i))
    finally:
        done.set()
        for thread in threads:
            thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert wrong == []
    assert list(table.read()["seq_num"]) == list(range(APPENDS))
    for mine in lengths:
        assert mine == sorted(mine)
        assert mine[-1] > mine[0]  # rows came in while this one read


HANGING = """
import sys, threading
from nucleation_bluesky.storage import server_main

server_main.LAST_WORDS = 1.0
build = server_main.build_app_from_config

def with_a_request_that_never_returns(config):
    app = build(config)
    app.add_api_route("/hang", lambda: threading.Event().wait())
    return app

server_main.build_app_from_config = with_a_request_that_never_returns
sys.argv = ["server", "--data", sys.argv[1], "--linger", "60"]
server_main.main()
"""


def test_a_request_that_never_returns_does_not_keep_the_server(tmp_path):
    data = tmp_path / "data"
    with serving(HANGING, data) as (process, uri, key):
        with pytest.raises(httpx.ReadTimeout):
            httpx.get(f"{uri}/hang", params={"api_key": key}, trust_env=False, timeout=1.0)
        data.rename(tmp_path / "gone")
        process.wait(30)  # raises where it does not end


def test_no_turn_is_given_after_the_end(tmp_path):
    """Tiled would open the file a second time, beside a request that is still under way."""
    turns = Turns(f"duckdb:///{tmp_path / 'tables.duckdb'}")
    turns.storage.connect().close()
    turns.end()
    turns.storage.dispose()
    with pytest.raises(NoTurnError):
        turns.storage.connect()


HOLDING = """
import sys, threading
from nucleation_bluesky.storage import server_main, table_access

table_access.LONGEST_WAIT = 0.5
build, Turns, made = server_main.build_app_from_config, server_main.Turns, []

def kept(uri):
    made.append(Turns(uri))
    return made[0]

def hold():
    made.append(made[0].storage.connect())

def with_a_turn_that_never_ends(config):
    app = build(config)
    app.add_api_route("/hold", hold)
    return app

server_main.Turns = kept
server_main.build_app_from_config = with_a_turn_that_never_ends
sys.argv = ["server", "--data", sys.argv[1], "--linger", "60"]
server_main.main()
"""


def test_who_waits_too_long_is_told_to_come_again(tmp_path):
    """The courier then tries again, and does not blame the run."""
    with serving(HOLDING, tmp_path / "data") as (_, uri, key):
        client = from_uri(f"{uri}/api/v1", api_key=key)
        client.create_appendable_table(_row(0).schema, key="rows").append_partition(0, _row(0))
        headers = {"Authorization": f"Apikey {key}"}
        with httpx.Client(headers=headers, trust_env=False, timeout=20) as http:
            asked = f"{uri}/api/v1/table/partition/rows?partition=0&format=application/json-seq"
            assert http.get(asked).status_code == httpx.codes.OK
            assert http.get(f"{uri}/hold").status_code == httpx.codes.OK
            answer = http.get(asked)
        with pytest.raises(httpx.HTTPStatusError) as caught:
            answer.raise_for_status()
        assert is_server_trouble(caught.value)


def _value(tables: Any, query: str) -> Any:
    with tables.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchone()[0]


def _append(storage: SQLStorage, rows: pa.Table) -> None:
    with closing(storage.connect()) as turn:
        with turn.cursor() as cursor:
            cursor.adbc_ingest("rows", rows, mode="create_append")
        turn.commit()


@pytest.fixture
def turns(tmp_path):
    made = Turns(f"duckdb:///{tmp_path / 'tables.duckdb'}")
    yield made
    made.storage.dispose()


def test_rows_are_written_to_the_file_while_there_are_few(tmp_path):
    """What waits for a checkpoint holds everybody up when it comes."""
    path = tmp_path / "tables.duckdb"
    rows = pa.table({"seq_num": list(range(5000)), "name": ["site"] * 5000})
    storage = parse_storage(f"duckdb:///{path}")
    assert isinstance(storage, SQLStorage)
    with open_tables(storage) as tables:
        assert _value(tables, "SELECT current_setting('checkpoint_threshold')") == "976.5 KiB"
        for _ in range(40):
            with tables.cursor() as cursor:
                cursor.adbc_ingest("rows", rows, mode="create_append")
            tables.commit()
        assert _value(tables, "SELECT wal_size FROM pragma_database_size()") != "0 bytes"
        log = path.with_name("tables.duckdb.wal")
        assert log.stat().st_size < 2e6
        assert path.stat().st_size > 200_000
        assert _value(tables, "SELECT count(*) FROM rows") == 200_000


@pytest.mark.parametrize("rows_at_once", [200, 20_000])  # many to a checkpoint, and one at once
def test_what_has_been_written_is_not_kept_in_memory(turns, rows_at_once):
    """DuckDB would keep all rows that were ever written, and the file blocks they replaced."""
    random = np.random.default_rng(1)
    written = 0
    while written < 40_000:
        values = {f"column_{i}": random.random(rows_at_once) for i in range(30)}
        number = np.arange(written, written + rows_at_once)
        _append(turns.storage, pa.table({"seq_num": number, **values}))
        written += rows_at_once
    with closing(turns.storage.connect()) as turn:
        held = _value(turn, "SELECT sum(memory_usage_bytes) FROM duckdb_memory()")
        assert _value(turn, "SELECT count(DISTINCT seq_num) FROM rows") == written
        assert _value(turn, "SELECT count(*) FROM rows") == written
        assert _value(turn, "SELECT current_setting('checkpoint_threshold')") == "976.5 KiB"
    assert held < 5e6  # blocks for each column and its validity; the rows are 10 MB


def test_a_file_with_larger_blocks_goes_on(tmp_path):
    """The size of blocks is a file's own."""
    path = tmp_path / "tables.duckdb"
    with duckdb.connect(str(path)) as first:
        first.execute("CREATE TABLE rows AS SELECT 0 AS seq_num, 'site 0' AS name")
    turns = Turns(f"duckdb:///{path}")
    _append(turns.storage, _row(1))
    with closing(turns.storage.connect()) as turn:
        assert _value(turn, "SELECT block_size FROM pragma_database_size()") == 2**18
        assert _value(turn, "SELECT sum(seq_num) FROM rows") == 1
    turns.storage.dispose()


def test_new_files_have_small_blocks(turns, tmp_path):
    _append(turns.storage, _row(0))
    with closing(turns.storage.connect()) as turn:
        assert _value(turn, "SELECT block_size FROM pragma_database_size()") == 2**15
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_file_that_cannot_be_opened_is_told_and_tried_again(turns, tmp_path, monkeypatch):
    monkeypatch.setattr(table_access, "LONGEST_LOG", "1KB")
    path, away = tmp_path / "tables.duckdb", tmp_path / "away"
    many = pa.table({"seq_num": list(range(1000))})
    _append(turns.storage, many)  # ends in a checkpoint: the file is closed
    path.rename(away)
    path.mkdir()
    with pytest.raises(NoTurnError, match="cannot be opened"):
        turns.storage.connect()
    path.rmdir()
    away.rename(path)
    _append(turns.storage, many)
    with closing(turns.storage.connect()) as turn:
        assert _value(turn, "SELECT count(*) FROM rows") == 2000


def test_a_file_that_cannot_be_looked_at_for_a_while_costs_no_turn(turns, tmp_path, monkeypatch):
    """What fails at the end of a turn must not keep the one connection for ever."""
    _append(turns.storage, _row(0))
    stat = Path.stat

    def denied(path: Path, **options: Any) -> Any:
        if path == tmp_path / "tables.duckdb":
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", denied)
    turn = turns.storage.connect()
    with turn.cursor() as cursor:
        cursor.adbc_ingest("rows", _row(1), mode="append")
    turn.commit()
    turn.close()
    for _ in range(2):
        with pytest.raises(NoTurnError, match="cannot be opened"):
            turns.storage.connect()
    monkeypatch.undo()
    _append(turns.storage, _row(3))
    with closing(turns.storage.connect()) as turn:
        assert _value(turn, "SELECT sum(seq_num) FROM rows") == 4


def test_a_log_without_its_file_is_put_aside(turns, tmp_path, caplog):
    """Its rows are those of a file that is gone; in a new one they could not be replayed."""
    log = tmp_path / "tables.duckdb.wal"
    _append(turns.storage, _row(0))
    kept = log.read_bytes()
    turns.storage.dispose()
    (tmp_path / "tables.duckdb").unlink()
    log.write_bytes(kept)
    again = Turns(f"duckdb:///{tmp_path / 'tables.duckdb'}")
    _append(again.storage, _row(1))
    with closing(again.storage.connect()) as turn:
        assert _value(turn, "SELECT sum(seq_num) FROM rows") == 1
    (aside,) = tmp_path.glob("*.without-its-file-*")
    assert aside.read_bytes() == kept
    assert aside.name in caplog.text
    again.storage.dispose()


def test_a_file_that_another_made_meanwhile_stays(turns, tmp_path):
    _append(turns.storage, _row(7))
    turns.storage.dispose()
    table_access._make(tmp_path / "tables.duckdb")
    again = Turns(f"duckdb:///{tmp_path / 'tables.duckdb'}")
    with closing(again.storage.connect()) as turn:
        assert _value(turn, "SELECT sum(seq_num) FROM rows") == 7
    again.storage.dispose()


def test_a_directory_that_is_not_there_is_named(tmp_path):
    turns = Turns(f"duckdb:///{tmp_path / 'nowhere' / 'tables.duckdb'}")
    with pytest.raises(NoTurnError, match=r"The directory .*nowhere does not exist"):
        turns.storage.connect()


def test_a_statement_left_open_does_not_keep_the_file(turns, monkeypatch):
    """Two instances of one file would overwrite each other's rows."""
    monkeypatch.setattr(table_access, "LONGEST_LOG", "1KB")
    many = pa.table({"seq_num": list(range(300_000))})
    _append(turns.storage, many)
    turn = turns.storage.connect()
    left = turn.cursor()
    left.execute("SELECT * FROM rows")
    reader = left.fetch_record_batch()
    reader.read_next_batch()
    with turn.cursor() as cursor:
        cursor.execute("CHECKPOINT")
    turn.close()
    for _ in range(3):
        _append(turns.storage, _row(1).select(["seq_num"]))
    with closing(turns.storage.connect()) as turn:
        assert _value(turn, "SELECT count(*) FROM rows") == 300_003
