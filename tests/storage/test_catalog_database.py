"""The catalogue's database is the one that Tiled itself would make."""

import asyncio
import sqlite3
import subprocess
import sys

import pytest
from nucleation_bluesky.storage import catalog_database
from nucleation_bluesky.storage.catalog_database import bound_caches, prepare_database
from sqlalchemy import Engine, event, text
from sqlalchemy.ext.asyncio import create_async_engine
from tiled.alembic_utils import DatabaseUpgradeNeeded


def schema(path):
    with sqlite3.connect(path) as connection:
        tables = connection.execute("select type, name, sql from sqlite_master").fetchall()
        revision = connection.execute("select * from alembic_version").fetchall()
        root = connection.execute("select id, parent, key from nodes").fetchall()
    return sorted(map(str, tables)), revision, root


def test_as_tiled_makes_it(tmp_path):
    prepare_database(tmp_path / "ours.db")
    command = [sys.executable, "-m", "tiled", "catalog", "init", f"sqlite:///{tmp_path}/tiled.db"]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    assert schema(tmp_path / "ours.db") == schema(tmp_path / "tiled.db")
    assert {path.name for path in tmp_path.iterdir()} == {"ours.db", "tiled.db"}


def test_what_is_there_stays(tmp_path):
    path = tmp_path / "catalog.db"
    prepare_database(path)
    with sqlite3.connect(path) as connection:
        connection.execute("create table mine (x int)")
    prepare_database(path)
    with sqlite3.connect(path) as connection:
        assert connection.execute("select count(*) from mine").fetchone() == (0,)


def test_another_version_is_refused(tmp_path):
    path = tmp_path / "catalog.db"
    prepare_database(path)
    with sqlite3.connect(path) as connection:
        connection.execute("update alembic_version set version_num = '3e87cbeb195b'")
    with pytest.raises(DatabaseUpgradeNeeded, match="needs to be upgraded"):
        prepare_database(path)


def test_connections_keep_little_in_memory(tmp_path):
    async def kept() -> int:
        engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'catalog.db'}")
        async with engine.connect() as connection:
            found = (await connection.execute(text("PRAGMA cache_size"))).scalar_one()
        await engine.dispose()
        return found

    bound_caches()
    try:
        assert asyncio.run(kept()) == -512  # kB
    finally:
        event.remove(Engine, "connect", catalog_database._bound_cache)
