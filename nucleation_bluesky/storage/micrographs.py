"""Read micrographs (TIFF, PNG) with the pixel size their files state."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from nucleation_bluesky.contract.quantities import parse_quantity
from nucleation_bluesky.storage.parsers import one_sentence

# a resolution coarser than this is that of a printer or a screen, not of a microscope, m per px
COARSEST_PIXEL = 20e-6
LUMA = np.array([0.299, 0.587, 0.114])


class MicrographError(ValueError):
    """An image cannot be read; the message says what to do."""


@dataclass(frozen=True)
class Micrograph:
    """An image as read.

    Parameters
    ----------
    grey : ndarray, shape (rows, cols)
        Grey values as recorded; of a colour image its luma.
    colour : ndarray or None, shape (rows, cols, 3)
        The colours, where there are any that are not grey.
    pixel_size : float or None
        m, where the file states it.
    pixel_size_source : str
        Where the pixel size was found; empty where it was not.
    filled : int
        Pixels without a finite value, which hold the median grey here.
    """

    grey: np.ndarray
    colour: np.ndarray | None
    pixel_size: float | None
    pixel_size_source: str
    filled: int = 0


def read_micrograph(path: str | Path, page: int | None = None) -> Micrograph:
    """Read one image.

    Parameters
    ----------
    path : str or Path
        TIFF or PNG (or another format Pillow reads): grey, RGB, RGBA or palette, 8 or 16 bit.
    page : int or None
        Page of a TIFF with several, counted from 1.

    Raises
    ------
    MicrographError
        If the file is missing, is no image, has several pages and none was chosen.
    """
    path = Path(path)
    if not path.is_file():
        raise MicrographError(f"{path}: no such file")
    if path.suffix.lower() in (".tif", ".tiff"):
        array, size, source = _read_tiff(path, page)
    else:
        array, size, source = _read_other(path, page)
    grey, colour = _split(array, path)
    missing = ~np.isfinite(grey)
    if missing.all():
        raise MicrographError(f"{path}: no finite grey value in the image")
    if missing.any():
        grey = np.where(missing, np.median(grey[~missing]), grey)
    return Micrograph(grey, colour, size, source, int(missing.sum()))


def _read_tiff(path: Path, page: int | None) -> tuple[np.ndarray, float | None, str]:
    with (
        one_sentence(f"{path}: not a readable TIFF", MicrographError),
        tifffile.TiffFile(path) as tif,
    ):
        count = len(tif.pages)
        _check_page(path, count, page)
        chosen: Any = tif.pages[0 if page is None else page - 1]
        array = np.asarray(chosen.asarray())
        if chosen.photometric == tifffile.PHOTOMETRIC.PALETTE and chosen.colormap is not None:
            array = np.moveaxis(np.asarray(chosen.colormap)[:, array], 0, -1)
        elif array.ndim == 3 and array.shape[0] in (3, 4) and array.shape[2] > 4:
            array = np.moveaxis(array, 0, -1)
        if chosen.photometric == tifffile.PHOTOMETRIC.MINISWHITE and array.dtype.kind == "u":
            array = np.iinfo(array.dtype).max - array
        if chosen.photometric == tifffile.PHOTOMETRIC.MINISWHITE and array.dtype == bool:
            array = ~array
        return array, *_tiff_pixel_size(tif, chosen)


def _read_other(path: Path, page: int | None) -> tuple[np.ndarray, float | None, str]:
    what = f"{path}: not an image this program reads; give TIFF or PNG"
    with one_sentence(what, MicrographError), Image.open(path) as image:
        count = getattr(image, "n_frames", 1)
        _check_page(path, count, page)
        if page is not None:
            image.seek(page - 1)
        dpi = image.info.get("dpi")
        if image.mode in ("P", "PA", "CMYK", "YCbCr", "LAB", "HSV"):
            image = image.convert("RGBA" if image.mode in ("P", "PA") else "RGB")  # noqa: PLW2901
        elif image.mode == "1":
            image = image.convert("L")  # noqa: PLW2901
        array = np.asarray(image)
    if dpi and dpi[0] > 0:
        size = 0.0254 / float(dpi[0])
        if size < COARSEST_PIXEL:
            return array, size, "the resolution stated in the file"
    return array, None, ""


def _check_page(path: Path, count: int, page: int | None) -> None:
    if page is None and count > 1:
        raise MicrographError(f"{path} has {count} pages: choose one with --page 1 to {count}")
    if page is not None and not 1 <= page <= count:
        raise MicrographError(f"{path} has {count} page(s); page {page} does not exist")


def _split(array: np.ndarray, path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Grey values and, where they differ from grey, the colours."""
    array = np.squeeze(array)
    if array.ndim == 3 and array.shape[2] == 2:
        array = array[..., 0]
    if array.dtype.kind not in "biuf":
        raise MicrographError(f"{path}: values of type {array.dtype} are no grey values")
    if array.ndim == 2:
        grey, colour = array.astype(float), None
    elif array.ndim == 3 and array.shape[2] in (3, 4):
        rgb = array[..., :3].astype(float)
        grey = rgb @ LUMA
        colour = rgb if np.ptp(rgb, axis=2).max() > 0 else None
    else:
        raise MicrographError(f"{path}: {array.shape} is not one image; give a grey or RGB image")
    if min(grey.shape) < 16:
        raise MicrographError(f"{path}: {grey.shape[1]} x {grey.shape[0]} pixels are too few")
    return grey, colour


def _tiff_pixel_size(tif: tifffile.TiffFile, page: Any) -> tuple[float | None, str]:
    """Return the pixel size a microscope or ImageJ wrote, m, and where it stands."""
    for found, source in (
        (_imagej(tif, page), "ImageJ metadata"),
        (_vendor(tif), "the microscope's metadata"),
        (_resolution(page), "the TIFF resolution tags"),
    ):
        if found is not None and 0 < found < COARSEST_PIXEL:
            return found, source
    return None, ""


def _imagej(tif: tifffile.TiffFile, page: Any) -> float | None:
    unit = (tif.imagej_metadata or {}).get("unit")
    density = _density(page)
    if not unit or density is None:
        return None
    unit = str(unit).replace("\\u00B5", "u").replace("µ", "u").replace("micron", "um")
    try:
        return parse_quantity(f"1 {unit}", "m") / density
    except ValueError:
        return None


def _vendor(tif: tifffile.TiffFile) -> float | None:
    fei = tif.fei_metadata
    if fei:
        value = fei.get("Scan", {}).get("PixelWidth")
        if isinstance(value, (int, float)):
            return float(value)
    sem = tif.sem_metadata
    if sem:
        entry = sem.get("ap_image_pixel_size") or sem.get("ap_pixel_size")
        if entry and len(entry) >= 3:
            try:
                return parse_quantity(f"{entry[1]} {entry[2]}", "m")
            except ValueError:
                return None
    return None


def _resolution(page: Any) -> float | None:
    density = _density(page)
    tag = page.tags.get("ResolutionUnit")
    unit = {2: 0.0254, 3: 0.01}.get(int(tag.value)) if tag is not None else None
    return unit / density if unit and density else None


def _density(page: Any) -> float | None:
    """Pixels per unit along x."""
    tag = page.tags.get("XResolution")
    if tag is None:
        return None
    value = tag.value
    top, bottom = value if isinstance(value, tuple) else (value, 1)
    return float(top) / float(bottom) if top and bottom else None
