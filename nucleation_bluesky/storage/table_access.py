"""One request at a time at the embedded server's tables, in a file that is not kept in memory."""

import logging
import os
import time
from pathlib import Path
from typing import Any

import duckdb
from adbc_driver_manager import dbapi
from sqlalchemy import event
from sqlalchemy.exc import TimeoutError as NoTurnError
from sqlalchemy.pool import QueuePool
from tiled.storage import SQLStorage, parse_storage
from tiled.utils import path_from_uri

# s for the requests in front; less than the courier waits for an answer, so that nothing is written
# after it has given a request up
LONGEST_WAIT = 8.0
# DuckDB keeps new rows in a log until 16 MB of them are worth a checkpoint; while the tables of
# many runs are then written at once, nobody would be answered for seconds
LONGEST_LOG = "1MB"
# bytes; each column that grows holds the last two of its blocks in memory, by default of 256 KiB
BLOCK = 32768
logger = logging.getLogger(__name__)


def open_tables(storage: SQLStorage) -> dbapi.Connection:
    """Connect to the tables of a DuckDB file, which is made where there is none.

    The size of blocks is a file's own: one made with another keeps it.

    Raises
    ------
    ValueError
        If the directory or the file cannot be written.
    adbc_driver_manager.Error
        If the file cannot be opened.
    """
    path = Path(path_from_uri(storage.uri))
    if not path.exists() and os.access(path.parent, os.W_OK | os.X_OK):
        _make(path)
    connection = storage.create_adbc_connection()
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SET checkpoint_threshold = '{LONGEST_LOG}'")
        connection.commit()
    except dbapi.Error:
        connection.close()
        raise
    return connection


def _make(path: Path) -> None:
    """Make an empty file; one that another process has made meanwhile stays."""
    log = path.with_name(f"{path.name}.wal")
    if log.exists() and not path.exists():
        aside = log.with_name(f"{log.name}.without-its-file-{time.time_ns()}")
        logger.warning("%s has no file that it belongs to: it is kept as %s", log, aside.name)
        log.rename(aside)
    # under another name until complete: a start that is killed leaves nothing half made
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    duckdb.connect(str(temporary), config={"default_block_size": str(BLOCK)}).close()
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    except OSError:  # a file system without links
        temporary.rename(path)
    temporary.unlink(missing_ok=True)


class Tables:
    """A connection to a DuckDB file, closed after each checkpoint and opened for the next turn.

    DuckDB keeps in memory what a checkpoint reads and writes, all the rows of a run, up to a share
    of the machine's memory. Closing the file is the one thing that gives it back; a limit would
    make commits fail. After a checkpoint the log is empty; closing and opening take some ten
    milliseconds each, longer with hundreds of tables, all of whose columns are read. What is read
    stays in memory until the next checkpoint.

    Parameters
    ----------
    storage : SQLStorage
        Where the file is.
    """

    def __init__(self, storage: SQLStorage) -> None:
        self._storage = storage
        self._path = Path(path_from_uri(storage.uri))
        self._written = 0
        self._connection: dbapi.Connection | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def open(self) -> None:
        """Open the file if it is closed.

        Raises
        ------
        NoTurnError
            If it cannot be opened; the next turn tries again.
        """
        if self._connection is not None:
            return
        try:
            self._connection = open_tables(self._storage)
        except (dbapi.Error, duckdb.Error, ValueError, OSError) as error:
            raise NoTurnError(f"the tables cannot be opened: {error}") from error
        self._written = self._last_written()

    def close(self) -> None:
        """Close the file.

        All of it must be closed before it is opened again: DuckDB would open the file a second time
        beside itself, and of two instances each overwrites the rows of the other.

        Raises
        ------
        RuntimeError
            If a statement is still at work; it stays open then.
        """
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def rollback(self) -> None:
        """Undo what was not committed: the pool asks for this at the end of a turn."""
        if self._connection is not None:
            self._connection.rollback()

    def rest(self) -> None:
        """Close the file if there was a checkpoint: other commits write to the log alone."""
        if self._connection is None or self._last_written() == self._written:
            return
        try:
            self.close()
        except (RuntimeError, dbapi.Error) as error:
            logger.warning("the tables stay open: %s", error)

    def _last_written(self) -> int:
        try:
            return self._path.stat().st_mtime_ns
        except OSError:  # nobody can tell: as if written
            return 0


class Turns:
    """Lets the requests of this process use the tables of a DuckDB file one after the other.

    Tiled gives every thread the same DuckDB connection. A row appended while another thread reads
    then ends that reader's transaction: errors, requests that never return, at worst a crash of
    the process. A pool that holds one connection lends it to one thread at a time.

    Parameters
    ----------
    uri : str
        As in ``writable_storage`` of the server's configuration; to be made before the server is
        built, which then finds the same storage.

    Raises
    ------
    TypeError
        If this is not the address of SQL tables.
    """

    def __init__(self, uri: str) -> None:
        storage = parse_storage(uri)
        if not isinstance(storage, SQLStorage):
            raise TypeError(f"{uri} is not an address of SQL tables")

        # the same one again where the pool gives it up: two would be two instances of the file
        tables = Tables(storage)

        def make() -> Any:
            return tables

        self._pool = QueuePool(make, pool_size=1, max_overflow=0, timeout=LONGEST_WAIT)
        event.listen(self._pool, "checkin", _rest)
        self._ended = False
        # where Tiled keeps its own pool, and disposes of it at its end; the test of the server with
        # readers beside a writer fails where a new version does it otherwise
        storage.__dict__["_connection_pool"] = self._pool
        storage.__dict__["connect"] = self._connect
        self.storage = storage

    def end(self) -> None:
        """Give no more turns.

        After its end Tiled would open the file a second time for a request that comes late, beside
        one that is still under way; two connections would not see each other's rows.
        """
        self._ended = True

    def _connect(self) -> Any:
        if self._ended:
            raise NoTurnError("the server is ending")
        turn: Any = self._pool.connect()
        try:
            turn.dbapi_connection.open()
        except NoTurnError:
            turn.close()
            raise
        return turn


def _rest(tables: Tables | None, _record: Any) -> None:
    # what is raised here would keep the pool's one place for ever
    if tables is not None:  # None where the pool has given the connection up
        tables.rest()
