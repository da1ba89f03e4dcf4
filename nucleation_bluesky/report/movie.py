"""A landing's film as an animated GIF, with time and potential."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.animation import PillowWriter
from skimage.transform import downscale_local_mean

from nucleation_bluesky.report.figures import film, style
from nucleation_bluesky.report.plate import need
from nucleation_bluesky.storage.seccm_result import LandingResult

MAX_FRAMES, MAX_PIXELS, FPS = 120, 256, 12


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
    shown = shown[:: -(-len(shown) // MAX_FRAMES)]
    bins = -(-max(reference.shape) // MAX_PIXELS)
    pixel = float(movie.pixel_size)
    images = [
        downscale_local_mean(
            film.display_frame(movie.frames, int(k), reference, pixel), (bins,) * 2
        )
        for k in shown
    ]
    with mpl.rc_context(style.STYLE):  # type: ignore[arg-type]
        figure = style.new_figure(3.4, 4.4)
        top, bottom = figure.subplots(2, 1, height_ratios=(3, 1))
        low, high = style.robust_limits(100 * np.stack(images))
        extent = (0.0, reference.shape[1] * pixel, 0.0, reference.shape[0] * pixel)
        drawn = top.imshow(100 * images[0], cmap=film.FILM_MAP, vmin=low, vmax=high, extent=extent)
        style.bare(top)
        style.scale_bar(top)
        figure.colorbar(drawn, ax=top, fraction=0.05, pad=0.02).set_label("Change (%)")
        step = max(1, len(seconds) // 2000)
        bottom.plot(seconds[::step], trace.potential[::step], color=style.INK, lw=0.7)
        bottom.set_xlabel("Time after contact (s)")
        bottom.set_ylabel(f"E (V vs {style.chemical(scale)})" if scale else "E (V)")
        now = bottom.axvline(time[shown[0]], color=style.RED, lw=1)
        title = top.set_title("0.00 s, +0.000 V")
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # laid out once: what moves keeps its size
        writer = PillowWriter(fps=FPS)
        with writer.saving(figure, str(path), dpi=90):
            for k, image in zip(shown, images, strict=True):
                drawn.set_data(100 * image)
                now.set_xdata([time[k]] * 2)
                potential = float(np.interp(time[k], seconds, trace.potential))
                title.set_text(f"{time[k]:.2f} s, {potential:+.3f} V")
                writer.grab_frame()
    return path
