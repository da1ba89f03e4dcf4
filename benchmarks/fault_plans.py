"""What random schedules interrupt: ramps of the AFM, and landings of the SECCM."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from benchmarks.faults import MIN_DISTANCE, Plan

UM = 1e-6


@dataclass(frozen=True)
class AfmPlan(Plan):
    """A row of ramps, each three heartbeats long."""

    family: str = "afm"
    job: str = "map"
    sections: str = ""
    apart: float = MIN_DISTANCE  # m, what is nearer is the same place

    @property
    def world(self) -> dict[str, float]:
        """The virtual instrument's own settings."""
        return {}

    def arguments_of(self, number: int) -> dict[str, Any]:
        """Arguments of the plan of a schedule."""
        del number  # every sample is a new one
        return self.arguments

    def document(self) -> dict[str, Any]:
        """For the results."""
        return {**asdict(self), "energised_seconds": self.duration}


@dataclass(frozen=True)
class SeccmPlan:
    """A row of landings: approach, contact, galvanostatic step; three heartbeats energised."""

    family: str = "seccm"
    job: str = "screen"
    cols: int = 3
    heartbeat: float = 1.0
    opening: float = 1 * UM
    wetting: float = 1.5
    surface: float = 12 * UM
    speed: float = 12 * UM
    retraction: float = 8 * UM
    step: float = 2.0
    current: float = -50e-12
    pitch: float = 2 * UM

    @property
    def apart(self) -> float:
        """What is nearer is the same place, m: footprints must not overlap."""
        return 0.99 * self.opening * self.wetting

    @property
    def duration(self) -> float:
        """Time energised, s."""
        return self.surface / self.speed + self.step

    @property
    def world(self) -> dict[str, float]:
        """The virtual instrument's own settings."""
        return {
            "pipette_opening": self.opening, "wetting_ratio": self.wetting,
            "surface_z": self.surface, "frame_size": 16,
        }  # fmt: skip

    @property
    def sections(self) -> str:
        """Of the configuration."""
        return f"[seccm]\npipette_opening = {self.opening}\nwetting_ratio = {self.wetting}\n"

    def arguments_of(self, number: int) -> dict[str, Any]:
        """Arguments of the plan of a schedule; each has sites of its own on the one sample."""
        row, column = number % 12, number // 12 % 4
        return {
            "conditions": [{"current": self.current, "duration": self.step}],
            "repeats": self.cols, "rows": 1, "cols": self.cols, "pitch": self.pitch,
            "origin": [(2 + 7 * column) * UM, (2 + 2 * row) * UM], "film": False,
            "z_max": self.surface + 3 * UM, "approach_speed": self.speed,
            "retract_distance": self.retraction, "retract_speed": 16 * UM,
        }  # fmt: skip

    def document(self) -> dict[str, Any]:
        """For the results."""
        return {**asdict(self), "energised_seconds": self.duration}


# ramps that no nucleus can end early, of 3 s
AFM = AfmPlan(rows=1, cols=3, stop=-2.4, rate=0.8, heartbeat=1.0)
SECCM = SeccmPlan()
QUEUE = replace(AFM, family="queue")  # the same ramps, in the worker of a queue server
FAMILIES: dict[str, AfmPlan | SeccmPlan] = {"afm": AFM, "seccm": SECCM, "queue": QUEUE}
