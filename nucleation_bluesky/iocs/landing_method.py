"""Exposures of the SECCM family: a landing, its safe state and the withdrawal of the pipette."""

import asyncio
import logging
import math
from dataclasses import replace

from nucleation_bluesky.contract.enums import Fault, SafeState, Termination
from nucleation_bluesky.contract.program import Program
from nucleation_bluesky.iocs import landing_parameters
from nucleation_bluesky.iocs.backend import Capabilities
from nucleation_bluesky.iocs.landing import Landing, LandingRecord, summarise
from nucleation_bluesky.iocs.parameters import check_width, si
from nucleation_bluesky.iocs.pipette import Pipette
from nucleation_bluesky.iocs.pvdb import Channels
from nucleation_bluesky.iocs.seccm_backend import AFTER, LandingBlock, SeccmBackend
from nucleation_bluesky.iocs.state import Refusal

logger = logging.getLogger(__name__)
# At rest until the pipette is withdrawn: no charge passes, where the instrument can do that.
RESTS = (SafeState.OPEN_CIRCUIT, SafeState.ZERO_CURRENT, SafeState.HOLD)
WITHDRAWAL_MARGIN = 10.0  # s on top of what distance and speed say


class LandingMethod:
    """Landings of a controller (an `ExposureMethod`).

    The policy ``retract_then_zero`` is done here: the output rests without current, the pipette is
    withdrawn, then 0 V are applied. 0 V in contact would strip what was plated.

    Parameters
    ----------
    backend : SeccmBackend
        The instrument.
    channels : Channels
        Where PROGRAM, APPROACH: and RETRACT: live.
    """

    def __init__(self, backend: SeccmBackend, channels: Channels):
        self._backend, self._controller = backend, backend.controller
        self._channels = channels
        self.pipette = Pipette(backend.pipette, channels)
        self._withdrawn = False
        self._owed: float | None = None  # way of a withdrawal that has not succeeded, m
        self._withdrawing = asyncio.Lock()
        self._policy = (SafeState.OPEN_CIRCUIT, 0.0)
        self._start_z = self._deepest = math.nan
        self._landing: Landing | None = None

    @property
    def capabilities(self) -> Capabilities:
        """What the controller can do now; withdrawal is the front end's."""
        caps = self._controller.capabilities
        more = {SafeState.RETRACT_THEN_ZERO} if SafeState.ZERO in caps.safe_states else set()
        return replace(caps, safe_states=caps.safe_states | more)

    def prepare(self) -> Program:
        """Read the program.

        Raises
        ------
        Refusal
            BAD_PARAMETER if it does not fit together, the instrument or a row of the open file.
        """
        program = landing_parameters.program(self._channels)
        landing_parameters.check_program(program, self._controller.capabilities)
        z = self.pipette.z
        if program.approach is not None:
            self.pipette.check_depth(program.approach.z_max, "APPROACH:Z_MAX")
            if program.approach.z_max <= z:
                raise Refusal(
                    Fault.BAD_PARAMETER,
                    f"the pipette stands at {z * 1e6:.3f} um, not before APPROACH:Z_MAX = "
                    f"{program.approach.z_max * 1e6:.3f} um: withdraw it first",
                )
        width = program.max_samples(z)
        check_width(self._channels, width, "the landing", "lower APPROACH:Z_MAX")
        return program

    def expose(self, prepared: Program) -> Landing:
        """Return the landing that was prepared."""
        self._withdrawn, self._start_z = False, self.pipette.z
        approach = prepared.approach
        self._deepest = approach.z_max if approach is not None else self._start_z
        self._landing = Landing(self._controller, prepared, self._backend.ticks, self._backend.utc)
        return self._landing

    async def bring_safe(self, policy: SafeState, bias: float) -> None:
        """Bring the electrical safe state now, whatever the pipette does."""
        self._policy = policy, bias
        await self._controller.safe_state(*self._electrical(policy, bias))

    def _electrical(self, policy: SafeState, bias: float) -> tuple[SafeState, float]:
        if policy is not SafeState.RETRACT_THEN_ZERO:
            return policy, bias
        if self._withdrawn:
            return SafeState.ZERO, 0.0
        able = self._controller.capabilities.safe_states
        rest = next((r for r in RESTS if r in able), SafeState.ZERO)
        last = self._landing.last_bias if self._landing is not None else 0.0
        return rest, last if math.isfinite(last) else 0.0

    @property
    def wind_up_time(self) -> float:
        """Upper bound of the withdrawal, s of wall time."""
        distance, speed = self._retraction()
        way = self._deepest - self._start_z
        return max(distance, way if math.isfinite(way) else 0.0) / speed + WITHDRAWAL_MARGIN

    def _retraction(self) -> tuple[float, float]:
        return (
            si(self._channels, "RETRACT:DISTANCE"),
            si(self._channels, "RETRACT:SPEED"),
        )

    async def withdraw(self, distance: float) -> LandingBlock:
        """Withdraw the pipette; then the safe state is that of a pipette in the air.

        Parameters
        ----------
        distance : float
            Way back, m, at most to the lower limit of Z.

        Raises
        ------
        Exception
            What the driver raises.
        """
        self._owed = distance
        async with self._withdrawing:
            _, speed = self._retraction()
            block = await self._controller.retract(distance, speed)
            self._withdrawn, self._owed = True, None
            await self.pipette.refresh_all()
            if self._policy[0] is SafeState.RETRACT_THEN_ZERO:
                await self._controller.safe_state(SafeState.ZERO, 0.0)
        return block

    def owed(self) -> str:
        """Say why no landing may start while the pipette could not be withdrawn; "" if it was."""
        if self._owed is None or self._landing is not None:
            return ""
        return "the pipette could not be withdrawn from the last landing; it is tried again"

    async def withdraw_again(self) -> bool:
        """Repeat a withdrawal that failed; whether one was due.

        Raises
        ------
        Exception
            What the driver raises.
        """
        if self._owed is None or self._landing is not None or self._withdrawing.locked():
            return False
        await self.withdraw(self._owed)
        return True

    async def _way_back(self) -> float:
        """Way to where the approach started, m; the longest where the driver cannot tell."""
        try:
            await self.pipette.refresh_all()
        except Exception:  # any driver error: the pipette has to be withdrawn all the same
            logger.exception("position before the withdrawal")
            return self._deepest - self._start_z
        return self.pipette.z - self._start_z

    async def wind_up(self, record: LandingRecord) -> None:
        """Withdraw the pipette, however the landing ended."""
        distance, _ = self._retraction()
        record.settle_contact()
        if record.contact_index >= 0:
            await self.pipette.met_surface(record.contact_z)
        elif math.isfinite(self._start_z):  # back to where the approach started
            way = await self._way_back()
            missed = record.termination is Termination.NO_CONTACT
            distance = max(way, 0.0) if missed else max(way, distance)
        try:
            block = await asyncio.shield(self.withdraw(distance))
        finally:
            self._landing = None
        room = self._channels.value("FILE:MAX_SAMPLES") - record.n_samples
        capturing = self._channels.value("FILE:CAPTURE")  # the withdrawal has a rate of its own
        record.add(block, min(len(block), max(room, 0)) if capturing else None, step=AFTER)

    def summarise(self, record: LandingRecord) -> dict[str, float]:
        """Return the RESULT fields of a landing."""
        return summarise(record)
