"""The virtual environment: steady noise around usual values, and one alarm at a time."""

import numpy as np
import pytest
from nucleation_bluesky.contract.pvs_environment import ENVIRONMENT, QUANTITIES, TrainingAlarm
from nucleation_bluesky.iocs.environment import (
    RAISED,
    WANDER,
    EnvironmentFrontEnd,
    EnvironmentModel,
)
from nucleation_bluesky.session.config_environment import EnvironmentConfig
from nucleation_bluesky.session.quantities import parse_quantity

EGU = {pv.suffix: pv.egu for pv in ENVIRONMENT}
NAMES = {quantity.suffix: name for name, quantity in QUANTITIES.items()}


def si(suffix, value):
    return parse_quantity(f"{value:.12f} {EGU[suffix]}", QUANTITIES[NAMES[suffix]].unit)


def test_noise_is_stationary_and_slow():
    model = EnvironmentModel(7)
    steps = [model.step(1.0, TrainingAlarm.NONE) for _ in range(20_000)]
    for name, w in WANDER.items():
        values = np.array([step[name] for step in steps])
        assert values.std() == pytest.approx(w.spread, rel=0.25), name
        # standard error of a correlated mean: spread * sqrt(2 tau / T)
        assert abs(values.mean() - w.usual) < 4 * w.spread * np.sqrt(2 * w.tau / 20_000), name
        jumps = np.abs(np.diff(values)).mean()
        assert jumps < 0.7 * w.spread, name


def test_seed_repeats():
    first, second = (EnvironmentModel(3).step(1.0, TrainingAlarm.NONE) for _ in range(2))
    assert first == second
    assert first != EnvironmentModel(4).step(1.0, TrainingAlarm.NONE)


def test_usual_values_are_within_the_default_limits_and_alarms_are_not():
    config = EnvironmentConfig()
    for alarm in TrainingAlarm:
        model = EnvironmentModel(1)
        for _ in range(60):
            readings = model.step(1.0, alarm)
        beyond = set()
        for suffix, value in readings.items():
            low, high = config.sensor(NAMES[suffix]).limits()
            if not low <= si(suffix, value) <= high:
                beyond.add(suffix)
        assert beyond == ({RAISED[alarm]} if alarm is not TrainingAlarm.NONE else set())
        for _ in range(60):
            readings = model.step(1.0, TrainingAlarm.NONE)
        for suffix, value in readings.items():
            low, high = config.sensor(NAMES[suffix]).limits()
            assert low <= si(suffix, value) <= high, suffix


def test_every_quantity_is_served():
    served = EnvironmentFrontEnd("NB:ENV:").database
    for quantity in QUANTITIES.values():
        assert f"NB:ENV:{quantity.suffix}" in served
