"""Levelled, registered images of a data set, the grains in them and the particles at the sites."""

from dataclasses import dataclass, replace

import numpy as np

from nucleation_bluesky.analysis import topography
from nucleation_bluesky.analysis.grains import Grains, distance_to_boundary, segment_grains
from nucleation_bluesky.analysis.particles import SiteParticles, site_particles
from nucleation_bluesky.analysis.ramps import RampSet
from nucleation_bluesky.analysis.registration import align, register
from nucleation_bluesky.analysis.site_alignment import SiteOffset, align_sites
from nucleation_bluesky.analysis.tip import Tip
from nucleation_bluesky.storage.images import Topographies, Topography

MIN_QUALITY = 0.3  # correlation below which a registration is not to be trusted
MIN_GROUND = 0.25  # share of unexposed pixels that suffices to register by them alone
REACH_PITCHES = 2.5  # largest offset between images and sites that is looked for
MARGIN_PITCHES = 1.5  # pixels this close to a site are not taken for unchanged ground


@dataclass(frozen=True)
class Images:
    """Images ready for figures and for measuring.

    Parameters
    ----------
    before, after : Topography or None
        Levelled; ``after`` on the pixels of ``before`` where both exist.
    change : Topography or None
        After minus before.
    noise : float
        Standard deviation of the change where nothing grew, m.
    grains : Grains or None
        In ``before``.
    problems : dict of str to str
        Why a part is absent, by name: topography, grains, change.
    offset : SiteOffset or None
        By which the images were moved to fit the sites.
    """

    before: Topography | None = None
    after: Topography | None = None
    change: Topography | None = None
    noise: float = float("nan")
    grains: Grains | None = None
    problems: dict[str, str] | None = None
    offset: SiteOffset | None = None


def origin_of(image: Topography) -> tuple[float, float]:
    """Position of the centre of pixel (0, 0), m."""
    left, _, bottom, _ = image.extent
    return left + image.pixel_size / 2, bottom + image.pixel_size / 2


def prepare_images(
    topographies: Topographies, ramps: RampSet, *, grain_polarity: str = "auto"
) -> Images:
    """Level the images, register the one after to the one before, and find the grains."""
    problems: dict[str, str] = {}
    before, after = (_levelled(i) for i in (topographies.before, topographies.after))
    if before is None and after is None:
        reason = "no topography was taken"
        return Images(problems={"topography": reason, "grains": reason, "change": reason})
    grains = None
    if before is None:
        problems["grains"] = "no topography was taken before the ramps"
    else:
        found = segment_grains(before.height, polarity=grain_polarity)
        if found.mask.any():
            grains = found
        else:
            problems["grains"] = "the topography shows no second phase"
    change, noise = None, float("nan")
    if before is None or after is None:
        problems["change"] = "particle volumes need a topography before and one after"
    elif before.height.shape != after.height.shape or not np.isclose(
        before.pixel_size, after.pixel_size, rtol=1e-3
    ):
        problems["change"] = "the two topographies differ in size or pixel size"
    else:
        ground = _unchanged(before, ramps)
        found_shift = register(before.height, after.height, before.pixel_size, mask=ground)
        if found_shift.quality < MIN_QUALITY:
            problems["change"] = (
                "the topographies before and after could not be registered to each other "
                f"(correlation {found_shift.quality:.2f})"
            )
        else:
            moved = align(after.height, found_shift, before.pixel_size)
            after = replace(before, height=moved)
            result = topography.difference(before.height, moved, mask=ground)
            change, noise = replace(before, height=result.height), result.noise
    return Images(before, after, change, noise, grains, problems)


def _levelled(image: Topography | None) -> Topography | None:
    return None if image is None else replace(image, height=topography.level(image.height))


def _unchanged(image: Topography, ramps: RampSet) -> np.ndarray | None:
    """Pixels outside the mapped area, where that leaves enough of the image; else None."""
    spacing = ramps.pitch or 0.0
    margin = MARGIN_PITCHES * spacing
    rows, cols = np.indices(image.height.shape)
    x0, y0 = origin_of(image)
    x, y = x0 + cols * image.pixel_size, y0 + rows * image.pixel_size
    inside = (
        (x > ramps.x.min() - margin)
        & (x < ramps.x.max() + margin)
        & (y > ramps.y.min() - margin)
        & (y < ramps.y.max() + margin)
    )
    return ~inside if np.mean(~inside) > MIN_GROUND else None


def aligned_to_sites(images: Images, ramps: RampSet, inert: np.ndarray) -> Images:
    """Move the images so that inert sites fall on grains, where the sites say so clearly.

    Parameters
    ----------
    images : Images
        As prepared.
    ramps : RampSet
        Positions of the sites.
    inert : ndarray of bool, shape (n_sites,)
        Sites that did not nucleate.
    """
    if images.grains is None or images.before is None or ramps.pitch is None:
        return images
    before = images.before
    offset = align_sites(
        ramps.x,
        ramps.y,
        inert,
        images.grains,
        before.pixel_size,
        origin_of(before),
        reach=REACH_PITCHES * ramps.pitch,
    )
    if offset is None:
        return images

    def moved(image: Topography | None) -> Topography | None:
        return image and replace(image, x=image.x - offset.dx, y=image.y - offset.dy)

    return replace(
        images,
        before=moved(before),
        after=moved(images.after),
        change=moved(images.change),
        offset=offset,
    )


def boundary_distance(images: Images, ramps: RampSet) -> np.ndarray | None:
    """Signed distance of each site to the nearest grain boundary, m; None without grains."""
    if images.grains is None or images.before is None:
        return None
    return distance_to_boundary(
        ramps.x, ramps.y, images.grains, images.before.pixel_size, origin_of(images.before)
    )


def particles_at_sites(
    images: Images, ramps: RampSet, *, tip: Tip | None = None
) -> SiteParticles | None:
    """Particle at each site from the height change; None without one."""
    if images.change is None:
        return None
    return site_particles(
        images.change.height,
        ramps.x,
        ramps.y,
        images.change.pixel_size,
        origin=origin_of(images.change),
        noise=images.noise if images.noise > 0 else None,
        tip=tip,
    )
