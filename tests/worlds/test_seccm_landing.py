"""Contact, noise, determinism and snapshots of landings of the virtual SECCM."""

import numpy as np
import pytest
from nucleation_bluesky.worlds.seccm import Control, SeccmSettings, SeccmWorld
from nucleation_bluesky.worlds.seccm.simulate import (
    SAMPLE_PERIOD,
    constant_current,
    simulate_landing,
)
from nucleation_bluesky.worlds.seccm.truth import TruthWriter, landing_truth, read_truth

DT = SAMPLE_PERIOD
SETTINGS = SeccmSettings(frame_size=64)
OFFSET = SETTINGS.reference_offset


def approach(landing, mode=Control.POTENTIAL, value=1.47 - OFFSET, start=4e-6, depth=0.0):
    """Samples of an approach at 2 um/s to ``depth`` beyond the surface."""
    n = int((start + depth) / (2e-6 * DT))
    z = landing.meniscus.surface - start + 2e-6 * DT * np.arange(1, n + 1)
    return landing.run(mode, np.full(n, value), DT, z)


def program(landing):
    """Approach, plate through nucleation, strip, rest and sweep: every branch."""
    unit = landing.settings.footprint_area
    n = 3 * int(1 / DT)
    z = landing.meniscus.surface - 1e-6 + 2e-6 * DT * np.arange(n)
    z = np.minimum(z, landing.meniscus.surface + 1e-9)
    sweep = np.concatenate([np.linspace(1.4, -0.25, n), np.linspace(-0.25, 1.4, n)]) - OFFSET
    deep = z[-1]
    return [
        (Control.POTENTIAL, np.full(n, 1.47 - OFFSET), z),
        (Control.CURRENT, np.full(n, -38.2 * unit), np.full(n, deep)),
        (Control.CURRENT, np.full(200, 8 * unit), np.full(200, deep)),
        (Control.OPEN_CIRCUIT, np.zeros(100), np.full(100, deep)),
        (Control.POTENTIAL, sweep, np.full(2 * n, deep)),
        (Control.OPEN_CIRCUIT, np.zeros(n), deep - 2e-6 * DT * np.arange(n)),
    ]


def execute(landing, sizes):
    """Run the program in portions of the given sizes, over and over."""
    out, k = [], 0
    for mode, setpoints, z in program(landing):
        begin = 0
        while begin < len(setpoints):
            end = begin + sizes[k % len(sizes)]
            k += 1
            out.append(landing.run(mode, setpoints[begin:end], DT, z[begin:end]))
            begin = end
    return [np.concatenate(v) for v in zip(*out, strict=True)]


def test_portions_do_not_matter():
    whole = execute(SeccmWorld(SETTINGS, 5).land(), [10**6])
    for sizes in ([1], [7, 1, 300], [4096]):
        parts = execute(SeccmWorld(SETTINGS, 5).land(), sizes)
        for a, b in zip(whole, parts, strict=True):
            np.testing.assert_array_equal(a, b)


def test_seed_and_place_decide():
    same = [execute(SeccmWorld(SETTINGS, 5).land(1e-6, 0), [500])[0] for _ in range(2)]
    np.testing.assert_array_equal(*same)
    other = [
        execute(SeccmWorld(SETTINGS, 6).land(1e-6, 0), [500])[0],
        execute(SeccmWorld(SETTINGS, 5).land(2e-6, 0), [500])[0],
    ]
    world = SeccmWorld(SETTINGS, 5)
    world.land(1e-6, 0)
    other.append(execute(world.land(1e-6, 0), [500])[0])  # a second visit is another event
    for potential in other:
        assert (potential != same[0]).any()


def test_order_of_landings_does_not_matter():
    first, second = SeccmWorld(SETTINGS, 5), SeccmWorld(SETTINGS, 5)
    a = first.land(0, 0)
    b = first.land(11e-6, 0)
    d = second.land(11e-6, 0)
    c = second.land(0, 0)
    for one, other in ((a, c), (b, d)):
        assert one.footprint.area == other.footprint.area
        assert one.meniscus.surface == other.meniscus.surface
        assert one.electrode.draw == other.electrode.draw


@pytest.mark.parametrize("cut_at", [400, 1250, 1700, 2400])
def test_snapshot_brings_back_everything(cut_at):
    reference, landing = SeccmWorld(SETTINGS, 5).land(), SeccmWorld(SETTINGS, 5).land()
    mode, z = Control.CURRENT, landing.meniscus.surface + 1e-9
    current = -38.2 * SETTINGS.footprint_area
    for one in (reference, landing):
        one.run(mode, np.full(cut_at, current), DT, z)
    before = landing.snapshot()
    landing.begin_step(3)
    landing.run(mode, np.full(900, -2 * current), DT, z)
    landing.run(Control.POTENTIAL, np.full(500, -OFFSET), DT, z - 9e-6)  # away, too
    landing.restore(before)
    assert landing.count == cut_at
    a = reference.run(mode, np.full(700, current), DT, z)
    b = landing.run(mode, np.full(700, current), DT, z)
    for one, other in zip(a, b, strict=True):
        np.testing.assert_array_equal(one, other)
    assert reference.time == landing.time
    for name in ("time", "clock", "dead", "active", "sei", "current"):
        np.testing.assert_array_equal(reference.history.column(name), landing.history.column(name))
    time = reference.time - 0.3
    np.testing.assert_array_equal(reference.frame(time), landing.frame(time))
    assert landing.marks == ()


def test_contact_by_current():
    settings = SeccmSettings(frame_size=64, spike_fraction=0.0)
    for k in range(20):
        landing = SeccmWorld(settings, k).land()
        potential, current, _ = approach(landing, depth=0.5e-6)
        beyond = np.abs(current) > 5e-12
        touched = round((landing.contact.time - landing.start) / DT) - 1
        assert not beyond[:touched].any()
        assert beyond[touched : touched + 20].all()  # spike, then step: two samples in a row
        assert abs(current[touched]) > 100e-12
        assert landing.contact.z - landing.meniscus.surface < 2e-6 * DT
        assert potential[:touched].std() < 1e-3


def test_contact_by_overload():
    landing = SeccmWorld(SETTINGS, 1).land()
    potential, current, saturated = approach(landing, Control.CURRENT, -1e-12, depth=0.2e-6)
    touched = round((landing.contact.time - landing.start) / DT) - 1
    assert (potential[:touched] == 10.0).all()
    assert saturated[:touched].all()
    assert (np.abs(potential[touched:]) < 5).all()
    assert not saturated[touched:].any()
    assert (np.abs(current) < 5e-12).all()


def test_one_approach_in_twenty_has_a_false_spike_of_one_sample():
    settings = SeccmSettings(frame_size=16)
    world, spikes = SeccmWorld(settings, 0), 0
    for k in range(400):
        landing = world.land(k * 1e-6, 0)
        _, current, _ = approach(landing, start=4.2e-6, depth=-0.05e-6)
        beyond = np.flatnonzero(np.abs(current) > 5e-12)
        assert len(beyond) <= 1
        spikes += len(beyond)
    assert 8 <= spikes <= 34  # 20 expected, three sd


def test_meniscus_breaks_on_the_way_back_and_glass_on_the_way_down():
    landing = SeccmWorld(SETTINGS, 1).land()
    approach(landing, depth=0.05e-6)
    z = landing.contact.z - 2e-6 * DT * np.arange(1, 1500)
    landing.run(Control.OPEN_CIRCUIT, np.zeros(len(z)), DT, z)
    way = landing.contact.z - np.interp(
        landing.contact.broken, landing.start + DT * (780 + np.arange(len(z))), z
    )
    assert not landing.contact.wet
    assert 1.4e-6 < way < 2.6e-6
    deep = SeccmWorld(SETTINGS, 1).land()
    approach(deep, depth=4e-6)
    assert deep.contact.crashed
    assert landing_truth(deep)["crashed"]


def test_loss_of_contact():
    settings = SeccmSettings(frame_size=16, loss_fraction=1.0, loss_time=0.5)
    landing = SeccmWorld(settings, 0).land()
    approach(landing, depth=0.01e-6)
    z = landing.meniscus.surface + 1e-8
    potential, _, saturated = landing.run(Control.CURRENT, np.full(4000, -1e-9), DT, z)
    lost = np.flatnonzero(potential == 10.0)
    assert len(lost)
    assert saturated[lost[0] :].all()


def test_overload_and_range():
    landing = SeccmWorld(SETTINGS, 1).land()
    landing.current_range = 1e-9
    approach(landing, depth=0.05e-6)
    z = landing.meniscus.surface + 1e-8
    _, current, saturated = landing.run(Control.POTENTIAL, np.full(2000, -0.5 - OFFSET), DT, z)
    assert np.abs(current).max() <= 1e-9
    assert saturated.any()
    potential, *_ = landing.run(Control.CURRENT, np.full(2000, -300e-9), DT, z)
    assert potential.min() == -10.0


def test_noise_is_that_of_the_settings():
    settings = SeccmSettings(frame_size=16, spike_fraction=0.0)
    landing = SeccmWorld(settings, 1).land()
    _, current, _ = landing.run(Control.POTENTIAL, np.zeros(20000), DT, 0.0)
    assert current.std() == pytest.approx(settings.current_noise, rel=0.05)
    assert abs(current.mean()) < 5 * settings.current_noise / np.sqrt(20000)
    assert abs(np.corrcoef(current[1:], current[:-1])[0, 1]) < 0.05


def test_truth_file(tmp_path):
    path = tmp_path / "truth.h5"
    world = SeccmWorld(SETTINGS, 1, TruthWriter(path, 1, SETTINGS))
    unit = SETTINGS.footprint_area
    landings = [
        simulate_landing(program=[constant_current(-38.2 * unit, 1.5, 1)], world=world, place=p)
        for p in ((0.0, 0.0), (30e-6, 0.0))
    ]
    for landing in landings:
        world.finish(landing.landing)
    records = read_truth(path)
    assert [r["x"] for r in records] == [0.0, 30e-6]
    for record, landing in zip(records, landings, strict=True):
        truth = landing.truth()
        assert record["t_nuc"] == truth["t_nuc"]
        np.testing.assert_array_equal(record["particle_time"], truth["particle_time"])
        np.testing.assert_array_equal(record["nucleation_map"], truth["nucleation_map"])
        assert record["cycle"].tolist() == [1]
