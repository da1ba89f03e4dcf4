"""One queue for all tests of this room; each test finds it up, idle and empty."""

import pytest
from benchmarks.queue_stack import QueueStack
from nucleation_bluesky.storage.server import ensure_server, release_server


@pytest.fixture(scope="session")
def stack(tmp_path_factory):
    made = QueueStack(tmp_path_factory.mktemp("queue"))
    try:
        made.up()
        # as 'nucleation-bluesky serve' would: workers that come and go find their server running
        ensure_server(made.data)
        yield made
    finally:
        release_server(made.data)
        made.close()


@pytest.fixture
def queue(stack):
    stack.make_ready()
    return stack


@pytest.fixture
def api(queue):
    with queue.api() as client:
        yield client


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed and "stack" in item.funcargs:
        report.sections.append(("the queue", item.funcargs["stack"].told()))
    return report
