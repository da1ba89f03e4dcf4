"""Exposures of the AFM family: a bias ramp with compliance."""

from nucleation_bluesky.contract.enums import Fault, SafeState
from nucleation_bluesky.contract.ramp import Compliance, RampSpec
from nucleation_bluesky.iocs import parameters
from nucleation_bluesky.iocs.backend import Capabilities, ControllerBackend
from nucleation_bluesky.iocs.exposure import Exposure, Record, summarise
from nucleation_bluesky.iocs.pvdb import Channels
from nucleation_bluesky.iocs.state import Refusal


class RampMethod:
    """Ramps of a controller (an `ExposureMethod`).

    Parameters
    ----------
    controller : ControllerBackend
        The instrument.
    channels : Channels
        Where RAMP:, COMP: and AFTER: live.
    """

    wind_up_time = 0.0

    def __init__(self, controller: ControllerBackend, channels: Channels):
        self._controller, self._channels = controller, channels

    @property
    def capabilities(self) -> Capabilities:
        """What the controller can do now."""
        return self._controller.capabilities

    def prepare(self) -> tuple[RampSpec, Compliance]:
        """Read ramp and compliance.

        Raises
        ------
        Refusal
            BAD_PARAMETER if they do not fit together or in a row of the open file.
        """
        spec = parameters.ramp_spec(self._channels)
        width = spec.n_samples + spec.n_post
        parameters.check_width(self._channels, width, "the ramp", "lower the sample rate")
        return spec, parameters.compliance(self._channels)

    def expose(self, prepared: tuple[RampSpec, Compliance]) -> Exposure:
        """Return the ramp that was prepared.

        Raises
        ------
        Refusal
            BAD_PARAMETER where the controller only does software ramps.
        """
        if not self.capabilities.ramp:
            raise Refusal(Fault.BAD_PARAMETER, "this controller runs no ramps: use SOFT:GO")
        return Exposure(self._controller, *prepared)

    async def bring_safe(self, policy: SafeState, bias: float) -> None:
        """Bring the safe state now."""
        await self._controller.safe_state(policy, bias)

    async def wind_up(self, record: Record) -> None:
        """Nothing follows a ramp."""

    def summarise(self, record: Record) -> dict[str, float]:
        """Return the RESULT fields of a ramp."""
        feedback = float(self._channels.value("Z:FEEDBACK"))
        return summarise(record) | {"height_feedback": feedback}
