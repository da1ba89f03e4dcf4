"""Small independent generator of IRM films with ground truth.

Shares no formula with the analysis nor with the project's virtual instruments: every particle is
drawn on its own pixel, steps at its birth and then grows by a power of time; the wetted area
is an ellipse off centre.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage


@dataclass
class Scene:
    size: int = 160
    pixel: float = 40e-9
    axes: tuple[float, float] = (52.0, 46.0)  # px
    centre: tuple[float, float] = (83.0, 76.0)
    duration: float = 45.0  # after contact
    before: float = 5.0
    interval: float = 0.23
    jitter: float = 0.018
    t_nuc: float = 16.0  # mean birth, s after contact
    spread: float = 0.9
    smooth: float = 22.0  # px, correlation length of the births
    own: float = 0.25  # s, independent part of a birth
    density: float = 11.0  # particles per um2
    level: float = 1900.0
    contact_step: float = -160.0
    birth_step: float = 60.0  # counts at the centre of a lone particle
    growth: float = 3.0  # counts per s**power
    power: float = 1.0
    sei: float = 45.0
    electrons: float = 6.0  # per count
    read_noise: float = 3.0
    led: float = 0.01
    drift: tuple[float, float] = (1.0 / 60, -0.6 / 60)  # px per s
    texture: float = 25.0
    drops: int = 4
    doubles: int = 4
    exposure: float = 0.02
    seed: int = 1
    extra: dict = field(default_factory=dict)


def make(scene: Scene) -> dict:
    """Frames (uint16), timestamps (s) and truth."""
    s = scene
    rng = np.random.default_rng(s.seed)
    n = int((s.before + s.duration) / s.interval)
    time = np.cumsum(np.clip(s.interval + s.jitter * rng.normal(size=n), 0.3 * s.interval, None))
    contact = s.before + rng.uniform(0, s.interval)
    margin = 24
    side = s.size + 2 * margin
    yy, xx = np.mgrid[:side, :side].astype(float)
    radius = np.hypot(
        (yy - margin - s.centre[0]) / s.axes[0], (xx - margin - s.centre[1]) / s.axes[1]
    )
    wet = np.clip((1 - radius) * min(s.axes) + 0.5, 0, 1)
    field_ = ndimage.gaussian_filter(rng.normal(size=(side, side)), s.smooth)
    field_ *= s.spread / field_[wet > 0].std()
    field_ -= field_[wet > 0].mean()
    area = float((wet > 0.5).sum()) * (s.pixel * 1e6) ** 2
    count = int(s.density * area)
    inside = np.argwhere(wet > 0.5)
    at = inside[rng.integers(0, len(inside), count)]
    births = s.t_nuc + field_[at[:, 0], at[:, 1]] + s.own * rng.normal(size=count)
    psf = 125e-9 / s.pixel
    peak = 2 * np.pi * psf**2
    strength = s.birth_step * rng.lognormal(0, 0.3, count) * peak
    speed = s.growth * rng.lognormal(0, 0.3, count) * peak

    def draw(values):
        image = np.zeros((side, side))
        np.add.at(image, (at[:, 0], at[:, 1]), values)
        return ndimage.gaussian_filter(image, psf)

    base = s.level + s.texture * ndimage.gaussian_filter(rng.normal(size=(side, side)), 2.5) * 8
    frames = np.zeros((n, s.size, s.size), np.uint16)
    led_phase = rng.uniform(0, 6)
    for k, t in enumerate(time):
        tau = t - contact
        scene_ = base.copy()
        if tau > 0:
            scene_ += wet * (s.contact_step + s.sei * (1 - np.exp(-tau / 8.0)))
            age = np.clip(tau - births, 0, None)
            scene_ += draw(np.where(age > 0, strength, 0) + speed * age**s.power)
        scene_ *= 1 + s.led * np.sin(2 * np.pi * t / 70 + led_phase)
        shift = (np.array(s.drift) * t)[::1]
        moved = ndimage.shift(scene_, shift, order=1)[margin:-margin, margin:-margin]
        counts = rng.poisson(np.clip(moved, 0, None) * s.electrons) / s.electrons
        counts += s.read_noise * rng.normal(size=counts.shape)
        frames[k] = np.clip(np.round(counts), 0, 4095)
    drop = rng.choice(np.arange(30, n - 5), s.drops, replace=False) if s.drops else []
    keep = np.setdiff1d(np.arange(n), drop)
    frames, time = frames[keep], time[keep]
    for k in rng.choice(np.arange(40, len(keep) - 5), s.doubles, replace=False):
        frames[k] = frames[k - 1]
    weight = draw(strength)
    with np.errstate(invalid="ignore"):
        mean_birth = draw(strength * births) / weight
    # the frame grid is that of the first moment; truth is given on the frame of contact
    moved = [
        ndimage.shift(a, np.array(s.drift) * contact, order=1)[margin:-margin, margin:-margin]
        for a in (np.nan_to_num(mean_birth), wet)
    ]
    return {
        "frames": frames,
        "time": time,
        "contact": contact,
        "map": moved[0],
        "footprint": moved[1] > 0.5,
        "births": births,
        "drift": np.array(s.drift),
        "mean": float(np.average(births, weights=strength)),
    }
