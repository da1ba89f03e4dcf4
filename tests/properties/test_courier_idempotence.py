"""Whatever is lost between courier and Tiled, and however often: one run, equal to its journal.

The server keeps what it is told, as Tiled does (real servers: tests/storage/test_courier.py). Any
request may fail before it arrives, or be applied while its answer is lost; the courier then begins
anew, as after ``kill -9``.
"""

import time
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from event_model import compose_run
from hypothesis import example, given, settings
from hypothesis import strategies as st
from nucleation_bluesky.storage.run_documents import RunDocuments
from nucleation_bluesky.storage.run_mirror import RebuildError, RunMirror

from tests.properties import EXAMPLES

KEYS = {
    "a": {"dtype": "number", "shape": [], "source": "t", "units": "A"},
    "n": {"dtype": "integer", "shape": [], "source": "t"},
    "s": {"dtype": "string", "shape": [], "source": "t"},
    "v": {"dtype": "array", "shape": [3], "source": "t", "dtype_numpy": "<f8"},
}
numbers = st.floats(width=32) | st.integers(-5, 5)
row = st.fixed_dictionaries(
    {
        "a": numbers,
        "n": st.integers(-5, 5) | st.just(2.5) | st.just(2**70),
        "s": st.text(max_size=3),
        "v": st.lists(st.floats(-9, 9), min_size=3, max_size=3),
    }
)


class Lost(Exception):
    """A request or its answer did not arrive."""


class Line:
    """The wire: cut at given requests, before they arrive or after they were applied."""

    def __init__(self, cuts):
        self.count, self.cuts = 0, cuts

    def request(self, action, *arguments):
        number, self.count = self.count, self.count + 1
        cut = self.cuts.get(number)
        if cut == "request":
            raise Lost(number)
        result = action(*arguments)
        if cut == "answer":
            raise Lost(number)
        return result


class Node:
    """A container, table or array of a server, as the client of Tiled shows it."""

    def __init__(self, line, metadata=None, value=None):
        self.line, self.value = line, value
        self.stored, self.children = dict(metadata or {}), {}

    @property
    def base(self):
        return self

    @property
    def metadata(self):
        return dict(self.line.request(lambda: self.stored))

    def __getitem__(self, key):
        return self.line.request(self.children.__getitem__, key)

    def keys(self):
        return self.line.request(lambda: list(self.children))

    def _add(self, key, metadata, value=None):
        def add():
            if key in self.children:
                raise RuntimeError(f"409 Conflict: {key}")
            self.children[key] = Node(self.line, metadata, value)
            return self.children[key]

        return self.line.request(add)

    def create_container(self, *, key, metadata, **_):
        return self._add(key, metadata)

    def create_appendable_table(self, *, schema, key, metadata):
        return self._add(key, metadata, schema.empty_table())

    def write_array(self, block, *, key, metadata, **_):
        return self._add(key, metadata, block.copy())

    def update_metadata(self, *, metadata, **_):
        self.line.request(self.stored.update, metadata)

    def delete_contents(self, key, **_):
        self.line.request(self.children.pop, key)

    def structure(self):
        return SimpleNamespace(arrow_schema_decoded=self.value.schema)

    def read(self, columns=None):
        def read():
            found = self.value
            return found.select(columns).to_pydict() if columns else found

        return self.line.request(read)

    def append_partition(self, _, table):
        def append():
            self.value = pa.concat_tables([self.value, table])

        self.line.request(append)

    def patch(self, block, *, offset, extend):
        assert extend

        def patch():
            size = max(len(self.value), offset[0] + len(block))
            grown = np.zeros((size, *self.value.shape[1:]), self.value.dtype)
            grown[: len(self.value)] = self.value
            grown[offset[0] : offset[0] + len(block)] = block
            self.value = grown

        self.line.request(patch)


def journal(rows, baseline, stop):
    """Documents of one run."""
    made = compose_run(metadata={"sample": "x"})
    documents = [("start", made.start_doc)]
    for name, number in (("baseline", baseline), ("primary", len(rows))):
        if number == 0:
            continue
        stream = made.compose_descriptor(name=name, data_keys=KEYS)
        documents.append(("descriptor", stream.descriptor_doc))
        for data in rows[:number]:
            stamps = dict.fromkeys(KEYS, time.time())
            event = stream.compose_event(data=data, timestamps=stamps, validate=False)
            documents.append(("event", event))
    if stop:
        documents.append(("stop", made.compose_stop()))
    return documents


def deliver(client, documents, flush):
    """Try until all is delivered; every failure begins anew and remembers the widened columns."""
    widened = set()
    for _ in range(20):
        mirror = RunMirror(client, RunDocuments([]), widened)
        try:
            for number, (name, doc) in enumerate(documents):
                mirror.documents.feed(name, doc)
                if number % flush == 0:
                    mirror.send()
            if documents[-1][0] == "stop":
                return mirror.finish()
            mirror.send()
            return mirror.verify()
        except (Lost, RebuildError):
            continue
    raise AssertionError("was never delivered")


def held(client, uid):
    """What the server holds of a run: columns by stream in order, and the stop document."""
    found = {}
    for name, stream in client.children[uid].children.items():
        table = stream.children["internal"].value.to_pandas().sort_values("seq_num")
        found[name] = {k: np.asarray(table[k]) for k in ("seq_num", "a", "s")}
        found[name]["v"] = stream.children["v"].value
    return found, client.children[uid].stored.get("stop")


def same(found, rows):
    assert list(found["seq_num"]) == list(range(1, len(rows) + 1))
    np.testing.assert_array_equal(found["a"], [float(r["a"]) for r in rows])
    assert list(found["s"]) == [r["s"] for r in rows]
    np.testing.assert_array_equal(found["v"], [r["v"] for r in rows])


ROWS = [{"a": 1, "n": 1, "s": "x", "v": [1.0, 2.0, 3.0]}] * 4
ANSWERS = dict.fromkeys(range(9), "answer")


@settings(max_examples=EXAMPLES * 2, deadline=None, report_multiple_bugs=False)
@given(
    rows=st.lists(row, max_size=6), baseline=st.integers(0, 1), stop=st.booleans(),
    flush=st.integers(1, 8), replays=st.integers(1, 3),
    cuts=st.dictionaries(st.integers(0, 60), st.sampled_from(["request", "answer"]), max_size=6),
)  # fmt: skip
@example(rows=ROWS, baseline=0, stop=True, flush=3, replays=2, cuts=ANSWERS)
def test_one_run_equal_to_its_journal(rows, baseline, stop, flush, replays, cuts):
    client = Node(Line(cuts))
    baseline = min(baseline, len(rows))
    documents = journal(rows, baseline, stop)
    uid = documents[0][1]["uid"]
    deliver(client, documents, flush)
    before = None
    for _ in range(replays):
        assert list(client.children) == [uid]
        streams, stopped = held(client, uid)
        assert set(streams) == {n for n, k in (("primary", rows), ("baseline", baseline)) if k}
        if rows:
            same(streams["primary"], rows)
        if baseline:
            same(streams["baseline"], rows[:baseline])
        assert (stopped is not None) == stop
        assert before is None or stopped == before
        before = stopped
        # once more, by a courier that knows nothing
        deliver(client, documents, flush)


def test_a_row_that_was_applied_twice_is_noticed_and_mended():
    client = Node(Line({}))
    documents = journal(ROWS, 0, stop=True)
    uid = documents[0][1]["uid"]
    deliver(client, documents, 9)
    table = client.children[uid].children["primary"].children["internal"]
    table.value = pa.concat_tables([table.value, table.value.slice(0, 1)])
    with pytest.raises(AssertionError):
        same(held(client, uid)[0]["primary"], ROWS)
    deliver(client, documents, 9)
    same(held(client, uid)[0]["primary"], ROWS)
