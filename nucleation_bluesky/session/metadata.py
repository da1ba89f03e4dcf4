"""What the configuration contributes to every run's start document."""

from typing import Any

from nucleation_bluesky.contract.documents import START_KEY
from nucleation_bluesky.session.config import Configuration


def nucleation_block(config: Configuration, owner: str, epoch: int) -> dict[str, Any]:
    """Return the session's part of the ``nucleation`` block; the plan adds its own."""
    reference = config.reference
    block: dict[str, Any] = {
        "family": config.instrument.family,
        "sample": config.sample.name,
        "mount_epoch": epoch,
        "session": owner,
        "bias_applied_to": reference.bias_applied_to,
        "reference_scale": reference.scale,
        "material": config.sample.material.model_dump(),
    }
    if config.instrument.family == "seccm":
        block |= config.seccm.document()
    if config.instrument.tip is not None:
        block["tip"] = config.instrument.tip.model_dump()
    if reference.converted_scale is not None:
        block["reference_offset"] = {
            "scale": reference.converted_scale,
            "offset": reference.offset,
        }
    if reference.equilibrium_potential is not None:
        block["equilibrium_potential"] = {
            "value": reference.equilibrium_potential,
            "source": reference.equilibrium_source,
        }
    return block


def run_engine_metadata(config: Configuration, block: dict[str, Any]) -> dict[str, Any]:
    """Return the RunEngine's metadata: in every start document, also those of stock plans."""
    metadata: dict[str, Any] = {"sample": config.sample.name, START_KEY: block}
    if config.operator:
        metadata["operator"] = config.operator
    return metadata | dict(config.metadata)
