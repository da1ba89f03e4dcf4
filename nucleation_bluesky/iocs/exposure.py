"""One controller-run exposure over a backend: blocks, compliance, abort; and its summary."""

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np

from nucleation_bluesky.contract.enums import AfterTrip, Termination
from nucleation_bluesky.contract.files import WAVEFORM_CHANNELS
from nucleation_bluesky.contract.ramp import Compliance, RampSpec
from nucleation_bluesky.iocs.backend import Aborted, Block, ControllerBackend
from nucleation_bluesky.iocs.compliance import ComplianceChecker

BLOCK_TIMEOUT = 5.0  # a backend owes a block at least this often
ABORT_TIMEOUT = 5.0  # on top of the after-trip action
_T = TypeVar("_T")


class Stopped(Exception):  # noqa: N818 - a decision, not an error of the program
    """Kill, heartbeat or stall ended the exposure while it waited for the backend."""


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


class Exposure:
    """Runs one ramp; :meth:`stop` ends it from outside at any time.

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
        self._backend = backend
        self._checker = ComplianceChecker(compliance, spec)
        self._stop: asyncio.Future[Termination] = asyncio.get_running_loop().create_future()
        self.record = Record(spec)

    def stop(self, termination: Termination) -> None:
        """End the exposure; whoever calls this brings the safe state himself."""
        if not self._stop.done():
            self._stop.set_result(termination)

    @property
    def last_bias(self) -> float:
        """Bias of the newest recorded sample, V."""
        return (
            float(self.record.blocks[-1].bias[-1]) if self.record.blocks else self.record.spec.start
        )

    async def _or_stop(
        self,
        work: Callable[[], Awaitable[_T]],
        timeout: float,  # noqa: ASYNC109
    ) -> _T:
        if self._stop.done():  # nothing may start after the safe state was ordered
            raise Stopped
        task = asyncio.ensure_future(work())
        await asyncio.wait({task, self._stop}, timeout=timeout, return_when="FIRST_COMPLETED")
        if task.done() and not self._stop.done():
            return task.result()
        if not task.done():
            task.cancel()
            # A driver call in a thread cannot be cancelled: do not wait for it.
            await asyncio.wait({task}, timeout=0.05)
        if task.done() and not task.cancelled():
            with contextlib.suppress(Exception):  # the stop outweighs the driver's complaint
                task.result()
        if self._stop.done():
            raise Stopped
        raise TimeoutError

    async def run(self) -> Record:
        """Run to the end, a trip, a stop or an error; the caller brings the safe state.

        Returns
        -------
        Record
            Never raises for a failing backend: the termination and ``error`` tell.
        """
        record = self.record
        try:
            await self._ramp()
        except Stopped:
            if record.termination is Termination.NONE:
                record.termination = self._stop.result()
        except TimeoutError:
            record.termination = Termination.STALE
            record.error = f"the backend delivered nothing for {BLOCK_TIMEOUT:g} s"
        except Exception as error:  # noqa: BLE001 - any driver error must end in the safe state
            record.termination = Termination.BACKEND_FAULT
            record.error = f"{type(error).__name__}: {error}"
        record.baseline = self._checker.baseline
        return record

    async def _ramp(self) -> None:
        record, spec = self.record, self.record.spec
        await self._or_stop(lambda: self._backend.start_ramp(spec), BLOCK_TIMEOUT)
        while (block := await self._or_stop(self._backend.next_block, BLOCK_TIMEOUT)) is not None:
            trip = self._checker.check(block)
            if trip is None:
                record.blocks.append(block)
                continue
            record.blocks.append(_head(block, trip.index - block.first_index + 1))
            record.termination, record.trip_index = trip.termination, trip.index
            wait = spec.after_time + reverse_time(spec, self.last_bias) + ABORT_TIMEOUT
            abort = partial(self._backend.abort, trip.index, spec)
            record.aborted = await self._or_stop(abort, wait)
            return
        record.termination = Termination.COMPLETED


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
