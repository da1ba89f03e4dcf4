"""Particles on micrographs: finding, measuring and what follows from their sizes and places."""

from nucleation_bluesky.analysis.particle_images.annotations import annotation_mask
from nucleation_bluesky.analysis.particle_images.deposit import (
    Deposit,
    deposit_of_spheres,
    growth_rate,
)
from nucleation_bluesky.analysis.particle_images.find import Segmentation, segment_image
from nucleation_bluesky.analysis.particle_images.measure import (
    COLUMNS,
    ParticleTable,
    find_particles,
    measure_labels,
)
from nucleation_bluesky.analysis.particle_images.sizes import SizeModel, fit_sizes, size_histogram
from nucleation_bluesky.analysis.particle_images.zones import (
    Zone,
    ZoneComparison,
    by_zone,
    centre_and_edge,
    compare_zones,
)

__all__ = [
    "COLUMNS",
    "Deposit",
    "ParticleTable",
    "Segmentation",
    "SizeModel",
    "Zone",
    "ZoneComparison",
    "annotation_mask",
    "by_zone",
    "centre_and_edge",
    "compare_zones",
    "deposit_of_spheres",
    "find_particles",
    "fit_sizes",
    "growth_rate",
    "measure_labels",
    "segment_image",
    "size_histogram",
]
