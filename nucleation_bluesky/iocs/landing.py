"""One landing over a backend: approach, contact, steps and their limits; and its summary."""

import asyncio
import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from nucleation_bluesky.contract.enums import OnLimit, Termination
from nucleation_bluesky.contract.program import Program
from nucleation_bluesky.iocs.contact import ContactDetector, NoOverloadError
from nucleation_bluesky.iocs.limits import Hit, StepLimits, first_bad
from nucleation_bluesky.iocs.seccm_backend import (
    AFTER,
    APPROACH,
    CutAction,
    LandingBackend,
    LandingBlock,
)
from nucleation_bluesky.iocs.stoppable import BLOCK_TIMEOUT, Stoppable


@dataclass
class LandingRecord:
    """What one landing produced."""

    program: Program
    blocks: list[LandingBlock] = field(default_factory=list)
    termination: Termination = Termination.NONE
    trip_index: int = -1
    latency: float = 0.0
    contact_index: int = -1
    overtravel: float = math.nan
    false_contacts: int = 0
    error: str = ""
    contact_z: float = math.nan
    n_post: int = 0
    n_samples: int = 0
    started: tuple[float, float] = (math.nan, math.nan)  # ticks and UTC at sample 0

    @property
    def sample_rate(self) -> float:
        """Samples per second, Hz."""
        return 1.0 / self.program.sample_period

    def add(self, block: LandingBlock, count: int | None = None, step: int | None = None) -> None:
        """Keep a block, or its first ``count`` samples, numbered on; ``step`` replaces theirs."""
        size = len(block) if count is None else count
        if not size:
            return
        label = np.asarray(block.step[:size]) if step is None else np.full(size, step)
        potential, current, z = block.potential[:size], block.current[:size], block.z[:size]
        self.blocks.append(LandingBlock(self.n_samples, potential, current, z, label))
        self.n_samples += size

    def channel(self, name: str) -> np.ndarray:
        """All recorded samples of a channel, withdrawal included, shape (n_samples,)."""
        parts = [getattr(block, name) for block in self.blocks]
        return np.concatenate(parts) if parts else np.empty(0)

    def settle_contact(self) -> None:
        """Find where contact was met, and how far the pipette went on."""
        if self.contact_index < 0:
            return
        z, step = self.channel("z"), self.channel("step")
        self.contact_z = float(z[self.contact_index])
        approached = np.flatnonzero(step == APPROACH)
        self.overtravel = float(z[approached[-1]]) - self.contact_z


class Landing(Stoppable):
    """Runs one landing; `stop` ends it from outside at any time.

    Parameters
    ----------
    backend : LandingBackend
        The instrument.
    program : Program
        What to do.
    ticks, utc : callables
        The instrument's clocks, s.
    """

    def __init__(
        self,
        backend: LandingBackend,
        program: Program,
        ticks: Callable[[], float] = time.monotonic,
        utc: Callable[[], float] = time.time,
    ):
        super().__init__()
        self._backend, self._program = backend, program
        self._clocks = ticks, utc
        self._detector = ContactDetector(program.approach) if program.approach else None
        self._step = APPROACH if self._detector else 0
        self._limits: StepLimits | None = None
        self._expected = 0  # number of the next sample
        self.record = LandingRecord(program)

    @property
    def last_bias(self) -> float:
        """Potential of the newest recorded sample, V; NaN without any."""
        blocks = self.record.blocks
        return float(blocks[-1].potential[-1]) if blocks else math.nan

    async def run(self) -> LandingRecord:
        """Run to the end, a limit, a stop or an error; the caller brings the safe state.

        Returns
        -------
        LandingRecord
            Never raises for a failing backend: the termination and ``error`` tell.
        """
        record = self.record
        await self._until_stopped(self._run)
        if self._stopped is not None and record.termination is Termination.NONE:
            record.termination = self._stopped
        if self._detector is not None:
            record.false_contacts = self._detector.false_contacts
        return record

    async def _run(self) -> None:
        record = self.record
        now = asyncio.get_running_loop().time
        try:
            async with asyncio.timeout(BLOCK_TIMEOUT) as limit:
                record.started = self._clocks[0](), self._clocks[1]()
                await self._backend.start(self._program)
                while record.termination is Termination.NONE:
                    limit.reschedule(now() + BLOCK_TIMEOUT)
                    block = await self._backend.next_block()
                    limit.reschedule(now() + BLOCK_TIMEOUT)
                    if block is None:
                        self._over()
                    else:
                        await self._take(block)
                    await asyncio.sleep(0)  # kill and heartbeat get their turn between blocks
        except TimeoutError as error:
            record.termination = Termination.STALE
            record.error = f"no new samples ({error or f'waited {BLOCK_TIMEOUT:g} s or more'})"
        except NoOverloadError as error:
            record.termination, record.error = Termination.BACKEND_FAULT, str(error)
        except Exception as error:  # noqa: BLE001 - any driver error must end in the safe state
            record.termination = Termination.BACKEND_FAULT
            record.error = f"{type(error).__name__}: {error}"

    def _over(self) -> None:
        """End of the samples: completion, or an approach that met nothing."""
        record = self.record
        missed = self._step == APPROACH
        record.termination = Termination.NO_CONTACT if missed else Termination.COMPLETED

    async def _take(self, block: LandingBlock) -> None:
        """Check and keep a block, up to the first sample at which something is decided."""
        if block.first_index != self._expected:
            raise ValueError(
                f"block starts at sample {block.first_index}, expected {self._expected}"
            )
        changes = np.flatnonzero(np.diff(np.asarray(block.step))) + 1
        bounds = [0, *changes.tolist(), len(block)]
        for low, high in itertools.pairwise(bounds):
            if high <= low:
                continue
            hit, action = self._check(block, low, high)
            if hit is not None and action is not None:
                await self._cut(block, hit, action)
                return
        self.record.add(block)
        self._expected += len(block)

    def _check(
        self, block: LandingBlock, low: int, high: int
    ) -> tuple[Hit | None, CutAction | None]:
        """Check samples of one step; say what to do at the first that decides something."""
        step = int(block.step[low])
        if step < self._step or step >= max(len(self._program.steps), 1):
            raise ValueError(f"a sample of step {step} came after step {self._step}")
        if step == APPROACH:
            return self._check_approach(block, low, high)
        if step != self._step or self._limits is None:
            if self._step == APPROACH:
                raise ValueError("the backend went on to step 0 without contact")
            self._step = step
            if not self._program.steps:  # contact only: nothing to limit
                return None, None
            self._limits = StepLimits(self._program.steps[step], self._program.sample_period)
        hit = self._limits.check(block, low, high)
        if hit is None:
            return None, None
        goes_on = self._program.steps[step].on_limit is OnLimit.NEXT_STEP and not hit.bad
        return hit, CutAction.NEXT_STEP if goes_on else CutAction.ABORT

    def _check_approach(
        self, block: LandingBlock, low: int, high: int
    ) -> tuple[Hit | None, CutAction | None]:
        if self._detector is None or self._step != APPROACH:
            raise ValueError("samples of an approach came where there is none")
        bad = first_bad(block, low, high, saturation=False)
        end = bad.position if bad else high
        contact = self._detector.feed(block.potential[low:end], block.current[low:end])
        if contact is not None:
            self.record.contact_index = contact.first
            position = contact.confirmed - self._expected
            return Hit(position, Termination.NONE), CutAction.CONTACT
        return (bad, CutAction.ABORT) if bad else (None, None)

    async def _cut(self, block: LandingBlock, hit: Hit, action: CutAction) -> None:
        record = self.record
        record.add(block, hit.position + 1)
        index = self._expected + hit.position
        if action is CutAction.ABORT:  # told even if the driver fails now
            record.termination, record.trip_index = hit.termination, index
        cut = await self._backend.cut(index, action)
        record.add(cut.post, step=self._step)
        self._expected = index + 1 + len(cut.post)
        if action is CutAction.CONTACT:
            self._step, self._limits = 0, None
        elif action is CutAction.NEXT_STEP:
            self._limits = None
            self._step += 1
        else:
            record.latency = cut.latency


def summarise(record: LandingRecord) -> dict[str, float]:
    """Return the RESULT fields that follow from the recorded samples.

    Parameters
    ----------
    record : LandingRecord
        A finished landing.

    Returns
    -------
    dict
        Field name to value, SI; NaN where nothing was recorded.
    """
    potential, current, step = (record.channel(n) for n in ("potential", "current", "step"))
    period = record.program.sample_period
    before = np.flatnonzero(step != AFTER)
    last = int(before[-1]) if len(before) else -1
    in_program = current[step >= 0]
    in_program = in_program[np.isfinite(in_program)]
    touched = record.contact_index >= 0
    ticks, utc = record.started
    return {
        "termination": float(record.termination),
        "n_samples": float(record.n_samples),
        "n_post": float(record.n_post),
        "trip_index": float(record.trip_index),
        "trip_segment": float(step[last]) if last >= 0 else -1.0,
        "stop_bias": float(potential[last]) if last >= 0 else math.nan,
        "stop_current": float(current[last]) if last >= 0 else math.nan,
        "charge": float(np.sum(in_program)) * period,
        "latency": record.latency,
        "start_ticks": ticks,
        "start_utc": utc,
        "duration": max(last, 0) * period + record.latency,
        "contact": float(touched),
        "contact_index": float(record.contact_index),
        "contact_z": record.contact_z,
        "contact_ticks": ticks + record.contact_index * period if touched else math.nan,
        "overtravel": record.overtravel,
        "false_contacts": float(record.false_contacts),
    }
