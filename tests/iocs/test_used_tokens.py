"""Each token works once, however many there were, in a few bytes each."""

import secrets
import tracemalloc
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nucleation_bluesky.contract.pvs import TOKEN_LENGTH
from nucleation_bluesky.iocs import used_tokens
from nucleation_bluesky.iocs.used_tokens import UsedTokens

TOKENS = st.text("0123456789abcdef", min_size=TOKEN_LENGTH, max_size=TOKEN_LENGTH)


@given(st.integers(1, 100), st.lists(TOKENS, max_size=60), st.lists(TOKENS, max_size=20))
def test_knows_the_used_ones_and_no_others(room, used, others):
    with patch.object(used_tokens, "_ROOM", room):
        known(used, others)


def known(used, others):
    tokens, model = UsedTokens(), set()
    for token in used:
        assert (token in tokens) == (token in model)
        tokens.add(token)
        model.add(token)
    assert len(tokens) == len(model)
    assert all(token in tokens for token in used)
    assert [token in tokens for token in others] == [token in model for token in others]


def test_tokens_with_a_common_beginning_are_different():
    tokens = UsedTokens()
    tokens.add("0" * TOKEN_LENGTH)
    assert "0" * (TOKEN_LENGTH - 1) + "1" not in tokens


def test_a_night_of_exposures_takes_ten_bytes_each_from_the_start():
    tracemalloc.start()
    try:
        used = UsedTokens()
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(30_000):
            used.add(secrets.token_hex(TOKEN_LENGTH // 2))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(used) == 30_000
    assert held == pytest.approx(before, abs=2_000)
    assert held < 10 * 30_000
