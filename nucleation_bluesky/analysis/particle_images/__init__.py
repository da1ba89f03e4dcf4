"""Particles on micrographs: finding, measuring and what follows from their sizes and places."""

from nucleation_bluesky.analysis.particle_images.annotations import annotation_mask
from nucleation_bluesky.analysis.particle_images.find import Segmentation, segment_image
from nucleation_bluesky.analysis.particle_images.measure import (
    COLUMNS,
    ParticleTable,
    find_particles,
    measure_labels,
)

__all__ = [
    "COLUMNS",
    "ParticleTable",
    "Segmentation",
    "annotation_mask",
    "find_particles",
    "measure_labels",
    "segment_image",
]
