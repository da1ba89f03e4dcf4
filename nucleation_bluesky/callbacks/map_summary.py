"""What is known of a running map, from its documents alone; shared by the terminal displays."""

import statistics
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nucleation_bluesky.contract.documents import PRIMARY_STREAM, START_KEY
from nucleation_bluesky.contract.enums import Termination

TRIPS = frozenset(
    {Termination.CURRENT_COMPLIANCE, Termination.HEIGHT_COMPLIANCE, Termination.STOPPED_BY_PLAN}
)


@dataclass(frozen=True)
class Site:
    """One event: what the displays show of a site; -1 and NaN where the event does not say."""

    number: int
    row: int
    col: int
    termination: Termination
    stop_bias: float
    stop_current: float
    height_change: float


@dataclass
class MapSummary:
    """Follows the documents of one run.

    Parameters
    ----------
    keep : int
        Sites remembered one by one.
    """

    keep: int = 10
    uid: str = ""
    technique: str = ""
    total: int = 0
    done: int = 0
    tripped: int = 0
    contacts: int | None = None  # landings that found the surface; None where nothing lands
    biases: list[float] = field(default_factory=list)
    last: deque[Site] = field(default_factory=deque)
    exit_status: str = ""
    _roles: Mapping[str, str] = field(default_factory=dict)
    _descriptors: set[str] = field(default_factory=set)
    _began: float | None = None
    _latest: float = 0.0

    def take(self, name: str, document: Mapping[str, Any]) -> bool:
        """Take a document; True if it belongs to a nucleation run that is being followed."""
        if name == "start":
            return self._start(document)
        if not self.uid:
            return False
        if name == "descriptor" and document.get("run_start") == self.uid:
            if document.get("name") == PRIMARY_STREAM:
                self._descriptors.add(document["uid"])
                self._began = self._began or time.monotonic()
        elif name in ("event", "event_page"):
            return self._events(name, document)
        elif name == "stop" and document.get("run_start") == self.uid:
            self.exit_status = str(document.get("exit_status", ""))
        return True

    def _start(self, document: Mapping[str, Any]) -> bool:
        block = document.get(START_KEY)
        self.uid = ""
        if not isinstance(block, Mapping):
            return False
        keep = self.keep
        self.__init__(keep)
        self.uid = str(document["uid"])
        self.technique = str(block.get("technique", ""))
        self.total = int(document.get("num_points", 0))
        self._roles = dict(block.get("roles", {}))
        self.last = deque(maxlen=keep)
        return True

    def _events(self, name: str, document: Mapping[str, Any]) -> bool:
        if document.get("descriptor") not in self._descriptors:
            return False
        data = document["data"]
        if name == "event":
            self._site(data)
        else:
            for number in range(len(next(iter(data.values()), []))):
                self._site({key: column[number] for key, column in data.items()})
        self._latest = time.monotonic()
        return True

    def _site(self, data: Mapping[str, Any]) -> None:
        def get(role: str, missing: float) -> Any:
            value = data.get(self._roles.get(role, ""), missing)
            return missing if value is None else value

        termination = Termination(int(get("termination", 0)))
        site = Site(
            int(get("site", self.done)),
            int(get("row", -1)),
            int(get("col", -1)),
            termination,
            float(get("stop_bias", float("nan"))),
            float(get("stop_current", float("nan"))),
            float(get("height_change", float("nan"))),
        )
        self.done += 1
        if (contact := int(get("contact", -1))) >= 0:
            self.contacts = (self.contacts or 0) + contact
        if termination in TRIPS:
            self.tripped += 1
            self.biases.append(site.stop_bias)
        self.last.append(site)

    @property
    def share(self) -> float:
        """Share of the sites that compliance ended, 0 to 1."""
        return self.tripped / self.done if self.done else 0.0

    @property
    def median_bias(self) -> float | None:
        """Median stop bias of those sites, V."""
        return statistics.median(self.biases) if self.biases else None

    @property
    def time_left(self) -> float | None:
        """Wall time left at the pace so far, s."""
        if self._began is None or self.done < 2 or self.total <= 0:
            return None
        pace = (self._latest - self._began) / self.done
        return max(0, self.total - self.done) * pace

    def sentence(self) -> str:
        """Return the state in one line."""
        parts = [f"{self.done}/{self.total or '?'} sites"]
        if self.done:
            contacts = self.contacts
            parts.append(
                f"{100 * self.share:.0f} % tripped"
                if contacts is None
                else f"{100 * contacts / self.done:.0f} % with contact"
            )
        if self.median_bias is not None and self.contacts is None:
            parts.append(f"median stop bias {self.median_bias:.3f} V")
        if self.exit_status:
            parts.append(f"ended: {self.exit_status}")
        elif self.time_left is not None:
            minutes, seconds = divmod(round(self.time_left), 60)
            parts.append(f"{minutes}:{seconds:02d} left")
        return ", ".join(parts)
