"""Independent synthetic instruments with ground truth for the site analyses.

The physics is integrated on a fine time axis and sampled afterwards, so that nothing here shares
an approximation with the analysis. `Physics` is the hemisphere of the requirements; `power` and
`rise` are growth laws of other instruments.
"""

from dataclasses import dataclass, field

import numpy as np
from nucleation_bluesky.analysis.ramps import Instrument, Material, RampSet
from scipy.signal import lfilter

KAPPA = 0.98 * 13.0e-6 / 96485.33


@dataclass
class Setup:
    sites: int = 400
    seed: int = 1
    rate: float = 1.2
    sample_rate: float = 1000.0
    start: float = -3.2
    stop: float = -4.2
    mode: str = "current"
    current_compliance: float | None = 10e-12
    height_compliance: float | None = 8e-9
    current_noise: float = 0.5e-12  # rms of a sample behind the amplifier
    height_noise: float = 45e-12
    walk: float = 20e-12  # m per sqrt(s)
    drift: float = 0.25e-9
    current_pole: float = 0.15e-3
    height_pole: float = 0.1e-3
    slowness: float = 1.0
    glitches: float = 0.003  # share of sites with one at random
    barren: float = 0.2
    law: str = "hemisphere"
    power: float = 1.0
    capacitance: float = 8e-12
    leakage: float = 0.3e-12  # A per V
    current_lsb: float = 200e-12 / 4096
    height_lsb: float = 0.0
    hum: float = 0.0
    n_post: int = 0
    latency: float = 0.1e-3
    after: str = "open"
    n_rows: int = 20
    tell_bandwidth: bool = False
    fast: float | None = None  # rate of a fast approach up to about 0.15 V before the onset
    sign: float = -1.0
    dtype: type = np.float32
    blind_height: bool = False
    blind_current: bool = False
    confirm: int = 1
    extra: dict = field(default_factory=dict)


@dataclass
class Truth:
    onset: np.ndarray  # V, NaN where nothing nucleated before the end
    genuine: np.ndarray  # nucleated and tripped by growth
    false: np.ndarray  # ended by a glitch before nucleation
    volume: np.ndarray


def _growth(setup: Setup, rng: np.random.Generator, time: np.ndarray, eta: float):
    """Height and current of a nucleus born at time 0 (arrays over ``time``)."""
    if setup.law == "hemisphere":
        sigma = 1e-2 * rng.lognormal(0, 0.5) / setup.slowness
        rho = 0.22e-4 * rng.lognormal(0, 0.3) * setup.slowness
        alpha = np.pi / (2 * sigma)
        u = KAPPA * eta * time
        a = 2 * u / (rho + np.sqrt(rho**2 + 2 * alpha * u))
        da = KAPPA * eta / (rho + alpha * a)
        return a, 2 * np.pi * a**2 * da / KAPPA
    speed = 4.2e-6 * rng.lognormal(0, 0.3) / setup.slowness
    if setup.law == "power":
        a = speed * 1e-3 * (time / 1e-3) ** setup.power
        return a, 12e-12 * (a / 8e-9) ** 2
    tau = 3e-3 * setup.slowness * rng.lognormal(0, 0.2)
    rise = 1 - np.exp(-time / tau)
    return 25e-9 * rise, 40e-12 * rise


def _lowpass(x: np.ndarray, dt: float, pole: float) -> np.ndarray:
    if pole <= 0:
        return x
    k = 1 - np.exp(-dt / pole)
    return lfilter([k], [1, -(1 - k)], x)


def make(setup: Setup) -> tuple[RampSet, Truth]:
    rng = np.random.default_rng(setup.seed)
    s = setup
    dt = 1 / s.sample_rate
    fine = max(1, int(np.ceil(dt / 5e-6))) if s.sample_rate < 2e5 else 1
    h = dt / fine
    currents, heights, biases, counts, posts, ends = [], [], [], [], [], []
    onset = np.full(s.sites, np.nan)
    genuine = np.zeros(s.sites, bool)
    false = np.zeros(s.sites, bool)
    volume = np.zeros(s.sites)
    direction = np.sign(s.stop - s.start)
    fast_end = np.full(s.sites, np.nan)
    span = abs(s.stop - s.start)
    for k in range(s.sites):
        born_bias = np.clip(rng.normal(0.55, 0.12), 0.2, 0.95) * span  # from start
        if s.fast is not None:
            edge = max(born_bias - rng.uniform(0.12, 0.3), 0.05)
            t_edge = edge / s.fast
            t_total = t_edge + (span - edge) / s.rate
            fast_end[k] = s.start + direction * edge
        else:
            edge, t_edge, t_total = 0.0, 0.0, span / s.rate
        n = int(np.floor(t_total / dt + 1e-9)) + 1
        t = np.arange(n) * dt
        swept = np.where(t < t_edge, t * (s.fast or 1.0), edge + (t - t_edge) * s.rate)
        bias = s.start + direction * swept
        speed = np.where(t < t_edge, s.fast or s.rate, s.rate)
        t0 = t_edge + (born_bias - edge) / s.rate
        barren = rng.random() < s.barren
        # noise
        cut = np.exp(-dt / max(s.current_pole, 1e-9))
        white = rng.normal(size=n + 50) * np.sqrt(1 - cut**2)
        i_noise = s.current_noise * lfilter([1], [1, -cut], white)[50:]
        walk = np.cumsum(rng.normal(size=n)) * s.walk * np.sqrt(dt)
        z_noise = rng.normal(size=n) * s.height_noise + walk + s.drift * t
        background = direction * s.leakage * swept + direction * s.capacitance * speed
        if s.hum:
            phase = rng.uniform(0, 2 * np.pi)
            i_noise = i_noise + s.hum * np.sin(2 * np.pi * 50.0 * t + phase)
        # growth on a fine axis that ends at sample instants
        tail = n - 1 - int(np.floor(t0 / dt))
        i_growth, z_growth = np.zeros(n), np.zeros(n)
        state = rng.bit_generator.state
        if not barren and tail > 0:
            start = int(np.floor(t0 / dt)) * dt
            tail = min(tail, s.extra.get("tail", 4000))
            axis = np.arange(tail * fine + 1) * h + start
            a, i = _growth(s, rng, np.maximum(axis - t0, 0), 0.66)
            i_f = _lowpass(i, h, s.current_pole)[::fine]
            z_f = _lowpass(a, h, s.height_pole)[::fine]
            first = int(np.floor(t0 / dt))
            i_growth[first : first + tail + 1] = i_f
            z_growth[first : first + tail + 1] = z_f
            i_growth[first + tail + 1 :] = i_f[-1]
            z_growth[first + tail + 1 :] = z_f[-1]
        glitch_at, in_height = -1, False
        if rng.random() < s.glitches:
            glitch_at = int(rng.integers(max(3, int(t_edge / dt) + 20), max(n, 5)))
            glitch_at = min(glitch_at, n - 1)
        current = s.sign * (np.abs(background) * 1.0 + i_growth) + i_noise
        height = 3e-7 + z_growth + z_noise
        if glitch_at >= 0:
            size = rng.uniform(12e-12, 60e-12) * rng.choice([-1.0, 1.0])
            in_height = s.mode == "height"
            if in_height:
                height[glitch_at] += rng.uniform(10e-9, 40e-9)
            else:
                current[glitch_at] += size
        if s.current_lsb:
            current = np.round(current / s.current_lsb) * s.current_lsb
        if s.height_lsb:
            height = np.round(height / s.height_lsb) * s.height_lsb
        out = np.zeros(n, bool)
        steady = s.sign * (np.abs(background))
        if s.mode in ("current", "both"):
            out |= np.abs(current - steady) > s.current_compliance
        if s.mode in ("height", "both"):
            out |= np.abs(height - height[0]) > s.height_compliance
        if s.confirm > 1 and n >= s.confirm:
            run = np.convolve(out, np.ones(s.confirm), "full")[:n] >= s.confirm
            out = run
        trip = int(np.argmax(out)) if out.any() else n - 1
        tripped = bool(out.any()) and s.mode != "none"
        ends.append(2 if tripped and s.mode != "height" else 3 if tripped else 1)
        stop_time = trip * dt
        final, flowing = 0.0, 0.0  # radius when all has stopped, current at the trip
        if not barren and t0 < stop_time:
            onset[k] = s.start + direction * (edge + (t0 - t_edge) * s.rate)
            genuine[k] = tripped and trip != glitch_at
            rng2 = np.random.default_rng(0)
            rng2.bit_generator.state = state
            ends_at = np.array([stop_time + s.latency - t0, stop_time - t0])
            a, i = _growth(s, rng2, ends_at, 0.66)
            final, flowing = a[0], i[1]
            volume[k] = 2 / 3 * np.pi * a[0] ** 3
        elif tripped and trip == glitch_at:
            false[k] = True
        cur, hei, bia = current[: trip + 1], height[: trip + 1], bias[: trip + 1]
        m = 0
        if tripped and s.n_post:
            m = s.n_post
            after = np.arange(1, m + 1) * dt
            pole_z, pole_i = max(s.height_pole, 1e-9), max(s.current_pole, 1e-9)
            rise = final - (final - z_growth[trip]) * np.exp(-after / pole_z)
            rest = 3e-7 + rise + walk[trip] + s.drift * stop_time
            hei = np.concatenate([hei, rest + rng.normal(size=m) * s.height_noise])
            # what the pole held, and what still flowed during the latency
            held = i_growth[trip] + flowing * s.latency / pole_i
            tail_i = s.sign * held * np.exp(-after / pole_i)
            cur = np.concatenate([cur, tail_i + rng.normal(size=m) * s.current_noise])
            bia = np.concatenate([bia, np.zeros(m)])
        currents.append(cur)
        heights.append(hei)
        biases.append(bia)
        counts.append(len(cur))
        posts.append(m)
    n_cols = int(np.ceil(s.sites / s.n_rows))
    index = np.arange(s.sites)
    row, col = index // n_cols, index % n_cols
    current = np.concatenate(currents).astype(s.dtype)
    height = np.concatenate(heights).astype(s.dtype)
    if s.blind_height:
        height[:] = np.nan
    if s.blind_current:
        current[:] = np.nan
    ramps = RampSet(
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        current=current,
        height=height,
        bias=np.concatenate(biases) if s.fast is not None or s.n_post else None,
        sample_period=dt,
        bias_start=np.full(s.sites, s.start),
        bias_stop=np.full(s.sites, s.stop),
        ramp_rate=np.full(s.sites, s.rate),
        x=col * 20e-9,
        y=row * 20e-9,
        n_post=np.array(posts),
        mode=s.mode,
        current_compliance=s.current_compliance if s.mode in ("current", "both") else None,
        height_compliance=s.height_compliance if s.mode in ("height", "both") else None,
        termination=np.array(ends),
        termination_labels={1: "completed", 2: "current_compliance", 3: "height_compliance"},
        row=row,
        col=col,
        grid_shape=(s.n_rows, n_cols),
        pitch=20e-9,
        fast_end=fast_end if s.fast is not None else None,
        instrument=Instrument(
            current_bandwidth=1 / (2 * np.pi * s.current_pole),
            height_bandwidth=1 / (2 * np.pi * s.height_pole),
        )
        if s.tell_bandwidth
        else Instrument(),
        material=Material(faradaic_yield=0.98),
    )
    return ramps, Truth(onset, genuine, false, volume)
