"""Who owns a claim, and whether that owner is still alive."""

import socket
from dataclasses import dataclass

from nucleation_bluesky.ledger.process import runs


@dataclass(frozen=True)
class Lease:
    """A process's hold on what it claimed; ``expiry`` in seconds since 1970."""

    owner: str
    pid: int
    host: str
    boot: str
    process_start: str
    expiry: float
    released: bool = False

    def alive(self, now: float) -> bool:
        """Whether the owner may still be at work.

        On this host the process table decides, expiry or not: a stalled owner is still an owner.
        From another host nothing but the expiry is known.
        """
        if self.released:
            return False
        if self.host != socket.gethostname():
            return now < self.expiry
        return runs(self.pid, self.boot, self.process_start)
