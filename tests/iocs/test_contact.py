import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nucleation_bluesky.contract.enums import ContactMode
from nucleation_bluesky.contract.program import Approach
from nucleation_bluesky.iocs.contact import (
    REFERENCE_SAMPLES,
    Contact,
    ContactDetector,
    NoOverloadError,
)


def by_loop(beyond, confirm):
    run, false = 0, 0
    for i, b in enumerate(beyond):
        if b:
            run += 1
            if run == confirm:
                return Contact(i - confirm + 1, i), false
        else:
            false += run > 0
            run = 0
    return None, false


def in_blocks(detector, potential, current, cuts):
    edges = sorted({0, len(current), *(c for c in cuts if c < len(current))})
    for low, high in itertools.pairwise(edges):
        if (found := detector.feed(potential[low:high], current[low:high])) is not None:
            return found
    return None


@given(
    st.lists(st.booleans(), min_size=1, max_size=60),
    st.integers(1, 4),
    st.lists(st.integers(0, 60), max_size=6),
)
def test_current_in_any_blocks_as_by_loop(beyond, confirm, cuts):
    detector = ContactDetector(Approach(threshold=5e-12, confirm_samples=confirm))
    current = np.where(beyond, -7e-12, 4e-12)
    found = in_blocks(detector, np.zeros(len(beyond)), current, cuts)
    wanted, false = by_loop(beyond, confirm)
    assert found == wanted
    assert detector.false_contacts == false


@given(
    st.lists(st.booleans(), min_size=1, max_size=60),
    st.integers(1, 3),
    st.lists(st.integers(0, 60), max_size=6),
)
def test_overload_in_any_blocks_as_by_loop(beyond, confirm, cuts):
    approach = Approach(
        mode=ContactMode.OVERLOAD, current=-1e-11, threshold=5.0, confirm_samples=confirm
    )
    detector = ContactDetector(approach)
    beyond = [False] * REFERENCE_SAMPLES + beyond
    potential = np.where(beyond, -4.0, -10.0)
    found = in_blocks(detector, potential, np.zeros(len(beyond)), cuts)
    wanted, false = by_loop(beyond, confirm)
    assert found == wanted
    assert detector.false_contacts == false


def test_an_approach_that_starts_in_contact_is_refused():
    approach = Approach(mode=ContactMode.OVERLOAD, current=1e-11, threshold=5.0)
    with pytest.raises(NoOverloadError, match="in contact already"):
        ContactDetector(approach).feed(np.full(20, 0.8), np.zeros(20))
