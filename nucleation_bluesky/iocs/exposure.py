"""One controller-run exposure over a backend: blocks, compliance, abort; and its summary."""

import asyncio
import math
from dataclasses import dataclass, field

import numpy as np

from nucleation_bluesky.contract.enums import AfterTrip, Termination
from nucleation_bluesky.contract.files import WAVEFORM_CHANNELS
from nucleation_bluesky.contract.ramp import Compliance, RampSpec
from nucleation_bluesky.iocs.backend import Aborted, Block, ControllerBackend
from nucleation_bluesky.iocs.compliance import ComplianceChecker, Trip
from nucleation_bluesky.iocs.stoppable import BLOCK_TIMEOUT, Stoppable

ABORT_TIMEOUT = 5.0  # on top of the after-trip action


@dataclass
class Record:
    """What one exposure produced."""

    spec: RampSpec
    blocks: list[Block] = field(default_factory=list)
    termination: Termination = Termination.NONE
    trip_index: int = -1
    aborted: Aborted | None = None
    baseline: float = math.nan
    error: str = ""

    def channel(self, name: str) -> np.ndarray:
        """All recorded samples of a channel, post-trip included, shape (n_samples,)."""
        parts = [getattr(block, name) for block in self.blocks]
        if self.aborted is not None:
            parts.append(getattr(self.aborted.post, name))
        return np.concatenate(parts) if parts else np.empty(0)

    @property
    def n_post(self) -> int:
        """Samples recorded after the trip."""
        return len(self.aborted.post) if self.aborted is not None else 0

    @property
    def sample_rate(self) -> float:
        """Samples per second, Hz."""
        return self.spec.sample_rate


class Exposure(Stoppable):
    """Runs one ramp; `stop` ends it from outside at any time.

    Parameters
    ----------
    backend : ControllerBackend
        The instrument.
    spec : RampSpec
        The ramp.
    compliance : Compliance
        When to abort.
    """

    def __init__(self, backend: ControllerBackend, spec: RampSpec, compliance: Compliance):
        super().__init__()
        self._backend = backend
        self._checker = ComplianceChecker(compliance, spec)
        self.record = Record(spec)

    @property
    def last_bias(self) -> float:
        """Bias of the newest recorded sample, V."""
        record = self.record
        return float(record.blocks[-1].bias[-1]) if record.blocks else record.spec.start

    async def run(self) -> Record:
        """Run to the end, a trip, a stop or an error; the caller brings the safe state.

        Returns
        -------
        Record
            Never raises for a failing backend: the termination and ``error`` tell.
        """
        record = self.record
        await self._until_stopped(self._run_ramp)
        if self._stopped is not None and record.termination is Termination.NONE:
            record.termination = self._stopped
        record.baseline = self._checker.baseline
        return record

    async def _run_ramp(self) -> None:
        record, spec = self.record, self.record.spec
        now = asyncio.get_running_loop().time
        try:
            async with asyncio.timeout(BLOCK_TIMEOUT) as limit:
                await self._backend.start_ramp(spec)
                while True:
                    limit.reschedule(now() + BLOCK_TIMEOUT)
                    block = await self._backend.next_block()
                    if block is None:
                        record.termination = Termination.COMPLETED
                        return
                    if (trip := self._take(block)) is not None:
                        break
                    await asyncio.sleep(0)  # kill and heartbeat get their turn between blocks
                wait = spec.after_time + reverse_time(spec, self.last_bias) + ABORT_TIMEOUT
                limit.reschedule(now() + wait)
                record.aborted = await self._backend.abort(trip.index, spec)
        except TimeoutError as error:
            tripped = record.trip_index >= 0
            record.termination = Termination.BACKEND_FAULT if tripped else Termination.STALE
            what = "the abort did not finish in time" if tripped else "no new samples"
            record.error = f"{what} ({error or f'waited {BLOCK_TIMEOUT:g} s or more'})"
        except Exception as error:  # noqa: BLE001 - any driver error must end in the safe state
            record.termination = Termination.BACKEND_FAULT
            record.error = f"{type(error).__name__}: {error}"

    def _take(self, block: Block) -> Trip | None:
        """Check and keep a block, up to the sample that trips."""
        record = self.record
        trip = self._checker.check(block)
        if trip is None:
            record.blocks.append(block)
            return None
        record.blocks.append(_head(block, trip.index - block.first_index + 1))
        record.termination, record.trip_index = trip.termination, trip.index
        return trip


def reverse_time(spec: RampSpec, bias: float) -> float:
    """Duration of the reverse sweep from ``bias`` to the start, s (0 without one)."""
    if spec.after_trip is not AfterTrip.REVERSE_SWEEP or not math.isfinite(bias):
        return 0.0
    return abs(bias - spec.start) / spec.rates[-1]


def _head(block: Block, count: int) -> Block:
    return Block(block.first_index, *(getattr(block, name)[:count] for name in WAVEFORM_CHANNELS))


def summarise(record: Record) -> dict[str, float]:
    """Return the RESULT fields that follow from the recorded samples.

    Parameters
    ----------
    record : Record
        A finished exposure.

    Returns
    -------
    dict
        Field name to value, SI; NaN where nothing was recorded.
    """
    spec = record.spec
    bias, current, height = (record.channel(name) for name in WAVEFORM_CHANNELS)
    n_before = len(bias) - record.n_post
    latency = record.aborted.latency if record.aborted is not None else 0.0
    # Last sample strictly before the abort took effect, as far as it was recorded.
    extra = max(math.ceil(latency * spec.sample_rate - 1e-9) - 1, 0)
    last = min(n_before - 1 + extra, len(bias) - 1)
    finite = current[np.isfinite(current)]
    duration = max(n_before - 1, 0) / spec.sample_rate
    if record.aborted is not None:
        duration += latency + reverse_time(spec, float(bias[n_before - 1]))
        duration += spec.after_time if spec.after_trip is AfterTrip.HOLD else 0.0
    return {
        "termination": float(record.termination),
        "n_samples": float(len(bias)),
        "n_post": float(record.n_post),
        "trip_index": float(record.trip_index),
        "trip_segment": float(spec.segment_at(max(n_before - 1, 0))),
        "stop_bias": float(bias[last]) if len(bias) else math.nan,
        "stop_current": float(current[last]) if len(bias) else math.nan,
        "height_change": float(height[last]) - record.baseline if len(bias) else math.nan,
        "peak_current": float(finite[np.argmax(np.abs(finite))]) if len(finite) else math.nan,
        "charge": _charge(record, current, n_before),
        "latency": latency,
        "duration": duration,
    }


def _charge(record: Record, current: np.ndarray, n_before: int) -> float:
    """Net charge by the trapezoid rule, C; samples that are not finite are bridged."""
    after = record.aborted.net_charge if record.aborted is not None else math.nan
    known = math.isfinite(after)
    used = current[:n_before] if known else current
    index = np.flatnonzero(np.isfinite(used))
    inside = (
        float(np.trapezoid(used[index], index)) / record.spec.sample_rate if len(index) else 0.0
    )
    return inside + (after if known else 0.0)
