"""One topography as a run of its own."""

from collections.abc import Sequence
from typing import Any

from bluesky.protocols import Readable
from bluesky.utils import MsgGenerator, plan

from nucleation_bluesky.contract.documents import PRIMARY_STREAM
from nucleation_bluesky.plans.decorator import checked_plan
from nucleation_bluesky.plans.instrument import ImageParameters, parts_of
from nucleation_bluesky.plans.start_document import nucleation_metadata
from nucleation_bluesky.plans.stubs import take_topography
from nucleation_bluesky.plans.visit import MapResult, whole_run


@checked_plan
def topography(
    instrument: Readable,
    *,
    center: Sequence[float] = (0.0, 0.0),
    size: float = 2e-6,
    pixels: int = 256,
    md: dict[str, Any] | None = None,
) -> MsgGenerator[str]:
    """Image the topography.

    Parameters
    ----------
    instrument : device
        With an ``imager``.
    center : sequence of float
        (x, y) in the sample frame, m.
    size : float
        Edge length, m.
    pixels : int
        Pixels per edge.
    md : dict, optional
        Metadata.

    Returns
    -------
    str
        uid of the run.

    Raises
    ------
    ValueError
        At the call, if an argument is out of range or there is no imager.
    """
    parts = parts_of(instrument)
    imager = parts.need_imager("topography")
    if len(center) != 2:
        raise ValueError("the centre of a topography is (x, y) in m")
    image = ImageParameters(float(center[0]), float(center[1]), size, pixels)
    metadata = {
        "plan_name": "topography",
        "plan_args": {
            "instrument": parts.name,
            "center": [image.x, image.y],
            "size": size,
            "pixels": pixels,
        },
        "detectors": [imager.name],
        "num_points": 1,
        "hints": {"dimensions": [(["time"], PRIMARY_STREAM)]},
        **nucleation_metadata(parts.context, technique="topography", roles=imager.roles),
        **(md or {}),
    }

    @plan
    def run() -> MsgGenerator[str]:
        result = MapResult()
        yield from whole_run(
            parts,
            lambda: take_topography(
                imager,
                x=image.x,
                y=image.y,
                size=image.size,
                pixels=image.pixels,
                stream=PRIMARY_STREAM,
            ),
            md=metadata,
            result=result,
            imaging=True,
        )
        return result.uid

    return run()
