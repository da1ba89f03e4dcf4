"""Physics of the virtual SECCM against closed forms and published figures."""

import math

import numpy as np
import pytest
from nucleation_bluesky.worlds.seccm import SeccmSettings, SeccmWorld
from nucleation_bluesky.worlds.seccm.settings import FARADAY, MA_PER_CM2, UAH_PER_CM2
from nucleation_bluesky.worlds.seccm.simulate import (
    SAMPLE_PERIOD,
    constant_current,
    constant_potential,
    rest,
    simulate_landing,
    voltammogram,
)
from nucleation_bluesky.worlds.seccm.transport import DiffusionLayer, sand_time

SMALL = {"frame_size": 64}
EXACT = {
    **SMALL,
    "t_nuc_scatter": 0.0,
    "t_nuc_scatter_low": 0.0,
    "e_nuc_scatter": 0.0,
    "e_growth_scatter": 0.0,
    "wetting_scatter": 0.0,
    "density_scatter": 0.0,
    "residual_current": 0.0,
}
# Table 1: A/m2, V, V, s, 1/m2, efficiency, duration
TABLE = [
    (2.0, -0.058, -0.004, 17.7, 1.1e13, 0.197, 60.0),
    (7.8, -0.135, -0.022, 3.8, 1.7e13, 0.152, 15.0),
    (38.2, -0.292, -0.267, 0.8, 2.5e13, 0.106, 3.0),
]


def plate(settings, density, duration, seed=0, **options):
    current = -density * settings.footprint_area
    return simulate_landing(settings, seed, [constant_current(current, duration)], **options)


def balance(landing):
    """Charge that is somewhere on the electrode, C/m2: in particles and in the film."""
    d, _ = landing.diameters(landing.time)
    metal = math.pi / 6 * (d**3).sum() * FARADAY / landing.settings.molar_volume
    return metal / landing.footprint.area + landing.state.film


@pytest.mark.parametrize(
    ("density", "e_nuc", "e_growth", "t_nuc", "particles", "efficiency", "duration"), TABLE
)
def test_published_table_without_scatter(
    density, e_nuc, e_growth, t_nuc, particles, efficiency, duration
):
    settings = SeccmSettings(**EXACT)
    landing = plate(settings, density, duration)
    truth = landing.truth()
    assert truth["e_nuc"] == pytest.approx(e_nuc, abs=2e-3)
    assert truth["e_growth"] == pytest.approx(e_growth, abs=1e-3)
    assert truth["t_nuc"] == pytest.approx(t_nuc, rel=0.02)
    assert truth["q_nuc"] / UAH_PER_CM2 == pytest.approx(density * t_nuc / 36, rel=0.02)
    assert truth["n_particles"] / truth["footprint_area"] == pytest.approx(particles, rel=0.05)
    metal = math.pi / 6 * (truth["particle_diameter"] ** 3).sum() / settings.molar_volume
    share = metal * FARADAY / abs(landing.current.sum() * SAMPLE_PERIOD)
    assert share == pytest.approx(efficiency, rel=0.15)
    assert balance(landing.landing) == pytest.approx(landing.landing.state.cathodic, rel=2e-4)


def test_potential_starts_at_1_2_v_and_ends_on_the_growth_plateau():
    settings = SeccmSettings(**EXACT)
    landing = plate(settings, 7.8, 15.0)
    potential = landing.potential + settings.reference_offset
    assert 1.0 < potential[0] < 1.25
    late = potential[landing.time > 10]
    assert late.mean() == pytest.approx(-0.022, abs=2e-3)
    # the relaxation from E_nuc: a quarter of t_nuc
    half = np.interp(3.8 * 1.25 + 0.1, landing.time, potential)
    assert -0.135 < half < -0.022


def test_highest_density_falls_again_after_2_6_uah_per_cm2():
    settings = SeccmSettings(**EXACT)
    landing = plate(settings, 38.2, 3.0)
    charge = landing.time * 38.2 / UAH_PER_CM2
    potential = landing.potential + settings.reference_offset
    plateau = potential[(charge > 2.2) & (charge < 2.5)].mean()
    end = potential[charge > 3.1].mean()
    assert plateau == pytest.approx(-0.267, abs=3e-3)
    assert end < plateau - 0.02
    fallen = charge[(charge > 2.0) & (potential < plateau - 3e-3)]
    assert 2.4 < fallen[0] < 2.9
    low = plate(settings, 7.8, 15.0)
    late = (low.potential + settings.reference_offset)[low.time > 12]
    assert late.std() < 1e-3  # nothing of the kind below the limiting current


def test_small_pipette_at_low_density():
    settings = SeccmSettings.preset("6um", frame_size=64)
    world = SeccmWorld(settings, 3)
    lowest, second, third = [], [], []
    for k in range(8):
        for density, found in ((2.2, lowest), (3.9, second), (7.8, third)):
            if density == 7.8 and k > 2:
                continue
            current = -density * settings.footprint_area
            landing = simulate_landing(
                program=[constant_current(current, 5.0)],
                world=world,
                place=(k * 11e-6, density * 1e-6),
            ).landing
            found.append((landing.nucleation >= 0, landing.diameters(landing.time)[1].sum()))
    assert not any(n for n, _ in lowest)
    assert all(count == 0 for _, count in lowest)
    assert sum(n for n, _ in second) <= 4
    assert any(not n and count > 0 for n, count in second)  # particles without a minimum
    assert all(n for n, _ in third)


@pytest.mark.parametrize("lead", [0.0, 0.05, 0.10])
def test_lead_of_the_particles(lead):
    settings = SeccmSettings(**EXACT, lead=lead)
    truth = plate(settings, 7.8, 6.0, seed=4).truth()
    times = truth["particle_time"] - truth["contact_time"]
    t_nuc = truth["t_nuc"]
    # a footprint holds few correlated regions: their mean scatters by about 1 % of t_nuc
    assert times.mean() == pytest.approx((1 - lead) * t_nuc, abs=0.02 * t_nuc)
    assert times.std() == pytest.approx(0.055 * t_nuc, rel=0.2)
    assert truth["lead_realised"] == pytest.approx(t_nuc - times.mean(), abs=0.02)


def test_mass_transport_limits():
    settings = SeccmSettings()
    # 50 mM, 10 um: about 1.3 mA/cm2 on the footprint
    density = settings.limiting_current / settings.footprint_area
    assert density / MA_PER_CM2 == pytest.approx(1.3, abs=0.1)
    layer = DiffusionLayer(settings.diffusion, settings.concentration, density)
    state, time, dt, j = layer.initial(), 0.0, 1e-3, 38.2
    tau = sand_time(settings.diffusion, settings.concentration, j)
    while time < 0.8 * tau:
        surface = layer.advance(state, j, dt)
        time += dt
        if abs(time - round(time, 1)) < dt / 2 and time > 0.1:
            assert surface == pytest.approx(1 - math.sqrt(time / tau), abs=0.01)
    state = layer.initial()
    for _ in range(600):
        surface = layer.advance(state, 0.5 * density, 1.0)
    assert surface == pytest.approx(0.5, abs=1e-3)  # steady state at half the limit


def test_step_of_potential_ends_at_the_limiting_current():
    settings = SeccmSettings(**EXACT)
    potential = -0.9 - settings.reference_offset
    landing = simulate_landing(settings, 0, [constant_potential(potential, 20.0)])
    density = -landing.current / landing.landing.footprint.area
    t1, t4 = (np.interp(t, landing.time, density) for t in (1.0, 4.0))
    assert t1 / t4 == pytest.approx(2.0, rel=0.15)  # Cottrell
    limit = settings.limiting_current / landing.landing.footprint.area
    assert density[-1] > limit


@pytest.fixture(scope="module")
def cycled():
    settings = SeccmSettings(frame_size=240, pixel_size=100e-9)
    return simulate_landing(settings, 2, voltammogram(settings, 10))


def test_voltammogram_has_its_onset_and_peaks(cycled):
    settings = cycled.landing.settings
    potential = cycled.potential + settings.reference_offset
    first = np.flatnonzero(cycled.cycle == 1)
    down, up = first[: len(first) // 2], first[len(first) // 2 :]
    area = cycled.landing.footprint.area
    density = cycled.current / area
    slope = np.gradient(-density[down], -potential[down])
    slope = np.convolve(slope, np.ones(40) / 40, "same")
    window = (potential[down] < 0.0) & (potential[down] > -0.2)
    onset = potential[down][window][np.argmax(slope[window] > 3 * slope[window][:40].mean())]
    assert onset == pytest.approx(-0.13, abs=0.03)
    for low, high, wanted in ((0.1, 0.25, 0.18), (0.25, 0.5, 0.32), (0.6, 1.0, 0.82)):
        part = up[(potential[up] > low) & (potential[up] < high)]
        assert potential[part][np.argmax(density[part])] == pytest.approx(wanted, abs=0.025)


def test_efficiency_rises_as_published_and_is_what_the_charges_say(cycled):
    truth = cycled.truth()
    assert truth["cycle"].tolist() == list(range(1, 11))
    assert truth["cycle_ce"][0] == pytest.approx(0.25, abs=0.06)
    assert truth["cycle_ce"][9] == pytest.approx(0.85, abs=0.06)
    assert (np.diff(truth["cycle_ce"]) > 0).all()
    assert (np.diff(truth["cycle_charge_cathodic"]) < 0).all()
    for cycle, cathodic, anodic in zip(
        truth["cycle"],
        truth["cycle_charge_cathodic"],
        truth["cycle_charge_anodic"],
        strict=True,
    ):
        charge = cycled.current[cycled.cycle == cycle] * SAMPLE_PERIOD
        assert charge.sum() == pytest.approx(anodic - cathodic, abs=2e-3 * cathodic)
    state = cycled.landing.state
    assert balance(cycled.landing) == pytest.approx(state.cathodic - state.anodic, rel=1e-3)
    assert state.cycle == 10


def test_dead_lithium_stays_where_plating_is_strong_and_maps_even_out(cycled):
    truth = cycled.truth()
    mask = truth["footprint_mask"]
    spread = [float(np.nanstd(m[mask])) for m in truth["ce_map"]]
    mean = [float(np.nanmean(m[mask])) for m in truth["ce_map"]]
    assert mean == pytest.approx(truth["cycle_ce"], abs=0.05)
    assert spread[0] == pytest.approx(0.10, abs=0.03)
    assert spread[7] < 0.015
    strength = cycled.landing.picture.deviation[16:-16, 16:-16]
    assert np.corrcoef(truth["ce_map"][0][mask], strength[mask])[0, 1] < -0.9
    diameters = truth["particle_diameter"] * 1e9
    density = truth["n_particles"] / truth["footprint_area"]
    assert density == pytest.approx(5.3e13, rel=0.3)
    assert diameters.mean() == pytest.approx(72, rel=0.25)


def test_plate_rest_strip_conserves_charge():
    settings = SeccmSettings(**EXACT)
    unit = settings.footprint_area
    program = [
        part
        for cycle in (1, 2)
        for part in (
            constant_current(-20 * unit, 2.5, cycle),
            rest(0.5, cycle),
            constant_current(10 * unit, 0.8, cycle),
        )
    ]
    landing = simulate_landing(settings, 0, program)
    state = landing.landing.state
    assert balance(landing.landing) == pytest.approx(state.cathodic - state.anodic, rel=1e-3)
    passed = -landing.current.sum() * SAMPLE_PERIOD / landing.landing.footprint.area
    assert state.cathodic - state.anodic == pytest.approx(passed, rel=0.01)
    potential = landing.potential + settings.reference_offset
    resting = (landing.time > 2.8) & (landing.time < 3.0)
    assert abs(potential[resting].mean()) < 0.1  # lithium is there: near its own potential
    assert potential[(landing.time > 3.1) & (landing.time < 3.2)].mean() > 0.05


def test_settings_are_checked():
    with pytest.raises(ValueError, match="rising"):
        SeccmSettings(table_current_density=(7.8, 2.0, 38.2))
    with pytest.raises(ValueError, match="fall"):
        SeccmSettings(table_e_nuc=(-0.1, -0.05, -0.2))
    with pytest.raises(ValueError, match="no_such_figure"):
        SeccmSettings(no_such_figure=1)
    with pytest.raises(ValueError, match="preset"):
        SeccmSettings.preset("7um")  # type: ignore[arg-type]
