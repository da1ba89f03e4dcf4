"""One request at a time at the embedded server's tables."""

from typing import Any

from sqlalchemy.pool import QueuePool
from tiled.storage import SQLStorage, parse_storage

# s for the requests in front; less than the courier waits for an answer, so that nothing is written
# after it has given a request up
LONGEST_WAIT = 8.0


def take_turns(uri: str) -> SQLStorage:
    """Let the requests of this process use the tables of a DuckDB file one after the other.

    Tiled gives every thread the same DuckDB connection. A row appended while another thread reads
    then ends that reader's transaction: errors, requests that never return, at worst a crash of
    the process. A pool that holds this one connection lends it to one thread at a time.

    Parameters
    ----------
    uri : str
        As in ``writable_storage`` of the server's configuration; call this before the server is
        built, which then finds the same storage.

    Returns
    -------
    SQLStorage
        Tiled's shared object for this address.
    """
    storage = parse_storage(uri)
    if not isinstance(storage, SQLStorage):
        raise TypeError(f"{uri} is not an address of SQL tables")
    # the attribute is what Tiled computes at first use and keeps; the test of the server with
    # readers beside a writer fails if a new version does it otherwise
    make: Any = storage.create_adbc_connection
    storage.__dict__["_connection_pool"] = QueuePool(
        make, pool_size=1, max_overflow=0, timeout=LONGEST_WAIT
    )
    return storage
