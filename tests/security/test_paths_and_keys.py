"""Names and places in documents that would lead out of the data directory."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nucleation_bluesky.segments import SegmentError, check_name
from nucleation_bluesky.storage.results import ResultError, checked_key
from nucleation_bluesky.storage.run_documents import UnsafeLocationError, checked_uri

from tests.properties import EXAMPLES


@pytest.fixture
def data(tmp_path):
    inside = tmp_path / "data"
    inside.mkdir()
    (inside / "a.h5").write_text("x")
    (tmp_path / "outside.h5").write_text("secret")
    (inside / "link.h5").symlink_to(tmp_path / "outside.h5")
    (inside / "directory").symlink_to(tmp_path)
    (tmp_path / "data-2").mkdir()
    return inside


def test_inside_is_allowed(data):
    assert checked_uri(f"file://localhost{data}/a.h5", [data]).endswith("/data/a.h5")


@pytest.mark.parametrize(
    "path",
    [
        "{data}/../outside.h5", "{data}/%2e%2e/outside.h5", "{data}/x/../../outside.h5",
        "{data}/link.h5", "{data}/directory/outside.h5", "{data}-2/a.h5", "/etc/passwd", "a.h5",
        "", "/", "{data}/..",
    ],
)  # fmt: skip
def test_escapes_are_refused(data, path):
    with pytest.raises(UnsafeLocationError):
        checked_uri("file://localhost" + path.format(data=data), [data])


@settings(
    max_examples=EXAMPLES, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(st.lists(st.sampled_from(["..", ".", "%2e%2e", "directory", "a", "%2F", "link.h5", "~"])))
def test_whatever_is_allowed_lies_inside(data, parts):
    try:
        found = checked_uri(f"file://localhost{data}/" + "/".join(parts), [data])
    except UnsafeLocationError:
        return
    assert found.startswith(f"file://localhost{data.resolve()}")
    assert ".." not in found


BAD = ["", "..", "../x", "a/b", "a b", "<script>", "x" * 65, "a\n", "ä", ".", "a.b", "%2e", "a\0"]


@pytest.mark.parametrize("key", BAD)
def test_keys_of_nodes_are_plain(key):
    with pytest.raises(ResultError, match="is no key"):
        checked_key(key)


@given(st.text(max_size=8))
@settings(max_examples=EXAMPLES, deadline=None)
def test_any_key_is_plain_or_refused(key):
    try:
        checked_key(key)
    except ResultError:
        return
    assert key.isascii()
    assert set("/.\\%\n ") & set(key) == set()


@pytest.mark.parametrize("name", BAD)
def test_names_of_files_are_plain(name):
    if name == "x" * 65:
        name *= 2
    with pytest.raises(SegmentError, match="is not usable"):
        check_name(name, "FILE:PREFIX")
