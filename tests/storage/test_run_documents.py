"""Documents gathered for Tiled: the columns of a stream stay equally long."""

import pickle

import pytest
from bluesky import RunEngine
from fake_ramp import FakeRamp, ramp_plan
from nucleation_bluesky.storage.run_documents import RunDocuments

SITES = 3


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    made = []
    RunEngine({})(
        ramp_plan(FakeRamp(tmp_path_factory.mktemp("waveforms")), SITES),
        lambda name, doc: made.append((name, doc)),
    )
    return made


def fed(documents):
    gathered = RunDocuments([])
    for name, doc in documents:
        gathered.feed(name, doc)
    return gathered, gathered.streams["primary"]


def file_rows(stream):
    return {e.consolidator.get_data_source().structure.shape[0] for e in stream.externals.values()}


def places(documents, kind):
    return [n for n, (name, _) in enumerate(documents) if name == kind]


def test_files_and_events_are_equally_long(documents):
    gathered, stream = fed(documents)
    assert (stream.seen, file_rows(stream), gathered.notes) == (SITES, {SITES}, [])


def test_rows_of_an_event_that_never_was_are_left_out(documents):
    """As a session leaves them that dies between the announcement of rows and their event."""
    last = places(documents, "event")[-1]
    gathered, stream = fed(documents[:last] + documents[last + 1 :])
    assert (stream.seen, file_rows(stream)) == (SITES - 1, {SITES - 1})
    assert "an event that never was" in gathered.notes[0]


def test_rows_may_be_announced_after_their_event(documents):
    first, last = places(documents, "event")[0], places(documents, "event")[-1]
    events = [documents[n] for n in places(documents, "event")]
    others = [pair for pair in documents[first:last] if pair[0] != "event"]
    before = documents[:first]
    gathered, stream = fed([*before, *events, *others, *documents[last + 1 :]])
    assert (stream.seen, file_rows(stream), gathered.notes) == (SITES, {SITES}, [])


def test_a_session_that_dies_in_its_first_event_leaves_nothing_uneven(documents):
    gathered, stream = fed([pair for pair in documents if pair[0] != "event"])
    assert (stream.seen, file_rows(stream), len(gathered.notes)) == (0, set(), 1)


def test_rows_of_several_events_are_cut_at_the_last(documents):
    """As flyers announce them: one document for many events."""
    last = places(documents, "event")[-1]
    whole = []
    for name, doc in documents[:last] + documents[last + 1 :]:
        if name != "stream_datum":
            whole.append((name, doc))
        elif doc["seq_nums"]["start"] == 1:
            rows = {"start": 0, "stop": SITES}
            numbers = {"start": 1, "stop": SITES + 1}
            whole.append((name, {**doc, "indices": rows, "seq_nums": numbers}))
    gathered, stream = fed(whole)
    assert (stream.seen, file_rows(stream), len(gathered.notes)) == (SITES - 1, {SITES - 1}, 1)


def test_a_stream_of_files_alone_has_all_its_rows(documents):
    """As films: no event is ever to come."""
    films = []
    for name, doc in documents:
        if name == "descriptor":
            outside = {k: v for k, v in doc["data_keys"].items() if "external" in v}
            films.append((name, {**doc, "data_keys": outside, "object_keys": {}}))
        elif name != "event":
            films.append((name, doc))
    gathered, stream = fed(films)
    assert (stream.seen, file_rows(stream), gathered.notes) == (0, {SITES}, [])


def test_nothing_is_kept_of_rows_that_have_been_counted(documents):
    """What is held of a run that goes on is its files, and rows that wait to be sent."""
    first, last = places(documents, "stream_datum")[0], places(documents, "event")[-1]
    gathered, stream = fed(documents[:first])
    rows = [pair for pair in documents[first : last + 1] if pair[0] != "stream_resource"]
    for pair in documents[first : last + 1]:
        if pair[0] == "stream_resource":
            gathered.feed(*pair)
    sizes = []
    for times in range(3):
        for name, doc in rows:
            gathered.feed(name, later(doc, times * SITES))
        stream.pending.clear()  # as when they have been sent
        sizes.append(len(pickle.dumps(stream)))
    assert (stream.seen, file_rows(stream)) == (3 * SITES, {3 * SITES})
    assert sizes[2] == sizes[1]


def later(doc, rows):
    if "seq_num" in doc:
        return {**doc, "seq_num": doc["seq_num"] + rows}
    spans = {k: {e: n + rows for e, n in doc[k].items()} for k in ("indices", "seq_nums")}
    return {**doc, **spans}
