"""The SQLite database of the embedded Tiled catalogue.

Tiled's ``init_if_not_exists`` starts another Python process at every start of a server, which takes
as long as the server itself; here a database is made once, in this process.
"""

import asyncio
import os
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.dialects.sqlite.aiosqlite import AsyncAdapt_aiosqlite_connection
from sqlalchemy.ext.asyncio import create_async_engine
from tiled.alembic_utils import check_database, stamp_head
from tiled.catalog.alembic_constants import ALEMBIC_DIR, ALEMBIC_INI_TEMPLATE_PATH
from tiled.catalog.core import ALL_REVISIONS, REQUIRED_REVISION, initialize_database

# kB for each connection. Every delivery of a running map leaves a description of its arrays behind;
# SQLite would keep 2 MB of them for each of its connections, and the server grow for hours
CACHE = 512


def bound_caches() -> None:
    """Let the connections that this process opens to catalogues keep little in memory."""
    event.listen(Engine, "connect", _bound_cache)


def _bound_cache(connection: Any, _record: Any) -> None:
    if isinstance(connection, AsyncAdapt_aiosqlite_connection):  # every pool's are announced
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA cache_size = -{CACHE}")
        cursor.close()


def prepare_database(path: Path) -> None:
    """Make the database if there is none; otherwise check that this Tiled can read it.

    Raises
    ------
    tiled.alembic_utils.DatabaseUpgradeNeeded
        If another version of Tiled made it.
    """
    if path.exists():
        asyncio.run(_check(_address(path)))
        return
    # under another name until complete: a start that is killed leaves nothing half made
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    asyncio.run(_create(_address(temporary)))
    stamp_head(Path(ALEMBIC_INI_TEMPLATE_PATH), Path(ALEMBIC_DIR), _address(temporary))
    temporary.replace(path)


def _address(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"


async def _check(address: str) -> None:
    engine = create_async_engine(address)
    try:
        await check_database(engine, REQUIRED_REVISION, ALL_REVISIONS)
    finally:
        await engine.dispose()


async def _create(address: str) -> None:
    engine = create_async_engine(address)
    try:
        await initialize_database(engine)
    finally:
        await engine.dispose()
