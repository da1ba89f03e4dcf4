"""The append-only list of exposures: which sites of which samples have been used."""

import json
import math
import os
import secrets
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np

from nucleation_bluesky.contract.pvs import TOKEN_LENGTH
from nucleation_bluesky.ledger import mounts, spacing
from nucleation_bluesky.ledger.database import Database
from nucleation_bluesky.ledger.errors import (
    BadPositionError,
    IllegalTransitionError,
    LedgerError,
)
from nucleation_bluesky.ledger.lease import Lease, Leases
from nucleation_bluesky.ledger.records import Exposure, Mount, Registration, SiteClaim
from nucleation_bluesky.ledger.schema import ExposureState

_EXPOSURES = """
SELECT e.id, e.token, e.sample, e.epoch, e.frame, e.x, e.y, e.position_uncertainty, e.technique,
    e.owner, e.time, t.state, t.detail
FROM exposures e JOIN transitions t
    ON t.id = (SELECT max(id) FROM transitions WHERE exposure = e.id)
"""


class Ledger:
    """Exposures of all samples, in one SQLite file (WAL, synchronous FULL).

    Parameters
    ----------
    path : path-like
        The file, on a local disk; created if absent.
    read_only : bool
        Open for reading alone; nothing is created or recovered.

    Raises
    ------
    NetworkFileSystemError
        If the file lies on a network file system.
    LedgerCorruptError
        If the file is damaged, no ledger, or of another schema version.
    """

    def __init__(self, path: str | os.PathLike[str], *, read_only: bool = False) -> None:
        self.path = Path(path).expanduser()
        self._db = Database(self.path, read_only=read_only)
        self._leases = Leases(self._db)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file (leases of this process stay until released or it ends)."""
        self._db.close()

    # ------------------------------------------------------------------ samples and mounts

    def add_sample(self, sample: str, note: str = "") -> None:
        """Add a sample; one that is there already is left alone.

        Raises
        ------
        LedgerError
            If the name is empty.
        """
        mounts.add_sample(self._db, sample, note)

    def samples(self) -> list[str]:
        """Names of all samples in order of addition."""
        return [row[0] for row in self._db.query("SELECT sample FROM samples ORDER BY added")]

    def mount(
        self, sample: str, registration: Registration | Literal["new_area"] | None = None
    ) -> int:
        """Record that the sample was mounted (again), or that its frame was measured anew.

        Parameters
        ----------
        sample : str
            Added before.
        registration : Registration, "new_area" or None
            How this mount's frame lies in that of the area exposed before; "new_area" declares
            that no site of this mount can meet an earlier one; None: not known, so that claims
            are refused if the sample has been exposed before.

        Returns
        -------
        int
            The mount's epoch, counted from 1.

        Raises
        ------
        UnknownSampleError
            If the sample was not added.
        """
        return mounts.add_mount(self._db, sample, registration)

    def mounts(self, sample: str) -> list[Mount]:
        """All mounts of a sample, oldest first."""
        return mounts.mounts(self._db, sample)

    def current_mount(self, sample: str, epoch: int | None = None) -> Mount:
        """Return the last mount of a sample.

        Raises
        ------
        UnknownSampleError
            If the sample has not been mounted, or ``epoch`` is given and is not the last mount.
        UnregisteredMountError
            If earlier exposures exist from which this mount's frame is not known.
        """
        return mounts.present_mount(self._db, sample, epoch)

    # ------------------------------------------------------------------ exposures

    def claim(self, site: SiteClaim) -> Exposure:
        """Claim one exposure of a site; durable when this returns.

        Raises
        ------
        SiteUsedError
            If the site has had ``exposures_per_site`` exposures.
        SiteTooCloseError
            If an exposure of another site lies nearer than ``min_distance``.
        UnregisteredMountError
            If earlier exposures cannot be located in this mount.
        UnknownSampleError
            If the sample or mount is not the present one.
        """
        token = secrets.token_hex(TOKEN_LENGTH // 2)
        now = time.time()
        with self._db.transaction() as db:
            held = self._leases.renew(db, site.owner, now)
            mount = self.current_mount(site.sample, site.epoch)
            u, v = mount.registration.apply(np.array([site.x, site.y])).tolist()
            uncertainty = math.hypot(site.position_uncertainty, mount.registration.uncertainty)
            spacing.check(self._db, site, mount, (u, v), uncertainty)
            row = db.execute(
                "INSERT INTO exposures VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(token, site.sample, site.epoch, mount.area, site.frame, site.x, site.y),
                    *(site.position_uncertainty, u, v, uncertainty),
                    *(site.technique, site.owner, now),
                ),
            )
            number = row.lastrowid
            if number is None:  # pragma: no cover - sqlite always sets it after an INSERT
                raise LedgerError("the ledger gave no number to the exposure")
            self._enter(db, number, ExposureState.CLAIMED, {}, now)
        self._leases.keep(site.owner, held)
        return Exposure(
            number, token, site.sample, site.epoch, site.frame, site.x, site.y,
            site.position_uncertainty, site.technique, site.owner, now, ExposureState.CLAIMED,
        )  # fmt: skip

    def energise(self, exposure: int) -> None:
        """Record that the bias is about to leave the safe state.

        Raises
        ------
        IllegalTransitionError
            If the exposure is not CLAIMED.
        """
        self._transition(exposure, ExposureState.ENERGISED, {})

    def finish(self, exposure: int, outcome: Mapping[str, Any] | None = None) -> None:
        """Record that the exposure ended as it should, with its outcome.

        Raises
        ------
        IllegalTransitionError
            If the exposure is not ENERGISED.
        """
        self._transition(exposure, ExposureState.DONE, dict(outcome or {}))

    def burn(self, exposure: int, reason: str) -> None:
        """Record that the site is spoiled, with the reason.

        Raises
        ------
        IllegalTransitionError
            If the exposure is DONE or BURNED already.
        """
        self._transition(exposure, ExposureState.BURNED, {"reason": reason})

    def exposures(self, sample: str | None = None) -> list[Exposure]:
        """Exposures of a sample (or of all) with their present state, oldest first."""
        where, arguments = ("WHERE e.sample = ? ", (sample,)) if sample is not None else ("", ())
        rows = self._db.query(f"{_EXPOSURES} {where} ORDER BY e.id", *arguments)
        return [_exposure(row) for row in rows]

    def exposure(self, exposure: int) -> Exposure:
        """One exposure by number.

        Raises
        ------
        LedgerError
            If there is none.
        """
        rows = self._db.query(f"{_EXPOSURES} WHERE e.id = ?", exposure)
        if not rows:
            raise LedgerError(f"the ledger has no exposure {exposure}")
        return _exposure(rows[0])

    def history(self, exposure: int) -> list[tuple[ExposureState, float]]:
        """States an exposure went through, with the time of each (s since 1970)."""
        rows = self._db.query(
            "SELECT state, time FROM transitions WHERE exposure = ? ORDER BY id", exposure
        )
        return [(ExposureState(state), when) for state, when in rows]

    def free(
        self,
        sites: np.ndarray,
        *,
        sample: str,
        epoch: int | None = None,
        min_distance: float = 0.0,
        exposures_per_site: int = 1,
        position_uncertainty: float = 0.0,
    ) -> np.ndarray:
        """Which sites a claim would be granted for.

        Parameters
        ----------
        sites : array_like
            Positions in the mount's frame, m, shape (n, 2).
        sample, epoch : str, int or None
            Sample and mount (None: the present one).
        min_distance, exposures_per_site, position_uncertainty : float, int, float
            As in `SiteClaim`.

        Returns
        -------
        numpy.ndarray
            Boolean mask, shape (n,). Sites are held against the ledger, not against each other.

        Raises
        ------
        BadPositionError
            If a position is not finite or the shape is wrong.
        UnknownSampleError, UnregisteredMountError
            As `claim`.
        """
        points = np.atleast_2d(np.asarray(sites, dtype=float))
        if points.size == 0:
            return np.zeros(0, dtype=bool)
        if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
            raise BadPositionError("sites must be finite positions in m with shape (n, 2)")
        mount = self.current_mount(sample, epoch)
        return spacing.free(
            self._db,
            mount,
            mount.registration.apply(points),
            math.hypot(position_uncertainty, mount.registration.uncertainty),
            min_distance,
            exposures_per_site,
        )

    # ------------------------------------------------------------------ leases and recovery

    def acquire_lease(self, owner: str) -> None:
        """Declare this process the owner of what ``owner`` claims; `claim` does it by itself.

        Raises
        ------
        LedgerError
            If another living process holds the same owner's name.
        """
        with self._db.transaction() as db:
            held = self._leases.renew(db, owner, time.time(), force=True)
        self._leases.keep(owner, held)

    def release_lease(self, owner: str) -> None:
        """Give the lease up; claims still open are then burned by the next recovery."""
        self._leases.release(owner)

    def leases(self) -> list[Lease]:
        """All leases ever taken."""
        return self._leases.every()

    def recover(self) -> list[Exposure]:
        """Burn open claims whose owner is dead; those of living owners are left alone.

        Returns
        -------
        list of Exposure
            What was burned, as it is now.
        """
        now = time.time()
        alive = {lease.owner for lease in self.leases() if lease.alive(now)}
        burned = []
        with self._db.transaction() as db:
            rows = self._db.query(
                "SELECT e.id, e.owner FROM exposures e WHERE NOT EXISTS (SELECT 1 FROM transitions "
                "t WHERE t.exposure = e.id AND t.state IN ('DONE', 'BURNED'))"
            )
            for number, owner in rows:
                if owner not in alive:
                    reason = {"reason": f"recovered: session '{owner}' ended without finishing it"}
                    self._enter(db, number, ExposureState.BURNED, reason, now)
                    burned.append(number)
        return [self.exposure(number) for number in burned]

    # ------------------------------------------------------------------ internals

    def _transition(self, exposure: int, state: ExposureState, detail: dict[str, Any]) -> None:
        try:
            with self._db.transaction() as db:
                self._enter(db, exposure, state, detail, time.time())
        except IllegalTransitionError as exc:
            history = [entry.value for entry, _ in self.history(exposure)]
            raise IllegalTransitionError(
                f"exposure {exposure} cannot become {state.value} after "
                f"{' -> '.join(history) or 'nothing'}; an exposure never goes back"
            ) from exc

    @staticmethod
    def _enter(
        db: sqlite3.Connection,
        exposure: int,
        state: ExposureState,
        detail: dict[str, Any],
        now: float,
    ) -> None:
        db.execute(
            "INSERT INTO transitions VALUES (NULL, ?, ?, ?, ?)",
            (exposure, state.value, now, json.dumps(_plain(detail), allow_nan=False)),
        )


def _plain(value: Any) -> Any:
    """Reduce numpy and non-finite numbers to what strict JSON can hold (NaN becomes null)."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _exposure(row: tuple) -> Exposure:
    return Exposure(*row[:11], state=ExposureState(row[11]), detail=json.loads(row[12]))
