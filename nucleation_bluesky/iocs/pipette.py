"""PIP: PVs: moves of the pipette outside landings, and where they are refused."""

import math
from collections.abc import Awaitable, Callable

from nucleation_bluesky.contract.enums import Fault
from nucleation_bluesky.iocs.front import Front
from nucleation_bluesky.iocs.parameters import SI, si
from nucleation_bluesky.iocs.pvdb import Channels
from nucleation_bluesky.iocs.seccm_backend import PipetteBackend
from nucleation_bluesky.iocs.state import Refusal

UM = SI["um"]
AXES: tuple[str, ...] = ("x", "y", "z")
TOLERANCE = 20e-9  # m; a readback has noise


class Pipette:
    """Positioner of the pipette.

    Parameters
    ----------
    backend : PipetteBackend or None
        The positioner, where there is one.
    channels : Channels
        Where the PIP: PVs live.
    """

    def __init__(self, backend: PipetteBackend | None, channels: Channels):
        self._backend, self._channels = backend, channels
        self._front: Front | None = None
        self._moving: set[str] = set()
        self._position: dict[str, float] = dict.fromkeys(AXES, math.nan)

    @property
    def z(self) -> float:
        """Last known extension, m; 0 without a positioner."""
        return self._position["z"] if self._backend is not None else 0.0

    @property
    def position(self) -> dict[str, float]:
        """Last known position, m."""
        return dict(self._position)

    def attach(self, front: Front) -> None:
        """Serve the PIP: PVs through a front end."""
        self._front = front
        front.add_blocker(self._busy)
        front.add_stopper(self._stop_motion)
        front.add_commands({f"PIP:{a.upper()}": self._mover(a) for a in AXES})
        front.add_commands({"PIP:STOP": self._stop, "PIP:Z:SOFT_LIMIT": self._soft_limit})
        if self._backend is not None:
            readbacks = {f"PIP:{a.upper()}:RBV" for a in AXES}
            front.channels.set_refresher(readbacks, self._refresh)

    async def boot(self) -> None:
        """Publish limits and position."""
        if self._backend is None:
            return
        post = self._channels.post
        for axis in AXES:
            name = f"PIP:{axis.upper()}"
            low, high = (v / UM for v in self._backend.limits[axis])
            fastest = self._backend.max_speed[axis] / UM
            await post(f"{name}:LOW", low)
            await post(f"{name}:HIGH", high)
            await post(f"{name}:SPEED:MAX", fastest)
            await post(f"{name}:SPEED", min(self._channels.value(f"{name}:SPEED"), fastest))
            if axis == "z":
                await post("PIP:Z:SOFT_LIMIT", high)
                await post("PIP:Z:SAFE", low)
                await post("APPROACH:Z_MAX", min(self._channels.value("APPROACH:Z_MAX"), high))
        await self.refresh_all()
        for axis in AXES:
            await post(f"PIP:{axis.upper()}", self._position[axis] / UM)

    async def refresh_all(self) -> None:
        """Ask the driver where the pipette is."""
        if self._backend is not None:
            for axis in AXES:
                await self._know(axis, await self._backend.position(axis))

    async def met_surface(self, z: float) -> None:
        """Lateral moves need the pipette withdrawn from where it met the surface, m."""
        if math.isfinite(z) and self._backend is not None:
            low = self._backend.limits["z"][0]
            safe = max(z - si(self._channels, "PIP:CLEARANCE"), low)
            await self._channels.post("PIP:Z:SAFE", safe / UM)

    def check_depth(self, z: float, what: str) -> None:
        """Refuse an extension beyond the soft limit.

        Raises
        ------
        Refusal
            BAD_PARAMETER.
        """
        limit = si(self._channels, "PIP:Z:SOFT_LIMIT")
        if self._backend is not None and z > limit * (1 + 1e-9):
            raise Refusal(
                Fault.BAD_PARAMETER,
                f"{what} = {z / UM:.3f} um is beyond PIP:Z:SOFT_LIMIT = {limit / UM:.3f} um",
            )

    def _busy(self) -> str:
        moving = ", ".join(sorted(self._moving))
        return f"the pipette is moving ({moving})" if moving else ""

    async def _know(self, axis: str, value: float) -> None:
        self._position[axis] = value
        await self._channels.post(f"PIP:{axis.upper()}:RBV", value / UM)

    async def _refresh(self, suffix: str) -> None:
        axis = suffix.split(":")[1].lower()
        # A monitored value stays when the driver cannot answer; the move itself reports faults.
        try:
            await self._know(axis, await self._positioner().position(axis))
        except OSError as error:
            if self._front is not None:
                text = f"pipette position: {error}"
                self._front.state.refused(Refusal(Fault.BACKEND_ERROR, text))
                await self._front.publish()

    def _positioner(self) -> PipetteBackend:
        if self._backend is None:
            raise Refusal(Fault.BAD_PARAMETER, "this instrument has no positioner")
        return self._backend

    def _mover(self, axis: str) -> Callable[[float], Awaitable[float]]:
        name = f"PIP:{axis.upper()}"

        async def move(target: float) -> float:
            positioner = self._positioner()
            if self._front is not None:
                self._front.state.require_idle("a move")
                self._front.require_ended("a move")  # a killed landing is still withdrawing
            if axis in self._moving:
                raise Refusal(Fault.BUSY, f"{axis} is moving: write PIP:STOP first")
            await self._know("z", await positioner.position("z"))
            self._require_clear(axis, target * UM)
            self._moving.add(axis)
            try:
                await self._channels.post(name, target)
                speed = si(self._channels, f"{name}:SPEED")
                await self._know(axis, await positioner.move(axis, target * UM, speed))
            finally:
                self._moving.discard(axis)
            return target

        return move

    def _require_clear(self, axis: str, target: float) -> None:
        if axis == "z":
            self.check_depth(target, "PIP:Z")
            if self._moving and target > self._position["z"]:
                raise Refusal(Fault.BUSY, "no move towards the sample during a lateral move")
            return
        if "z" in self._moving:
            raise Refusal(Fault.BUSY, "no lateral move while z moves")
        safe = si(self._channels, "PIP:Z:SAFE")
        if self._position["z"] > safe + TOLERANCE:
            raise Refusal(
                Fault.BAD_PARAMETER,
                f"the pipette stands at {self._position['z'] / UM:.3f} um, beyond PIP:Z:SAFE = "
                f"{safe / UM:.3f} um: withdraw it before a lateral move",
            )

    async def _soft_limit(self, value: float) -> float:
        if self._front is not None:
            self._front.state.require_idle("PIP:Z:SOFT_LIMIT")
        return value

    async def _stop(self, value: int) -> int:
        await self._positioner().stop()
        if self._front is not None:
            self._front.trace("pipette_stopped")
        return value

    async def _stop_motion(self) -> None:
        if self._backend is not None and self._moving:
            await self._backend.stop()
