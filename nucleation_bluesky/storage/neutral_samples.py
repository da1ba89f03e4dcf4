"""Samples of nucleation-ivz files: where each site's lie, channels, bias, time and ramp."""

import numpy as np

from nucleation_bluesky.storage.hdf5_input import BLOCK, InputFile, Node

MAX_SITES = 10_000_000


def read_offsets(source: InputFile) -> np.ndarray:
    """Read where each site begins and ends, shape (n_sites + 1,)."""
    dataset = source.need("offsets")
    source.check_shape(dataset, (None,), "(n_sites + 1,)")
    size = dataset.size
    if not 2 <= size <= MAX_SITES:
        raise source.error(
            f"dataset 'offsets' has {size} values: at least one site and at most "
            f"{MAX_SITES} are expected, with one value more than sites"
        )
    offsets = source.integers(dataset)
    if offsets[0] != 0:
        raise source.error(f"dataset 'offsets' must start at 0 (got {offsets[0]})")
    if np.any(offsets[1:] < offsets[:-1]):  # a difference could overflow
        k = int(np.argmax(offsets[1:] < offsets[:-1]))
        raise source.error(
            f"dataset 'offsets' decreases at site {k} ({offsets[k]} to {offsets[k + 1]})"
        )
    return offsets


def _sample_dataset(source: InputFile, dataset: Node, total: int) -> Node:
    name = dataset.label
    source.check_shape(dataset, (None,), "(samples,)")
    size = dataset.size
    if size < total:
        raise source.error(
            f"dataset 'offsets' ends at sample {total}, beyond the {size} of '{name}'"
        )
    if size > total:
        raise source.error(f"dataset '{name}' has {size} samples, but 'offsets' ends at {total}")
    if dataset.dtype.kind != "f":
        raise source.error(
            f"dataset '{name}' must hold floating-point numbers in SI units (got {dataset.dtype})"
        )
    return dataset


def read_channel(source: InputFile, name: str, total: int) -> np.ndarray:
    """Read a channel of all sites, float32."""
    dataset = _sample_dataset(source, source.need(name), total)
    return source.floats(dataset, total, np.float32)


def read_bias(source: InputFile, total: int) -> np.ndarray | None:
    """Read the bias of every sample, V; None where it is not recorded."""
    dataset = source.find("bias")
    if dataset is None:
        return None
    bias = source.floats(_sample_dataset(source, dataset, total), total, np.float32)
    for first in range(0, total, BLOCK):
        bad = ~np.isfinite(bias[first : first + BLOCK])
        if bad.any():
            raise source.error(f"dataset 'bias' is not finite at sample {first + np.argmax(bad)}")
    return bias


def read_time(source: InputFile, offsets: np.ndarray) -> np.ndarray | None:
    """Read the time of every sample, from each site's first one, s; None where not recorded."""
    dataset = source.find("time")
    if dataset is None:
        return None
    total = int(offsets[-1])
    time = source.floats(_sample_dataset(source, dataset, total), total)
    if not np.isfinite(time).all():
        raise source.error(
            f"dataset 'time' is not finite at sample {np.argmax(~np.isfinite(time))}"
        )
    for k in range(len(offsets) - 1):
        part = time[offsets[k] : offsets[k + 1]]
        if part.size == 0:
            continue
        if np.any(np.diff(part) <= 0):
            raise source.error(f"dataset 'time' does not increase within site {k}")
        part -= part[0]  # a view: RampSet counts from the site's first sample
    return time


def read_period(source: InputFile, time: np.ndarray | None, offsets: np.ndarray) -> float:
    """Read the sample period, s, or take the median step of the time."""
    period = source.number("sample_period", positive=True, required=time is None)
    if period is not None or time is None:
        return float(period or 0)
    steps = np.diff(time)
    steps = np.delete(steps, offsets[1:-1][(offsets[1:-1] > 0) & (offsets[1:-1] < time.size)] - 1)
    if steps.size == 0:
        raise source.error("attribute 'sample_period' is missing and no site has two samples")
    return float(np.median(steps))


def read_ramp(
    source: InputFile, offsets: np.ndarray, bias: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read start, stop (V) and rate (V/s) of each ramp."""
    n_sites = len(offsets) - 1
    ends = {name: source.number(name) for name in ("bias_start", "bias_stop")}
    for name, value in ends.items():
        if value is None and bias is None:
            raise source.error(f"attribute '{name}' is missing, and there is no dataset 'bias'")
    if ends["bias_start"] is not None and ends["bias_start"] == ends["bias_stop"]:
        raise source.error("'bias_start' equals 'bias_stop': that is not a ramp")
    edges = _edges_of_bias(offsets, bias) if None in ends.values() and bias is not None else None
    start, stop = (
        edges[i] if value is None and edges is not None else np.full(n_sites, value, dtype=float)
        for i, value in enumerate(ends.values())
    )
    return start, stop, _rate(source, n_sites, bias)


def _edges_of_bias(offsets: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First bias of each site and the one farthest from it; NaN for a site without samples."""
    start = np.full(len(offsets) - 1, np.nan)
    stop = start.copy()
    for k in np.flatnonzero(np.diff(offsets)):
        part = bias[offsets[k] : offsets[k + 1]]
        start[k] = part[0]
        stop[k] = part[np.argmax(np.abs(part - part[0]))]
    return start, stop


def _rate(source: InputFile, n_sites: int, bias: np.ndarray | None) -> np.ndarray:
    dataset = source.find("ramp_rate")
    if dataset is not None:
        source.check_shape(dataset, (n_sites,), f"({n_sites},)")
        rate = source.floats(dataset)
        if not np.all(np.isfinite(rate) & (rate > 0)):
            bad = int(np.argmin(np.isfinite(rate) & (rate > 0)))
            raise source.error(
                f"dataset 'ramp_rate' must hold magnitudes greater than 0 (site {bad}: {rate[bad]})"
            )
        return rate
    value = source.number("ramp_rate", positive=True)
    if value is None and bias is None:
        raise source.error("'ramp_rate' is missing, and so is the dataset 'bias' it could replace")
    return np.full(n_sites, np.nan if value is None else value, dtype=float)


def read_n_post(source: InputFile, offsets: np.ndarray) -> np.ndarray:
    """Read how many samples of each site come after the trip."""
    n_sites = len(offsets) - 1
    dataset = source.find("n_post")
    if dataset is None:
        return np.zeros(n_sites, np.int64)
    source.check_shape(dataset, (n_sites,), f"({n_sites},)")
    n_post = source.integers(dataset)
    bad = (n_post < 0) | (n_post > np.diff(offsets))
    if bad.any():
        k = int(np.argmax(bad))
        raise source.error(
            f"dataset 'n_post' says {n_post[k]} at site {k}, which has "
            f"{offsets[k + 1] - offsets[k]} samples"
        )
    return n_post
