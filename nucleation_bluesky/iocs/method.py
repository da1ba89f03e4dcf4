"""What a family tells the front end about its exposures."""

from typing import Any, Protocol

import numpy as np

from nucleation_bluesky.contract.enums import SafeState, Termination
from nucleation_bluesky.iocs.backend import Capabilities
from nucleation_bluesky.iocs.driver_threads import Cut


class Record(Protocol):
    """What one exposure produced."""

    termination: Termination
    trip_index: int
    error: str

    @property
    def n_post(self) -> int:
        """Samples recorded after the trip."""
        ...

    @property
    def sample_rate(self) -> float:
        """Samples per second, Hz."""
        ...

    def channel(self, name: str) -> np.ndarray:
        """All samples of a channel of the family's waveform files, shape (n_samples,)."""
        ...


class Exposure(Protocol):
    """One exposure under way; ``cut_off`` are threads of the driver that a stop left behind."""

    cut_off: Cut

    @property
    def last_bias(self) -> float:
        """Bias or potential of the newest sample, V."""
        ...

    def stop(self, termination: Termination) -> None:
        """End it; whoever calls this brings the safe state himself."""
        ...

    async def run(self) -> Any:
        """Run to the end and return the `Record`; the caller brings the safe state."""
        ...


class ExposureMethod(Protocol):
    """How a family prepares, runs, ends and summarises an exposure."""

    @property
    def capabilities(self) -> Capabilities:
        """What the controller can do now."""
        ...

    def prepare(self) -> Any:
        """Read the parameters from the PVs at ARM; raise `Refusal` if they do not fit."""
        ...

    def expose(self, prepared: Any) -> Exposure:
        """Return the exposure that was prepared."""
        ...

    async def bring_safe(self, policy: SafeState, bias: float) -> None:
        """Bring the output to the safe state now."""
        ...

    @property
    def wind_up_time(self) -> float:
        """Upper bound of what `wind_up` takes, s of wall time."""
        ...

    async def wind_up(self, record: Any) -> None:
        """Do what follows the safe state, however the exposure ended; a driver may raise."""
        ...

    def summarise(self, record: Any) -> dict[str, float]:
        """Return the RESULT fields that follow from the record."""
        ...
