"""``nucleation-bluesky particles``: count and size the particles of a micrograph."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import psutil
import typer
from skimage import io, segmentation

from nucleation_bluesky.analysis.particle_images import ParticleTable, find_particles
from nucleation_bluesky.cli.common import console, errors_in_one_sentence, fail, quantity_option
from nucleation_bluesky.contract.quantities import parse_quantity
from nucleation_bluesky.storage.micrographs import Micrograph, read_micrograph

OUTLINE = (1.0, 0.25, 0.0)
MEMORY_PER_PIXEL = 200  # bytes at most, measured at 2 and 4 megapixels
AT_BORDER = (0.1, 0.7, 1.0)


class PolarityChoice(StrEnum):
    """Which particles to look for."""

    auto = "auto"
    bright = "bright"
    dark = "dark"


def particles(
    image: Annotated[Path, typer.Argument(help="TIFF or PNG, from any microscope.")],
    out: Annotated[Path, typer.Option("--out", help="Table to write, one row a particle (CSV).")],
    pixel_size: Annotated[
        float | None,
        typer.Option(
            "--pixel-size",
            parser=quantity_option("m"),
            help="Edge of a pixel, e.g. '4 nm'; instead of what the file states.",
        ),
    ] = None,
    min_diameter: Annotated[
        str | None,
        typer.Option(
            "--min-diameter", help="Leave out smaller ones: '20 nm', or '8 px' (under 4 px always)."
        ),
    ] = None,
    max_area: Annotated[
        str | None,
        typer.Option("--max-area", help="Leave out larger ones: '0.1 um^2', or '500 px'."),
    ] = None,
    polarity: Annotated[
        PolarityChoice, typer.Option("--polarity", help="Particles brighter or darker than ground.")
    ] = PolarityChoice.auto,
    page: Annotated[
        int | None, typer.Option("--page", help="Page of a TIFF with several, from 1.")
    ] = None,
    overlay: Annotated[
        Path | None, typer.Option("--overlay", help="Picture with the outlines to write (PNG).")
    ] = None,
) -> None:
    """Count and size the particles of a micrograph.

    Bright or dark particles, touching or not, on even or uneven ground; information bars, scale
    bars and text drawn on the image are left out.
    """
    with errors_in_one_sentence(ValueError, OSError):
        for target in (out, overlay):
            if target is not None and not target.resolve().parent.is_dir():
                fail(f"there is no folder {target.resolve().parent} to write {target.name} to")
            if target is not None and target.resolve() == image.resolve():
                fail(f"{target} is the image itself: write to another file")
        if overlay is not None and overlay.resolve() == out.resolve():
            fail(f"--out and --overlay are both {out}: give two names")
        read = read_micrograph(image, page)
        _require_memory(read.grey)
        size = read.pixel_size if pixel_size is None else pixel_size
        if size is not None and not size > 0:
            fail(f"--pixel-size {size:g} m: give a positive length")
        table = find_particles(
            read.grey,
            pixel_size=size,
            colour=read.colour,
            polarity=polarity.value,
            min_diameter=_limit(min_diameter, 1, size, "--min-diameter"),
            max_area=_limit(max_area, 2, size, "--max-area"),
        )
        pd.DataFrame(table.columns()).to_csv(out, index=False, float_format="%.8g")
        if overlay is not None:
            _draw(read, table, overlay)
        _tell(read, table, pixel_size is not None, out)


def _require_memory(grey: np.ndarray) -> None:
    """Refuse an image that this machine would swap or die over, before minutes are spent on it."""
    free = psutil.virtual_memory().available
    if (needed := MEMORY_PER_PIXEL * grey.size) > free:
        rows, cols = grey.shape
        fail(
            f"{cols} x {rows} pixels need some {needed / 1e9:.0f} GB of memory, {free / 1e9:.0f} "
            "are free; crop the image, or scale it down until a small particle has some 10 pixels"
        )


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("particles")(particles)


def _limit(text: str | None, power: int, size: float | None, option: str) -> float | None:
    """Turn a length or an area, in SI or in pixels, into the unit of the table."""
    if text is None:
        return None
    pixels = re.fullmatch(r"\s*(.*?)\s*(?:px(?:\s*(?:\^|\*\*)?\s*2|2)?|pixels?)\s*", text)
    if pixels := pixels or re.fullmatch(r"\s*([0-9.eE+-]+)\s*", text):
        value = parse_quantity(pixels[1], "")
        value = value if size is None else value * size**power
    else:
        # um2 and um² are um**2
        unit = re.sub(r"(?<=[A-Za-zµ])(?:2|²)$", "**2", text.strip()) if power == 2 else text
        value = parse_quantity(unit, "m" if power == 1 else "m**2")
        if size is None:
            fail(f"{option} '{text}' needs --pixel-size; or give it in pixels ('5 px')")
    if not value > 0:
        fail(f"{option} '{text}': give a positive value")
    return value


def _tell(read: Micrograph, table: ParticleTable, given: bool, out: Path) -> None:
    """Print what was found."""
    if read.filled:
        console.print(
            f"{read.filled} pixels hold no finite value: the median grey stands in", style="yellow"
        )
    size = table.pixel_size
    if given:
        console.print(f"pixel size {_length(size)} (as given)")
    elif size is not None:
        console.print(f"pixel size {_length(size)} (from {read.pixel_size_source})")
    else:
        console.print("no pixel size in the file or given: lengths are in pixels")
    if table.count == 0:
        console.print(f"no particles found ({table.polarity}); wrote {out}")
        return
    border = int(table.touches_border.sum())
    told = f"{table.count} {table.polarity} particles"
    console.print(told + (f", {border} of them cut by the border" if border else ""))
    if size is None:
        console.print(f"density {table.density:.4g} per px^2")
    else:
        console.print(f"density {table.density:.4g} m^-2 ({table.density * 1e-4:.4g} cm^-2)")
    console.print(f"mean diameter {_length(table.mean_diameter, size is None)}")
    if table.count > 1:
        console.print(f"sd {_length(table.sd_diameter, size is None)}")
    for doubt in table.doubts:
        console.print(f"uncertain: {doubt}", style="yellow")
    console.print(f"wrote {out}")


def _length(value: float | None, pixels: bool = False) -> str:
    """Write a length for people: nm below 1 um."""
    number = float("nan") if value is None else value
    if pixels:
        return f"{number:.4g} px"
    return f"{number * 1e9:.4g} nm" if number < 1e-6 else f"{number * 1e6:.4g} um"


def _draw(read: Micrograph, table: ParticleTable, path: Path) -> None:
    """Write the picture with the outlines of the particles."""
    low, high = np.percentile(read.grey, [0.2, 99.8])
    grey = np.clip((read.grey - low) / max(high - low, 1e-12), 0, 1)
    rgb = np.dstack([grey] * 3)
    lines = segmentation.find_boundaries(table.labels, mode="inner")
    cut = np.isin(table.labels, table.label[table.touches_border])
    rgb[lines & ~cut] = OUTLINE
    rgb[lines & cut] = AT_BORDER
    io.imsave(path, (rgb * 255).astype(np.uint8), check_contrast=False)
