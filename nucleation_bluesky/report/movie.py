"""A landing's film as an animated GIF, with time and potential."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image
from skimage.transform import downscale_local_mean

from nucleation_bluesky.report.figures import film, style
from nucleation_bluesky.report.plate import need
from nucleation_bluesky.storage.seccm_result import LandingResult

MAX_FRAMES, MAX_PIXELS, FPS, PIXELS_PER_INCH = 120, 256, 12, 90
READ_PIXELS = 2**25  # at a time


def write_movie(path: Path, one: LandingResult, *, scale: str = "") -> Path:
    """Write a film as GIF: change of intensity since contact, with the potential below it.

    Long films are thinned to ``MAX_FRAMES`` frames and large ones binned to ``MAX_PIXELS``.

    Raises
    ------
    ValueError
        If the landing was not filmed, or the film shows no landing.
    """
    movie: Any = need(one.landing.movie, "the landing was not filmed")
    if "contact_time" not in one.dataset.attrs:
        raise ValueError("the film shows no contact")
    from nucleation_bluesky.report.seccm_plates import reference_frame  # noqa: PLC0415 - mutual

    time = np.asarray(movie.timestamps, dtype=float) - float(one.dataset.attrs["contact_time"])
    reference = reference_frame(one, time)
    trace = one.landing.trace.in_program().finite()
    start = one.landing.contact_time
    if start is None:
        plating = one.electrochemistry.plating
        start = plating.start if plating is not None else float(trace.time[0])
    seconds = trace.time - start
    shown = np.flatnonzero((time >= min(0.0, seconds[0])) & (time <= seconds[-1]))[:-1]
    if len(shown) < 2:
        raise ValueError("film and electrochemistry do not overlap")
    stride = -(-len(shown) // MAX_FRAMES)
    shown = shown[::stride]
    bins = -(-max(reference.shape) // MAX_PIXELS)
    pixel = float(movie.pixel_size)
    images = [
        downscale_local_mean(film.displayed(pair, reference, pixel), (bins,) * 2)
        for pair in _pairs(movie.frames, shown, stride, max(1, READ_PIXELS // reference.size))
    ]
    potential = np.interp(time[shown], seconds, trace.potential)
    step = max(1, len(seconds) // 2000)
    with mpl.rc_context(style.STYLE):  # type: ignore[arg-type]
        pages = _pages(
            100 * np.stack(images),
            (reference.shape[1] * pixel, reference.shape[0] * pixel),
            time[shown],
            potential,
            (seconds[::step], trace.potential[::step]),
            f"E (V vs {style.chemical(scale)})" if scale else "E (V)",
        )
    pages[0].save(path, save_all=True, append_images=pages[1:], duration=round(1000 / FPS), loop=0)
    return path


def _pairs(frames: Any, shown: np.ndarray, stride: int, at_a_time: int) -> Iterator[np.ndarray]:
    """Yield each shown frame with its successor; two requests for many pairs, not one a pair."""
    for begin in range(0, len(shown), at_a_time):
        part = shown[begin : begin + at_a_time]
        firsts, seconds = (
            np.asarray(frames[int(part[0]) + k : int(part[-1]) + k + 1 : stride]) for k in (0, 1)
        )
        yield from map(np.stack, zip(firsts, seconds, strict=True))


def _pages(
    images: np.ndarray,
    size: tuple[float, float],
    times: np.ndarray,
    potentials: np.ndarray,
    trace: tuple[np.ndarray, np.ndarray],
    label: str,
) -> list[Image.Image]:
    """Draw the pages of the film; all but image, title and time mark is drawn once."""
    figure = style.new_figure(3.4, 4.4)
    top, bottom = figure.subplots(2, 1, height_ratios=(3, 1))
    low, high = style.robust_limits(images)
    extent = (0.0, size[0], 0.0, size[1])
    drawn = top.imshow(images[0], cmap=film.FILM_MAP, vmin=low, vmax=high, extent=extent)
    style.bare(top)
    style.scale_bar(top)
    figure.colorbar(drawn, ax=top, fraction=0.05, pad=0.02).set_label("Change (%)")
    bottom.plot(*trace, color=style.INK, lw=0.7)
    bottom.set_xlabel("Time after contact (s)")
    bottom.set_ylabel(label)
    now = bottom.axvline(times[0], color=style.RED, lw=1)
    title = top.set_title("0.00 s, +0.000 V")
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # laid out once: what moves keeps its size
    figure.set_dpi(PIXELS_PER_INCH)
    for artist in (drawn, now, title):
        artist.set_animated(True)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    still = canvas.copy_from_bbox(figure.bbox)
    over = [*top.artists, *top.patches, *top.texts]  # the scale bar lies on the image
    pages = []
    for image, at, potential in zip(images, times, potentials, strict=True):
        drawn.set_data(image)
        now.set_xdata([at, at])
        title.set_text(f"{at:.2f} s, {potential:+.3f} V")
        canvas.restore_region(still)
        for artist in (drawn, *over, title):
            top.draw_artist(artist)
        bottom.draw_artist(now)
        pages.append(Image.fromarray(np.array(canvas.buffer_rgba())).convert("RGB"))
    return pages
