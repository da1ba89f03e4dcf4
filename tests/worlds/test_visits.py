"""Exposures of a place are counted, as a dictionary would count them."""

from collections import Counter
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st
from nucleation_bluesky.worlds import visits as module
from nucleation_bluesky.worlds.visits import Visits

INDEX = st.integers(-(2**31), 2**31 - 1)


@given(
    st.integers(1, 50),
    st.lists(st.tuples(INDEX, INDEX) | st.tuples(st.integers(-2, 2), st.integers(-2, 2))),
)
def test_counts_like_a_dictionary(room, cells):
    model = Counter()
    with patch.object(module, "_ROOM", room):
        visits = Visits()
        for cell in cells:
            assert visits.count(cell) == model[cell]
            model[cell] += 1
