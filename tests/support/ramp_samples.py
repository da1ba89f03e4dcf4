"""Small made-up ramp sets and topographies for tests of formats, results and reports.

Not physics: an exponential leaving the background at a known bias, cut at compliance.
"""

import numpy as np
from nucleation_bluesky.analysis.ramps import Instrument, Material, RampSet
from nucleation_bluesky.storage.images import Topographies, Topography

LABELS = {1: "completed", 2: "current_compliance", 3: "height_compliance"}


def make_ramps(
    rows=6,
    cols=5,
    *,
    seed=1,
    rate=1.2,
    stop=-4.2,
    sample_rate=1000.0,
    limit=10e-12,
    pitch=20e-9,
    inert=0.15,
    mode="current",
    n_post=3,
    onset_mean=-3.7,
    onset_sd=0.12,
    noise=0.5e-12,
    e_eq=-3.04,
) -> tuple[RampSet, np.ndarray]:
    """Return ramps and the bias at which each leaves the background (NaN without nucleation)."""
    rng = np.random.default_rng(seed)
    n = rows * cols
    row, col = np.divmod(np.arange(n), cols)
    onset = np.where(rng.random(n) < inert, np.nan, rng.normal(onset_mean, onset_sd, n))
    full = int(abs(stop) / rate * sample_rate) + 1
    bias = -np.arange(full) / sample_rate * rate
    current, height, counts, post, why = [], [], [], [], []
    for v in onset:
        depth = np.clip(v - bias, 0, None) if np.isfinite(v) else np.zeros(full)
        i = -2e-12 * np.expm1(np.minimum(depth / 0.006, 30)) + rng.normal(0, noise, full)
        z = 1e-9 * np.expm1(np.minimum(depth / 0.008, 30)) + rng.normal(0, 45e-12, full)
        hit_i = np.flatnonzero(i < -limit)
        hit_z = np.flatnonzero(z > 8e-9)
        hit = {"current": hit_i, "height": hit_z, "none": np.array([], int)}[mode]
        end = min(full, hit[0] + 1 + n_post) if hit.size else full
        post.append(end - hit[0] - 1 if hit.size else 0)
        why.append(({"current": 2, "height": 3}[mode]) if hit.size else 1)
        counts.append(end)
        current.append(i[:end])
        height.append(z[:end])
    ramps = RampSet(
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        current=np.concatenate(current).astype(np.float32),
        height=np.concatenate(height).astype(np.float32),
        sample_period=1 / sample_rate,
        bias_start=np.zeros(n),
        bias_stop=np.full(n, stop),
        ramp_rate=np.full(n, rate),
        x=col * pitch,
        y=row * pitch,
        n_post=np.array(post),
        mode=mode,
        current_compliance=limit if mode == "current" else None,
        height_compliance=8e-9 if mode == "height" else None,
        termination=np.array(why),
        termination_labels=dict(LABELS),
        row=row,
        col=col,
        grid_shape=(rows, cols),
        pitch=pitch,
        equilibrium_potential=e_eq,
        instrument=Instrument(1061.0, 500.0, 1e-3),
        material=Material("Li", 13.0e-6, 1, 0.98),
        attrs={"sample": "LICGC-7", "reference_scale": "Cu/Ag", "bias_applied_to": "tip"},
    )
    return ramps, onset


def make_topographies(
    ramps: RampSet, *, seed=2, pixels=128, radius=15e-9, margin=200e-9, grain_radius=None
) -> Topographies:
    """Grains (lower discs) on a tilted, rough surface; hemispherical caps at the sites after."""
    rng = np.random.default_rng(seed)
    size = max(np.ptp(ramps.x), np.ptp(ramps.y)) + 2 * margin
    pixel = size / pixels
    x0, y0 = (ramps.x.min() + ramps.x.max()) / 2, (ramps.y.min() + ramps.y.max()) / 2
    blank = Topography(np.zeros((pixels, pixels)), pixel, x0, y0)
    left, _, bottom, _ = blank.extent
    yy, xx = np.meshgrid(
        bottom + (np.arange(pixels) + 0.5) * pixel,
        left + (np.arange(pixels) + 0.5) * pixel,
        indexing="ij",
    )
    base = rng.normal(0, 0.3e-9, (pixels, pixels))
    for _ in range(8):
        gx, gy = left + rng.random() * size, bottom + rng.random() * size
        r = np.hypot(xx - gx, yy - gy)
        base -= 6e-9 / (1 + np.exp((r - (grain_radius or size / 12)) / (pixel * 1.5)))
    after = base.copy()
    for x, y in zip(ramps.x, ramps.y, strict=True):
        r2 = (xx - x) ** 2 + (yy - y) ** 2
        after = np.maximum(after, base + np.sqrt(np.clip(radius**2 - r2, 0, None)))
    tilt = 3e-9 * (xx - x0) / size + 2e-9 * (yy - y0) / size
    return Topographies(
        Topography(base + tilt, pixel, x0, y0),
        Topography(after - tilt + rng.normal(0, 0.2e-9, base.shape), pixel, x0, y0),
    )
