"""Neutral SECCM files and TDMS hopping records with known content."""

import numpy as np
from nptdms import ChannelObject, GroupObject, RootObject, TdmsWriter
from nucleation_bluesky.storage.neutral_seccm import write_seccm
from nucleation_bluesky.storage.seccm_data import Movie
from tests.analysis.seccm_synthetic import PERIOD, plating, voltammogram


def make_movie(duration, *, before=1.0, interval=0.23, pixels=48, seed=0, contact=0.0):
    """Round footprint that appears at contact and brightens."""
    rng = np.random.default_rng(seed)
    times = contact - before + np.cumsum(interval + 0.018 * rng.normal(size=int(
        (duration + before) / interval)))  # fmt: skip
    y, x = np.mgrid[:pixels, :pixels] - pixels / 2
    inside = x**2 + y**2 < (0.3 * pixels) ** 2
    frames = np.empty((len(times), pixels, pixels), np.uint16)
    for k, t in enumerate(times):
        image = np.full((pixels, pixels), 1500.0)
        if t > contact:
            image = image + inside * (200 + 20 * (t - contact))
        frames[k] = np.clip(image + 12 * rng.normal(size=image.shape), 0, 4095)
    return Movie(frames, times, 40e-9)


def make_file(path, technique="galvanostatic", *, movie=None, **more):
    """Write a landing; returns the path and what is true of it."""
    if technique == "cv":
        trace, truth = voltammogram(cycles=3)
    else:
        trace, truth = plating(noise=1e-3), {"e_nuc": -0.135, "t_nuc": 3.8}
    movie = movie or make_movie(float(trace.time[-1]))
    options = {"reference_scale": "Li/Li+", "footprint_area": 380e-12, **more}
    return write_seccm(path, trace, movie, technique=technique, **options), truth


def hopping_record(landings=3, *, samples=400, lines=(7, 9, 12)):
    """Channels of a hopping scan: approach, measurement of two lines, retract, move."""
    rng = np.random.default_rng(0)
    parts = {name: [] for name in ("x", "y", "z", "v", "i", "fb", "line")}

    def add(n, x, z, v, i, fb, line):
        parts["x"].append(np.full(n, x))
        parts["y"].append(np.full(n, 5.0))
        parts["z"].append(np.linspace(*z, n))
        parts["v"].append(np.broadcast_to(np.asarray(v, float), n))
        parts["i"].append(np.broadcast_to(np.asarray(i, float), n))
        parts["fb"].append(np.full(n, float(fb)))
        parts["line"].append(np.full(n, line))

    for k in range(landings):
        add(50, 11.0 * k, (0, 0), 1.0, 0.0, 0, lines[0])
        add(200, 11.0 * k, (0, -4.0), 1.0, 0.0, 1 if k == 0 else 2, lines[0])
        add(samples, 11.0 * k, (-4, -4), np.linspace(1.0, -0.3, samples), -1e-9, 0, lines[1])
        add(samples, 11.0 * k, (-4, -4), np.linspace(-0.3, 1.0, samples), 0.5e-9, 0, lines[2])
        add(300, 11.0 * k, (-4, 4.0), 1.0, 0.0, 3, lines[2])
    record = {name: np.concatenate(values) for name, values in parts.items()}
    n = len(record["x"])
    record["dt"] = PERIOD * (1 + 0.05 * rng.random(n))
    record["i"] = record["i"] + 1e-12 * rng.normal(size=n)
    return record


NAMES = {
    "x": "X (um)", "y": "Y (um)", "z": "Z (um)", "v": "V1 (V)", "v2": "V2 (V)",
    "i": "Current1 (A)", "i2": "Current 2 (A)", "i3": "Current 3 (A)", "fb": "FeedbackType ",
    "line": "Line Number", "dt": "dt(s)", "lia": "LIA X (V)",
}  # fmt: skip


def write_tdms(path, record, *, names=NAMES, group="Data", leave_out=()):
    """Write channels as the LabVIEW software names them."""
    record = dict(record)
    n = len(record["x"])
    for extra in ("v2", "i2", "i3", "lia"):
        record.setdefault(extra, np.arange(n) * 1e-12)
    channels = [
        ChannelObject(group, names[key], values, properties={})
        for key, values in record.items()
        if key not in leave_out
    ]
    with TdmsWriter(path) as writer:
        half = [ChannelObject(group, c.channel, c.data[: n // 2], properties={}) for c in channels]
        writer.write_segment([RootObject({"operator": "x"}), GroupObject(group), *half])
        writer.write_segment(
            [ChannelObject(group, c.channel, c.data[n // 2 :], properties={}) for c in channels]
        )
    return path
