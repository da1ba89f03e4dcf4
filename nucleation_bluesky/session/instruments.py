"""The instrument of a configuration: its virtual controller, if it is one, and its devices."""

from pathlib import Path
from typing import Any

from nucleation_bluesky.session.config import Configuration
from nucleation_bluesky.session.config_seccm import world_of
from nucleation_bluesky.session.virtual import VirtualInstrument


def start_virtual(
    config: Configuration, logs: Path, *, truth: Path | None = None, trace: Path | None = None
) -> VirtualInstrument:
    """Start the virtual instrument; it is not ready yet.

    Parameters
    ----------
    config : Configuration
        Of the session.
    logs : Path
        Where its log goes.
    truth, trace : Path or None
        Files for ground truth and for the controller's own trace.
    """
    more: dict[str, Any] = {}
    if config.instrument.family == "seccm":
        more["camera_prefix"] = config.seccm.camera_prefix
        more["world"] = world_of(config.seccm, config.reference.offset)
    return VirtualInstrument(
        config.instrument,
        logs,
        truth=truth,
        trace=trace,
        environment=config.environment.prefix,
        **more,
    )


def make_instrument(config: Configuration) -> Any:
    """Return the ophyd devices, not yet connected."""
    # imported here: ophyd makes the EPICS context, which reads the environment as it is by then
    instrument = config.instrument
    if instrument.family == "seccm":
        from nucleation_bluesky.devices.seccm import SeccmInstrument  # noqa: PLC0415

        return SeccmInstrument(
            instrument.prefix, name=instrument.name, camera_prefix=config.seccm.camera_prefix
        )
    from nucleation_bluesky.devices.afm import AfmInstrument  # noqa: PLC0415

    return AfmInstrument(instrument.prefix, name=instrument.name)
