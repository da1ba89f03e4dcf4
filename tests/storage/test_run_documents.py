"""Documents gathered for Tiled: the columns of a stream stay equally long."""

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


def test_a_stream_without_events_has_all_its_rows(documents):
    gathered, stream = fed([pair for pair in documents if pair[0] != "event"])
    assert (stream.seen, file_rows(stream), gathered.notes) == (0, {SITES}, [])
