"""Plans around single messages: what passes is changed where it should be, and not kept."""

import gc
import weakref

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import pytest
from bluesky import Msg, RunEngine
from nucleation_bluesky.session.messages import around_messages


class Thing:
    """What a message can carry."""


def extra(msg):
    if msg.command != "marked":
        return None

    def plan():
        yield Msg("before")
        answer = yield msg
        yield Msg("after")
        return f"({answer})"

    return plan()


def drive(plan):
    """Send each message its own name; returns the names and what the plan returned."""
    seen, answer = [], None
    try:
        while True:
            answer = plan.send(answer).command
            seen.append(answer)
    except StopIteration as stop:
        return seen, stop.value


def test_plans_around_some_messages():
    def plan():
        first = yield Msg("plain")
        second = yield Msg("marked")
        return first, second

    assert drive(around_messages(plan(), extra)) == (
        ["plain", "before", "marked", "after"],
        ("plain", "(marked)"),
    )


def test_failures_reach_the_plan_and_the_way_out():
    def careful():
        try:
            yield Msg("marked")
        except ValueError:
            yield Msg("mended")
        yield Msg("last")

    made = around_messages(careful(), extra)
    assert next(made).command == "before"
    assert made.throw(ValueError("bad")).command == "mended"
    with pytest.raises(KeyError):
        made.throw(KeyError("unexpected"))


def test_closing_closes_the_plan():
    closed = []

    def plan():
        try:
            yield Msg("marked")
        finally:
            closed.append(True)

    made = around_messages(plan(), extra)
    next(made)
    made.close()
    assert closed == [True]


@pytest.mark.parametrize(("wrap", "kept"), [(around_messages, 1), (bpp.plan_mutator, 200)])
def test_messages_are_not_kept(wrap, kept):
    alive = []

    def plan():
        for _ in range(200):
            thing = Thing()
            alive.append(weakref.ref(thing))
            yield Msg("null", thing)
        del thing
        gc.collect()
        counts.append(sum(ref() is not None for ref in alive))

    def nothing(_):
        return None if wrap is around_messages else (None, None)

    counts = []
    drive(wrap(plan(), nothing))
    assert counts == [kept]


def test_a_run_engine_runs_it():
    engine = RunEngine({}, call_returns_result=True, context_managers=[])

    def plan():
        yield from bps.null()
        return 3

    assert engine(around_messages(plan(), extra)).plan_result == 3
