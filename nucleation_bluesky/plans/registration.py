"""Following the sample's drift: image, correlate with the reference, move the sample frame."""

import logging
import math
from dataclasses import dataclass
from pathlib import Path

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import h5py
import numpy as np
from bluesky.utils import MsgGenerator, plan

from nucleation_bluesky.analysis.registration import estimate_shift
from nucleation_bluesky.contract.documents import REGISTRATION_STREAM
from nucleation_bluesky.contract.files import TOPOGRAPHY_DATASET
from nucleation_bluesky.plans.protocols import ImagerDevice, StageDevice
from nucleation_bluesky.plans.site_record import registration_record
from nucleation_bluesky.plans.stubs import record_topography, take_topography

logger = logging.getLogger(__name__)


class RegistrationError(RuntimeError):
    """The sample frame could not be found again; sites not yet exposed stay usable."""


@dataclass(frozen=True)
class Reference:
    """Topography that defines the sample frame.

    Parameters
    ----------
    heights : ndarray, shape (pixels, pixels)
        m.
    pixel_size : float
        m.
    x, y : float
        Centre in the sample frame, m.
    """

    heights: np.ndarray
    pixel_size: float
    x: float
    y: float

    def __post_init__(self) -> None:
        if self.heights.ndim != 2 or self.heights.shape[0] != self.heights.shape[1]:
            raise ValueError("a reference topography must be a square image")
        if not all(math.isfinite(v) for v in (self.pixel_size, self.x, self.y)):
            raise ValueError("the reference's pixel size and centre must be finite (m)")
        if self.pixel_size <= 0:
            raise ValueError("the reference's pixel size must be greater than 0 m")

    @property
    def size(self) -> float:
        """Edge length, m."""
        return self.pixel_size * self.heights.shape[0]

    @classmethod
    def from_file(cls, path: str, *, pixel_size: float, x: float, y: float) -> "Reference":
        """Read the image from a topography file written by a controller.

        Raises
        ------
        ValueError
            If the file holds no topography.
        """
        with h5py.File(Path(path), "r") as file:
            if TOPOGRAPHY_DATASET not in file:
                raise ValueError(f"{path} holds no topography ({TOPOGRAPHY_DATASET})")
            data = np.asarray(file[TOPOGRAPHY_DATASET], dtype=float)
        return cls(data.reshape(data.shape[-2:]), pixel_size, x, y)


@dataclass(frozen=True)
class RegistrationLimits:
    """When a registration is believed.

    Parameters
    ----------
    min_quality : float
        Least correlation of the aligned images, 0 to 1.
    max_shift : float
        Largest shift since the last registration, m.

    Raises
    ------
    ValueError
        If a number is out of range.
    """

    min_quality: float = 0.3
    max_shift: float = 200e-9

    def __post_init__(self) -> None:
        if not 0 < self.min_quality < 1:
            raise ValueError("the least registration quality must lie between 0 and 1")
        if not (math.isfinite(self.max_shift) and self.max_shift > 0):
            raise ValueError("the largest registration shift must be greater than 0 m")


class DriftTracker:
    """Keeps the stage's sample frame on the sample.

    Parameters
    ----------
    stage, imager : StageDevice, ImagerDevice
        Devices.
    limits : RegistrationLimits
        When to refuse.
    x, y, size : float
        Area imaged, sample frame, m.
    pixels : int
        Pixels per edge.
    reference : Reference or None
        None: the first image becomes the reference.
    """

    def __init__(
        self,
        stage: StageDevice,
        imager: ImagerDevice,
        *,
        limits: RegistrationLimits,
        x: float,
        y: float,
        size: float,
        pixels: int,
        reference: Reference | None = None,
    ) -> None:
        self.stage, self.imager, self.limits = stage, imager, limits
        self.reference = reference
        if reference is not None:
            x, y, size = reference.x, reference.y, reference.size
            pixels = reference.heights.shape[0]
        self.x, self.y, self.size, self.pixels = x, y, size, pixels
        self.record = registration_record()
        self.base_uncertainty = float(stage.frame_uncertainty.get())

    @plan
    def update(self, site_count: int) -> MsgGenerator[None]:
        """Take an image; make it the reference, or move the frame by the shift found.

        Raises
        ------
        RegistrationError
            If the correlation is too poor or the shift too large; the frame is left alone.
        """
        yield from bps.checkpoint()
        yield from bpp.rewindable_wrapper(self._update(site_count), False)

    def _update(self, site_count: int) -> MsgGenerator[None]:
        yield from take_topography(
            self.imager,
            x=self.x,
            y=self.y,
            size=self.size,
            pixels=self.pixels,
            stream=REGISTRATION_STREAM,
            record=False,
        )
        image = self.imager.read_image()
        heights, pixel_size = image.heights, image.pixel_size
        offset = (float(self.stage.frame_x.get()), float(self.stage.frame_y.get()))
        if self.reference is None:
            self.reference = Reference(heights, pixel_size, self.x, self.y)
            dx = dy = uncertainty = 0.0
            quality = 1.0
        else:
            dx, dy, uncertainty, quality = estimate_shift(
                self.reference.heights, heights, pixel_size
            )
        shift = math.hypot(dx, dy)
        believed = (
            math.isfinite(shift)
            and math.isfinite(uncertainty)
            and quality >= self.limits.min_quality
            and shift <= self.limits.max_shift
        )
        if believed:
            offset = (offset[0] + dx, offset[1] + dy)
            self.stage.frame_x.put(offset[0])
            self.stage.frame_y.put(offset[1])
            self.stage.frame_uncertainty.put(math.hypot(self.base_uncertainty, uncertainty))
        self.record.update(
            site_count=site_count,
            dx=dx,
            dy=dy,
            uncertainty=uncertainty,
            quality=quality,
            offset_x=offset[0],
            offset_y=offset[1],
        )
        yield from record_topography(self.imager, stream=REGISTRATION_STREAM, also=[self.record])
        if not believed:
            raise RegistrationError(
                f"the sample frame is lost after {site_count} sites: shift {shift * 1e9:.1f} nm "
                f"(at most {self.limits.max_shift * 1e9:.0f}), correlation {quality:.2f} (at "
                f"least {self.limits.min_quality:.2f}); check tip and sample, then resume the "
                "map: sites not yet exposed stay usable"
            )
        logger.info("registered: shift (%.2f, %.2f) nm, quality %.2f", dx * 1e9, dy * 1e9, quality)
