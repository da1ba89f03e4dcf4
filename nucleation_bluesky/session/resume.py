"""Go on with an interrupted map: its arguments and reference topography come from its run."""

from collections.abc import Callable
from typing import Any, cast

from bluesky.protocols import Readable
from bluesky.utils import MsgGenerator

from nucleation_bluesky.contract.documents import START_KEY
from nucleation_bluesky.plans.nucleation_map import resume_map
from nucleation_bluesky.plans.registration import Reference
from nucleation_bluesky.plans.screen import (
    combinatorial_screen,
    constant_charge_series,
    hopping_map,
)
from nucleation_bluesky.session.session import Session
from nucleation_bluesky.storage.read import load_topography
from nucleation_bluesky.storage.runs import open_run

RESUMABLE = ("nucleation_map", "resume_map")
LANDINGS: dict[str, Callable[..., MsgGenerator[Any]]] = {
    plan.__name__: plan for plan in (combinatorial_screen, constant_charge_series, hopping_map)
}
OWN_ARGUMENTS = ("instrument", "continues", "series", "reference", "skip_used")


def resume(session: Session, which: str | int, *, register: bool = True) -> MsgGenerator[Any]:
    """Return the plan that visits the free sites of an interrupted map.

    Parameters
    ----------
    session : Session
        Open, with Tiled.
    which : str or int
        The run, as `storage.runs.open_run` takes it.
    register : bool
        Register the sample to the run's topography first; False declares that neither sample nor
        stage has moved since.

    Raises
    ------
    ValueError
        If the run is not a map, was taken on another sample, or has no topography to register to.
    """
    run = open_run(session.catalog, which)
    start = run.metadata["start"]
    block = start.get(START_KEY) or {}
    uid = start["uid"]
    name = start.get("plan_name")
    if name not in (*RESUMABLE, *LANDINGS):
        raise ValueError(
            f"run {uid[:8]} is a '{name}'; only maps can be resumed "
            f"({', '.join((*RESUMABLE, *LANDINGS))})"
        )
    if block.get("sample") != session.config.sample.name:
        raise ValueError(
            f"run {uid[:8]} was taken on sample '{block.get('sample')}', this session has "
            f"'{session.config.sample.name}' mounted; name the sample in the configuration"
        )
    arguments = {k: v for k, v in start["plan_args"].items() if k not in OWN_ARGUMENTS}
    listed = arguments.get("sites") or arguments.get("site_file")
    if listed and arguments.get("order") in ("raster", "snake"):
        arguments["order"] = "given"  # what versions that did not refuse it took it for
    if name in LANDINGS:
        # sites lie micrometres apart: drift since then does not matter
        return LANDINGS[name](
            session.seccm,
            **arguments,
            skip_used=True,
            continues=uid,
            series=block.get("series") or uid,
        )
    reference = _reference(run, uid) if register else None
    return resume_map(
        cast(Readable[Any], session.afm),  # ophyd's own annotations are wider
        continues=uid,
        series=block.get("series") or uid,
        reference=reference,
        register=register,
        **arguments,
    )


def _reference(run: Any, uid: str) -> Reference:
    before = load_topography(run, allow_partial=True, join=False).before
    if before is None:
        raise ValueError(
            f"run {uid[:8]} has no topography to register to; if neither sample nor stage has "
            "moved since, resume without registration (--no-register)"
        )
    return Reference(before.height, before.pixel_size, before.x, before.y)
