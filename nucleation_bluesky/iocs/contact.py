"""Contact of a meniscus, found sample by sample in blocks of an approach.

By current: a sample counts whose magnitude is above the threshold. By overload: one whose magnitude
of potential lies more than the threshold below the median over the first samples of the approach.
``confirm_samples`` consecutive ones are a contact; shorter runs are spikes, counted and ignored.
"""

from dataclasses import dataclass

import numpy as np

from nucleation_bluesky.contract.enums import ContactMode
from nucleation_bluesky.contract.program import Approach

REFERENCE_SAMPLES = 8  # of the potential at overload, at the start of an approach


class NoOverloadError(ValueError):
    """An approach by overload did not start at overload."""


@dataclass(frozen=True)
class Contact:
    """A confirmed contact: sample numbers of the first and of the confirming sample."""

    first: int
    confirmed: int


class ContactDetector:
    """Looks at consecutive blocks of one approach.

    Parameters
    ----------
    approach : Approach
        Mode, threshold and confirmation.
    """

    def __init__(self, approach: Approach):
        self._approach = approach
        self._next = 0
        self._run = 0  # samples of the run that is under way
        self._reference: float | None = None
        self._potentials: list[np.ndarray] = []
        self.false_contacts = 0

    def feed(self, potential: np.ndarray, current: np.ndarray) -> Contact | None:
        """Look at the next samples, each array of shape (n,), V and A.

        Raises
        ------
        NoOverloadError
            If an approach by overload starts with a potential that cannot drop by the threshold:
            the pipette is in contact already, or the amplifier is not connected.
        """
        beyond = self._beyond(np.asarray(potential, float), np.asarray(current, float))
        first, self._next = self._next, self._next + len(beyond)
        edges = np.flatnonzero(np.diff(np.concatenate(([False], beyond, [False])).astype(int)))
        for begin, end in edges.reshape(-1, 2).tolist():
            carried = self._run if begin == 0 else 0
            if begin > 0:
                self._drop_run()
            needed = self._approach.confirm_samples - carried
            if end - begin >= needed:
                return Contact(first + begin - carried, first + begin + needed - 1)
            self._run = carried + end - begin
            if end < len(beyond):
                self._drop_run()
        if len(beyond) and not beyond[0] and not len(edges):
            self._drop_run()
        return None

    def _drop_run(self) -> None:
        self.false_contacts += self._run > 0
        self._run = 0

    def _beyond(self, potential: np.ndarray, current: np.ndarray) -> np.ndarray:
        approach = self._approach
        if approach.mode is ContactMode.CURRENT:
            return np.abs(current) > approach.threshold
        beyond = np.zeros(len(potential), dtype=bool)
        skipped = 0
        if self._reference is None:
            skipped = min(REFERENCE_SAMPLES - self._next, len(potential))
            self._potentials.append(np.abs(potential[:skipped]))
            if self._next + skipped < REFERENCE_SAMPLES:
                return beyond
            self._reference = float(np.median(np.concatenate(self._potentials)))
            if self._reference <= approach.threshold:
                raise NoOverloadError(
                    f"the approach started at {self._reference:.3g} V, which cannot drop by "
                    f"{approach.threshold:g} V: is the pipette in contact already, or the "
                    "current not applied?"
                )
        beyond[skipped:] = np.abs(potential[skipped:]) < self._reference - approach.threshold
        return beyond
