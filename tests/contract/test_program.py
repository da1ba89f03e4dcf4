import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nucleation_bluesky.contract.enums import ContactMode, OnLimit, StepKind, StepMode
from nucleation_bluesky.contract.program import (
    COLUMNS,
    MAX_STEPS,
    Approach,
    Limits,
    Program,
    Step,
    concatenate,
    program_from_document,
    steps_from_table,
)
from nucleation_bluesky.contract.program_builders import (
    chronoamperometry,
    chronopotentiometry,
    cv,
    open_circuit,
    plate_rest_strip,
    pulses,
)

values = st.floats(-5, 5, allow_nan=False)
ends = st.one_of(st.none(), st.floats(1e-12, 5))


@st.composite
def limits(draw):
    low, high = draw(ends), draw(ends)
    if low is None and high is None:
        return None
    return Limits(-math.inf if low is None else -low, math.inf if high is None else high)


@st.composite
def steps(draw):
    mode = draw(st.sampled_from(StepMode))
    start, end = (0.0, 0.0) if mode is StepMode.OPEN_CIRCUIT else (draw(values), draw(values))
    return Step(
        mode,
        start,
        end,
        draw(st.floats(1e-4, 100)),
        draw(st.sampled_from(StepKind)),
        draw(st.integers(0, 1000)),
        draw(limits()),
        draw(limits()),
        draw(limits()),
        draw(st.sampled_from(OnLimit)),
        draw(st.floats(0, 3)),
        draw(st.integers(1, 10)),
    )


@given(st.lists(steps(), max_size=5))
def test_tables_and_documents_bring_back_the_program(made):
    program = Program(Approach(mode=ContactMode.OVERLOAD, current=-1e-11, threshold=5), tuple(made))
    assert program.table().shape == (len(made), len(COLUMNS))
    assert np.isfinite(program.table()).all()  # EPICS refuses others
    assert steps_from_table(program.table()) == program.steps
    assert program_from_document(json.loads(json.dumps(program.document()))) == program


def test_setpoints_join_without_a_gap():
    down, up = cv(1.47, -0.27, 0.1)
    period = 2.57e-3
    assert down.n_samples(period) == round(17.4 / period)
    joined = np.concatenate([down.setpoints(period), up.setpoints(period)])
    step = np.abs(np.diff(joined))
    assert step.max() == pytest.approx(step.min())
    assert joined[0] == 1.47
    assert joined.min() == pytest.approx(-0.27)


def test_paper_programs():
    cycles = cv(1.47, -0.27, 0.1, cycles=10)
    program = Program(Approach(), cycles)
    assert program.duration == pytest.approx(348, abs=0.1)
    assert program.n_program_samples / 10 == pytest.approx(13.5e3, rel=0.01)
    assert [s.cycle for s in cycles[-2:]] == [10, 10]
    (plate,) = chronopotentiometry(-750e-12, 60, charge=45e-9)
    assert (plate.kind, plate.charge) == (StepKind.PLATE, Limits(low=-45e-9))
    made = plate_rest_strip(3e-9, 45e-9, strip_potential=1.2, rest=2, cycles=3)
    assert [s.kind for s in made[:4]] == [
        StepKind.PLATE, StepKind.REST, StepKind.STRIP, StepKind.REST,
    ]  # fmt: skip
    assert made[0].duration == pytest.approx(15)
    assert (made[2].on_limit, made[2].charge) == (OnLimit.NEXT_STEP, Limits(high=45e-9))
    both = concatenate(made, open_circuit(1), chronoamperometry(0.3, 2), pulses(-1e-9, 0.1, 0.2, 5))
    assert len(both) == 12 + 1 + 1 + 10


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: chronopotentiometry(-1e-9, 1, charge=-1e-9), "charge limit is a magnitude"),
        (lambda: plate_rest_strip(1e-9, -1e-9), "charge is a magnitude"),
        (lambda: cv(1, 1, 0.1), "two different potentials"),
        (lambda: cv(1, 0, -0.1), "sweep rate"),
        (lambda: pulses(1, 1, 1, 0), "number of pulses"),
        (lambda: pulses(1, 1, 1, 2, mode=StepMode.OPEN_CIRCUIT), "mode CURRENT or POTENTIAL"),
        (lambda: Limits(1, 1), "low < high"),
        (lambda: Limits(math.nan, 1), "low < high"),
        (lambda: Step(StepMode.CURRENT, 0, 0, 1, charge=Limits(1e-9, 2e-9)), "enclose zero"),
        (lambda: Step(StepMode.CURRENT, 0, math.inf, 1), "not finite"),
        (lambda: Step(StepMode.CURRENT, 0, 0, 0), "longer than 0 s"),
        (lambda: Step(StepMode.OPEN_CIRCUIT, 1, 0, 1), "no setpoint"),
        (lambda: Program(None), "needs an approach"),
        (lambda: Program(None, open_circuit(1) * (MAX_STEPS + 1)), "at most"),
        (lambda: Program(Approach(), sample_period=0), "sample period"),
        (lambda: Approach(mode=ContactMode.OVERLOAD), "current other than 0 A"),
        (lambda: Approach(threshold=-1), "magnitude"),
        (lambda: Approach(speed=0), "speed"),
        (lambda: steps_from_table(np.zeros((1, 3))), "columns"),
        (lambda: steps_from_table(np.full((1, len(COLUMNS)), 7.0)), "step 0 of the program"),
    ],
)
def test_bad_input_is_told_in_one_sentence(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
