"""Whatever goes into a journal comes back, or is refused with its name."""

import json
import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from nucleation_bluesky.callbacks.journal_codec import (
    CodecError,
    DamagedLineError,
    decode,
    encode,
)


def same(a, b) -> bool:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return (
            isinstance(b, np.ndarray)
            and a.dtype == b.dtype
            and a.shape == b.shape
            and a.tobytes() == b.tobytes()
        )
    if isinstance(a, np.generic) and a.dtype not in (np.float64, np.int64, np.bool_):
        return a.dtype.kind == "U" or (a.dtype == b.dtype and a.tobytes() == b.tobytes())
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, complex):
        return same(a.real, b.real) and same(a.imag, b.imag)
    if isinstance(a, float) and math.isnan(a):
        return isinstance(b, float) and math.isnan(b)
    return a == b and (not isinstance(a, float) or math.copysign(1, a) == math.copysign(1, b))


numpy_values = hnp.arrays(
    st.one_of(
        hnp.boolean_dtypes(), hnp.integer_dtypes(), hnp.floating_dtypes(endianness="?"),
        hnp.complex_number_dtypes(), hnp.datetime64_dtypes(), hnp.unicode_string_dtypes(),
        hnp.byte_string_dtypes(), hnp.array_dtypes(),
    ),
    hnp.array_shapes(min_dims=0, min_side=0, max_dims=3, max_side=4),
)  # fmt: skip
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(2**63, 2**80),
    st.floats(allow_nan=True, allow_infinity=True), st.text(), st.binary(),
    st.complex_numbers(), st.datetimes(timezones=st.just(UTC) | st.none()), st.dates(),
    st.timedeltas(), st.floats(width=32).map(np.float32), st.integers(0, 9).map(np.uint16),
    numpy_values,
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text() | st.just("!"), inner, max_size=4)
        | st.tuples(inner, inner)
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.text(max_size=5) | st.just("!"), values, max_size=4))
def test_round_trip(doc):
    line = encode("event", doc)
    assert line.count(b"\n") == 1
    name, back = decode(line)
    assert name == "event"
    assert same(doc, back)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_any_changed_byte_is_noticed(data):
    line = bytearray(encode("event", {"data": {"a": 1.5, "b": np.arange(3)}}))
    position = data.draw(st.integers(0, len(line) - 2))
    value = data.draw(st.integers(0, 255).filter(lambda v: v != line[position] and v != 10))
    line[position] = value
    with pytest.raises(DamagedLineError):
        decode(bytes(line))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.array([object()]), "Python objects"),
        (np.ma.masked_array([1, 2], [True, False]), "masked"),
        (object(), "type object"),
        ({1, 2}, "type set"),
    ],
)
def test_what_cannot_be_recorded_is_refused_by_name(value, words):
    with pytest.raises(CodecError, match=rf"start\.md\.deep.*{words}"):
        encode("start", {"md": {"deep": value}})


def test_lines_are_plain_json():
    line = encode("start", {"time": datetime(2026, 1, 1, tzinfo=UTC), "x": float("nan")})
    found = json.loads(line)
    assert found["name"] == "start"
    assert found["doc"]["x"] == {"!": "float", "value": "nan"}
    assert timedelta(0) == decode(encode("a", {"t": timedelta(0)}))[1]["t"]
