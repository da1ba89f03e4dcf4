"""Tables of conditions, their schedule, and the footprint: pure functions."""

import math
from collections import Counter

import pytest
from nucleation_bluesky.contract.enums import ContactMode, OnLimit, StepKind, StepMode
from nucleation_bluesky.plans.conditions import (
    TECHNIQUES,
    PotentialScale,
    potential_scale,
    read_conditions,
)
from nucleation_bluesky.plans.footprint import check_pitch, measured_wetting_ratio
from nucleation_bluesky.plans.landing_options import LandingOptions
from nucleation_bluesky.plans.schedule import schedule

LITHIUM = PotentialScale("Li/Li+", 3.17)


def test_quantities_carry_units_and_documents_read_back():
    rows = [
        {"current": "-1.2 nA", "duration": "5 s", "repeats": "7", "label": "low"},
        {"technique": "cv", "initial": 1.47, "vertex": "-270 mV", "rate": "100 mV/s", "cycles": 2},
        {"technique": "cycling", "current": 1e-9, "charge": "3 nC", "strip_potential": 1.0},
        {"technique": "pulse", "potential": -0.2, "on_time": 0.1, "off_time": 0.2, "pulses": 3,
         "off_potential": 0.3},
        {"technique": "chronoamperometry", "potential": -0.1, "duration": 2, "charge": "1 nC"},
        {"technique": "open_circuit", "duration": 3},
        {"technique": "contact"},
    ]  # fmt: skip
    made = read_conditions(rows, LITHIUM)
    assert {c.technique for c in made} == set(TECHNIQUES)
    assert made[0].steps[0].start == pytest.approx(-1.2e-9)
    assert (made[0].repeats, made[0].label) == (7, "low")
    # potentials were given against Li/Li+ and are commanded raw; what was given is kept
    assert made[1].steps[0].start == pytest.approx(1.47 - 3.17)
    assert made[1].values["vertex"] == pytest.approx(-0.27)
    assert made[2].steps[2].potential.high == pytest.approx(1.0 - 3.17)
    assert made[3].steps[1].start == pytest.approx(0.3 - 3.17)
    assert made[4].steps[0].on_limit is OnLimit.NEXT_STEP
    assert made[6].steps == ()
    again = read_conditions([c.document() for c in made], LITHIUM)
    assert [c.steps for c in again] == [c.steps for c in made]


def test_charge_alone_gives_the_duration():
    (made,) = read_conditions([{"current": -3e-9, "charge": 45e-9}])
    step = made.steps[0]
    assert step.duration == pytest.approx(15.0)
    assert (step.kind, step.mode) == (StepKind.PLATE, StepMode.CURRENT)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"curent": 1e-9, "duration": 1}, r"unknown condition column 'curent' \(did you mean 'cur"),
        ({"technique": "cv", "duration": 1}, "unknown condition column 'duration'"),
        ({"current": -1e-9, "duration": 5, "charge": "-1 nC"}, "charge is a magnitude"),
        ({"technique": "cycling", "current": 1e-9, "charge": 0}, "charge is a magnitude"),
        ({"technique": "voltammetry"}, "technique 'voltammetry' is not one of"),
        ({"current": "5 V", "duration": 1}, "current: '5 V' is not in units of A"),
        ({"current": -1e-9}, "needs a duration, or a current and a charge"),
        ({"technique": "cv", "initial": 1.0, "rate": 0.1}, "needs vertex"),
        ({"technique": "cv", "initial": 1, "vertex": 1, "rate": 0.1}, "two different potentials"),
        ({"technique": "cv", "initial": 1, "vertex": 0, "rate": -0.1}, "sweep rate is a magnitude"),
        ({"current": 1e-9, "duration": -1}, "last longer than 0 s"),
        ({"current": 1e-9, "duration": float("inf")}, "not finite"),
        ({"current": 1e-9, "duration": 1, "repeats": 0}, "repeats must be a whole number"),
        ({"current": 1e-9, "duration": 1, "repeats": 1.5}, "repeats must be a whole number"),
        (
            {"technique": "cv", "initial": 1, "vertex": 0, "rate": 1, "cycles": 2.5},
            "cycles must be a whole number",
        ),
        (
            {"technique": "pulse", "on_time": 1, "off_time": 1, "pulses": 2},
            "current or a potential",
        ),
        ({"current": 1e-9, "duration": 1, "potential_low": 1, "potential_high": 0}, "low < high"),
        (["current", 1], "is not a row"),
    ],
)
def test_a_bad_row_is_named(row, sentence):
    good = {"current": -1e-9, "duration": 1}
    with pytest.raises(ValueError, match=sentence) as caught:
        read_conditions([good, row])
    assert str(caught.value).startswith("condition 2")


def test_yaml_and_csv(tmp_path):
    yaml_file = tmp_path / "screen.yaml"
    yaml_file.write_text(
        "common: {duration: 5 s, potential_low: -1.5}\n"
        "conditions:\n- {current: -1 nA}\n- {current: -2 nA, duration: 2 s}\n"
    )
    made = read_conditions(yaml_file)
    assert [c.values["duration"] for c in made] == [5.0, 2.0]
    csv_file = tmp_path / "screen.csv"
    csv_file.write_text(
        "technique,current,duration,repeats\n,-1 nA,5 s,3\ngalvanostatic,-2e-9,2,\n"
    )
    made = read_conditions(str(csv_file))
    assert [c.repeats for c in made] == [3, None]
    for name, content, sentence in (
        ("a.csv", "current\n-1e-9,5,6\n", "more cells than"),
        ("b.yaml", "conditions: 5\n", "must hold a list"),
        ("c.yaml", "- {current: [}\n", "is not valid YAML"),
        ("d.txt", "x", "neither a CSV nor a YAML"),
        ("e.csv", "current,duration\n", "is empty"),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(ValueError, match=sentence):
            read_conditions(tmp_path / name)
    with pytest.raises(ValueError, match="cannot be read"):
        read_conditions(tmp_path / "absent.csv")


def test_scales():
    context = {"reference_scale": "Ag QRCE", "reference_offset": {"scale": "Li/Li+", "offset": 3.1}}
    assert potential_scale(context, "raw").raw(1.0) == 1.0
    assert potential_scale(context, "Ag QRCE").raw(1.0) == 1.0
    assert potential_scale(context, "Li/Li+").raw(1.0) == pytest.approx(-2.1)
    with pytest.raises(ValueError, match="this session knows 'raw', 'Ag QRCE', 'Li/Li\\+'"):
        potential_scale(context, "SHE")


def test_schedules():
    assert schedule([2, 1]) == [(0, 0), (0, 1), (1, 0)]
    repeats = [8] * 7 + [7]
    for assignment in ("random", "blocked"):
        pairs = schedule(repeats, assignment, seed=3)
        assert sorted(pairs) == schedule(repeats)
        assert pairs == schedule(repeats, assignment, seed=3)
        assert pairs != schedule(repeats, assignment, seed=4)
    blocks = [pairs[k : k + 8] for k in range(0, 56, 8)]
    assert all(sorted(c for c, _ in block) == list(range(8)) for block in blocks)
    assert Counter(r for _, r in pairs)[7] == 7
    with pytest.raises(ValueError, match="not one of in_order, random, blocked"):
        schedule([1], "snake")


def test_pitch_against_footprint():
    check_pitch(11e-6, 6e-6, 1.8)
    check_pitch(10.8e-6, 6e-6, 1.8)
    check_pitch(math.nan, 6e-6, 1.8)
    with pytest.raises(ValueError, match="11 um is smaller than the expected footprint of 22 um"):
        check_pitch(11e-6, 10e-6, 2.2)
    areas = [math.pi / 4 * (w * 1e-6) ** 2 for w in (9.8, 10.0, 10.2)] + [math.nan]
    assert 10.0 / 6 < measured_wetting_ratio(areas, 6e-6) < 10.25 / 6
    with pytest.raises(ValueError, match="no footprint was measured"):
        measured_wetting_ratio([math.nan], 6e-6)


def test_contact_follows_the_technique():
    cv, plating = read_conditions(
        [
            {"technique": "cv", "initial": 1.47, "vertex": 0, "rate": 0.1},
            {"current": -1e-9, "duration": 1},
        ],
        LITHIUM,
    )
    approach = LandingOptions().approach(cv.steps, LITHIUM)
    assert (approach.mode, approach.threshold) == (ContactMode.CURRENT, 5e-12)
    assert approach.potential == pytest.approx(1.47 - 3.17)
    approach = LandingOptions().approach(plating.steps, LITHIUM)
    assert (approach.mode, approach.threshold) == (ContactMode.OVERLOAD, 5.0)
    chosen = LandingOptions(contact_potential=1.0).approach(plating.steps, LITHIUM)
    assert (chosen.mode, chosen.potential) == (ContactMode.CURRENT, pytest.approx(1.0 - 3.17))
    with pytest.raises(ValueError, match="give contact_potential"):
        LandingOptions(contact="current").approach(plating.steps, LITHIUM)
    for wrong in ({"contact": "touch"}, {"contact_threshold": -1.0}, {"max_no_contact": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            LandingOptions(**wrong)
