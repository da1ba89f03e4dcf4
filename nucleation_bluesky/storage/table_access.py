"""One request at a time at the embedded server's tables."""

from functools import partial
from typing import Any

import adbc_driver_duckdb
from adbc_driver_manager import AdbcConnection, AdbcDatabase, dbapi
from sqlalchemy.exc import TimeoutError as NoTurnError
from sqlalchemy.pool import QueuePool
from tiled.storage import SQLStorage, parse_storage
from tiled.utils import path_from_uri

# s for the requests in front; less than the courier waits for an answer, so that nothing is written
# after it has given a request up
LONGEST_WAIT = 8.0
# DuckDB keeps new rows in a log until 16 MB of them are worth a checkpoint; while the tables of
# many runs are then written at once, nobody would be answered for seconds
SETTINGS = {"checkpoint_threshold": "1MB"}


def open_tables(uri: str) -> dbapi.Connection:
    """Connect to the tables of a DuckDB file, which is made where there is none."""
    database = AdbcDatabase(
        driver=adbc_driver_duckdb.driver_path(),
        entrypoint="duckdb_adbc_init",
        path=str(path_from_uri(uri)),
        **SETTINGS,
    )
    try:
        return dbapi.Connection(database, AdbcConnection(database))
    except dbapi.Error:
        database.close()
        raise


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
        make: Any = partial(open_tables, uri)
        self._pool = QueuePool(make, pool_size=1, max_overflow=0, timeout=LONGEST_WAIT)
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
        return self._pool.connect()
