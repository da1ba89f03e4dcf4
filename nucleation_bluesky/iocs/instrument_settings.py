"""Settings that the instrument's driver applies: gain, filter, range."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from nucleation_bluesky.contract.enums import Fault
from nucleation_bluesky.iocs.frontend import FrontEnd
from nucleation_bluesky.iocs.parameters import SI
from nucleation_bluesky.iocs.state import Refusal


class Settable(Protocol):
    """A driver with settings."""

    async def set_parameter(self, name: str, value: float) -> float:
        """Apply a setting (SI) and return the value in force."""
        ...


class InstrumentSettings:
    """Serves the settings of a driver; refused while armed or energised.

    Parameters
    ----------
    front : FrontEnd
        The front end.
    controller : Settable
        The driver; where it has ``settings``, these are in force at boot.
    names : iterable of str
        PVs.
    """

    def __init__(self, front: FrontEnd, controller: Settable, names: Iterable[str]) -> None:
        self._front, self._controller = front, controller
        front.add_commands({name: self._setter(name) for name in names})

    def _unit(self, name: str) -> float:
        return SI.get(self._front.channels.pvs[name].egu, 1.0)

    async def boot(self) -> None:
        """Publish what is in force."""
        for name, value in getattr(self._controller, "settings", {}).items():
            await self._front.channels.post(name, value / self._unit(name))

    def _setter(self, name: str) -> Callable[[float], Awaitable[float]]:
        unit = self._unit(name)

        async def apply(value: float) -> float:
            self._front.state.require_idle(name)
            try:
                applied = await self._controller.set_parameter(name, float(value) * unit)
            except (ValueError, KeyError, NotImplementedError) as error:
                text = f"{name}: {error or 'not supported by this instrument'}"
                raise Refusal(Fault.BAD_PARAMETER, text) from None
            await self._front.publish_capabilities()
            return applied / unit

        return apply
