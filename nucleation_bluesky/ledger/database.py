"""Opening the ledger's SQLite file, and turning its errors into ours."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nucleation_bluesky.ledger.errors import (
    IllegalTransitionError,
    LedgerBusyError,
    LedgerCorruptError,
    LedgerError,
)
from nucleation_bluesky.ledger.filesystem import require_local_filesystem
from nucleation_bluesky.ledger.schema import APPLICATION_ID, SCHEMA_VERSION, create_script

# kB; full after some thousand exposures instead of growing through a night (sqlite would keep 2 MB)
CACHE = 512
BUSY_TIMEOUT = 2.0  # s, for another process's write lock


class Database:
    """One connection to a ledger file; every call may come from any thread.

    Parameters
    ----------
    path : Path
        The file; created, with its directory, unless ``read_only``.
    read_only : bool
        Open for reading alone.

    Raises
    ------
    NetworkFileSystemError
        If the file lies on a network file system.
    LedgerCorruptError
        If the file is damaged, no ledger, or of another schema version.
    LedgerError
        If the file is absent (read_only) or cannot be opened.
    """

    def __init__(self, path: Path, *, read_only: bool) -> None:
        require_local_filesystem(path, "the exposure ledger")
        self.path, self.read_only = path, read_only
        self._lock = threading.RLock()
        if read_only and not path.is_file():
            raise LedgerError(f"there is no ledger at {path}")
        try:
            if not read_only:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                f"{path.resolve().as_uri()}{'?mode=ro' if read_only else ''}",
                uri=True,
                timeout=BUSY_TIMEOUT,
                isolation_level=None,
                check_same_thread=False,
            )
        except (OSError, sqlite3.OperationalError) as exc:
            raise LedgerError(f"the ledger {path} cannot be opened: {exc}") from exc
        try:
            self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self) -> None:
        with self._errors():
            run = self._connection.execute
            run("PRAGMA foreign_keys = ON")
            run("PRAGMA recursive_triggers = ON")
            run(f"PRAGMA cache_size = -{CACHE}")
            if not self.read_only:
                run("PRAGMA journal_mode = WAL")
                run("PRAGMA synchronous = FULL")
                if not run("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                    self._create()
            application = run("PRAGMA application_id").fetchone()[0]
            version = run("PRAGMA user_version").fetchone()[0]
            if application != APPLICATION_ID:
                raise LedgerCorruptError(f"{self.path} is not an exposure ledger; choose its file")
            if version != SCHEMA_VERSION:
                raise LedgerCorruptError(
                    f"{self.path} has ledger schema {version}, this version of the package reads "
                    f"{SCHEMA_VERSION}; use the package version that wrote it"
                )
            verdict = run("PRAGMA quick_check(1)").fetchone()[0]
            if verdict != "ok":
                raise self._corrupt(verdict)

    def _create(self) -> None:
        try:
            self._connection.executescript(create_script())
        except sqlite3.OperationalError as exc:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            if "already exists" not in str(exc):  # another process was faster
                raise

    def _corrupt(self, why: object) -> LedgerCorruptError:
        return LedgerCorruptError(
            f"the ledger {self.path} is damaged ({why}); put a backup in its place, and until "
            "then use a new area of the sample: without the ledger no site is known to be fresh"
        )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.IntegrityError as exc:
            if "illegal transition" in str(exc):
                raise IllegalTransitionError(str(exc)) from exc
            raise LedgerError(f"the ledger refused an entry: {exc}") from exc
        except sqlite3.OperationalError as exc:
            if "locked" in str(exc) or "busy" in str(exc):
                raise LedgerBusyError(
                    f"the ledger {self.path} stayed locked by another process for {BUSY_TIMEOUT:g}"
                    " s; close what else writes to it"
                ) from exc
            raise LedgerError(f"the ledger {self.path} failed: {exc}") from exc
        except sqlite3.DatabaseError as exc:
            raise self._corrupt(exc) from exc

    def query(self, sql: str, *parameters: object) -> list[tuple]:
        """Return all rows of a query."""
        with self._lock, self._errors():
            return self._connection.execute(sql, parameters).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One durable write transaction: committed on leaving, rolled back on any exception."""
        if self.read_only:
            raise LedgerError(f"the ledger {self.path} was opened for reading only")
        with self._lock, self._errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._connection.close()
