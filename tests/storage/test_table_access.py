"""Rows are appended while other clients read the same tables; a request that hangs ends alone."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pyarrow as pa
import pytest
from nucleation_bluesky.storage import server
from nucleation_bluesky.storage.courier_job import is_server_trouble
from nucleation_bluesky.storage.server_files import ServerFiles
from nucleation_bluesky.storage.table_access import NoTurnError, Turns, open_tables
from tiled.client import from_uri

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
    api = f"{info.uri.rstrip('/')}/api/v1"
    table = from_uri(api, api_key=info.api_key).create_appendable_table(_row(0).schema, key="rows")
    done = threading.Event()
    lengths: list[list[int]] = [[] for _ in range(READERS)]
    wrong: list[str] = []

    def read(mine: list[int]) -> None:
        try:
            ask(mine)
        except httpx.HTTPError as error:  # a request that hangs, a server that died
            wrong.append(repr(error))

    def ask(mine: list[int]) -> None:
        headers = {"Authorization": f"Apikey {info.api_key}"}
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
    assert process.is_running()
    assert len(table.read()) == APPENDS
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


def test_rows_are_written_to_the_file_while_there_are_few(tmp_path):
    """What waits for a checkpoint holds everybody up when it comes."""
    path = tmp_path / "tables.duckdb"
    rows = pa.table({"seq_num": list(range(5000)), "name": ["site"] * 5000})
    with open_tables(f"duckdb:///{path}") as tables:
        for _ in range(40):
            with tables.cursor() as cursor:
                cursor.adbc_ingest("rows", rows, mode="create_append")
            tables.commit()
        assert _value(tables, "SELECT wal_size FROM pragma_database_size()") != "0 bytes"
        log = path.with_name("tables.duckdb.wal")
        assert log.stat().st_size < 2e6
        assert path.stat().st_size > 200_000
        assert _value(tables, "SELECT count(*) FROM rows") == 200_000
