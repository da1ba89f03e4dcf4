"""Kinds of faults, schedules of them drawn from a seed, and how a fault is judged by the trace."""

import random
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from benchmarks.faults import MARGIN

STOPS_RAMP = frozenset({  # after these what is energised must be safe within heartbeat + MARGIN
    "session_killed", "session_frozen", "two_interrupts", "many_interrupts", "abort", "halt",
    "stop", "pause", "suspend", "ioc_frozen", "net_hold", "net_down",
})  # fmt: skip
QUEUE_STOPS = frozenset({"worker_killed", "worker_frozen", "both_killed"})  # of a queue: likewise
MUST_STOP = STOPS_RAMP | QUEUE_STOPS
HARMLESS = frozenset({  # these must change nothing: the session ends in success
    "tiled_killed", "tiled_frozen", "courier_killed", "courier_frozen", "session_blink",
    "clock_jump", "net_blink", "net_delay",
})  # fmt: skip
OTHERS = frozenset({"one_interrupt", "defer", "ioc_restarted", "net_cut", "net_torn", "disk_full"})
KINDS = (*sorted(STOPS_RAMP), *sorted(HARMLESS), *sorted(OTHERS))
WEIGHTS = [3 if kind in ("session_killed", "net_hold") else 2 if kind in STOPS_RAMP else 1
           for kind in KINDS]  # fmt: skip
SHORT = frozenset({"session_blink", "net_blink"})
LONG = frozenset({"session_frozen", "net_hold", "net_down"})  # than a heartbeat
ON_PAUSE = ("resume", "resume", "abort", "stop", "halt", "execute", "execute")
DAY = 86400.0  # s


class ExposurePlan(Protocol):
    """A plan whose sites are exposed one by one, and what is known of it."""

    @property
    def cols(self) -> int: ...
    @property
    def heartbeat(self) -> float: ...
    @property
    def duration(self) -> float: ...


@dataclass(frozen=True)
class Fault:
    """A fault: what, when (in which ramp of the session and how far into it), and for how long.

    ``extent`` is what its kind makes of it: how far a clock jumps, s; how much a message is
    delayed, s; which way a torn message went.
    """

    kind: str
    ramp: int
    offset: float
    seconds: float
    extent: float = 0.0

    @classmethod
    def drawn(cls, rng: random.Random, plan: ExposurePlan, ramp: int) -> "Fault":
        (kind,) = rng.choices(KINDS, WEIGHTS)
        # now and then before or after the ramp
        offset = rng.uniform(0.0, (0.55 if rng.random() < 0.8 else 1.3) * plan.duration)
        seconds = rng.uniform(1.0, 3.0)
        if kind in SHORT:
            seconds = rng.uniform(0.02, 0.4) * plan.heartbeat
        elif kind in LONG:
            seconds = rng.uniform(1.2, 4.0) * plan.heartbeat
        extent = rng.uniform(-1.0, 1.0)
        if kind == "clock_jump":
            extent *= rng.choice((2.0, 3600.0, DAY))
        elif kind == "net_delay":
            extent = 0.1 * abs(extent)
        return cls(kind, ramp, offset, seconds, extent)


@dataclass(frozen=True)
class Schedule:
    """Faults of one session, and how its user goes on after a pause."""

    faults: tuple[Fault, ...]
    on_pause: str
    resume: bool

    @classmethod
    def drawn(cls, rng: random.Random, plan: ExposurePlan) -> "Schedule":
        ramps = sorted(rng.randrange(plan.cols) for _ in range(rng.choice((1, 1, 2, 3))))
        faults = sorted(
            (Fault.drawn(rng, plan, ramp) for ramp in ramps), key=lambda f: (f.ramp, f.offset)
        )
        return cls(tuple(faults), rng.choice(ON_PAUSE), rng.random() < 0.4)


# -- judging -------------------------------------------------------------------------------------


def energised_at(events: list[dict[str, Any]], moment: float) -> bool:
    last = [e for e in events if e["event"] in ("energised", "safe") and e["monotonic"] <= moment]
    return bool(last) and last[-1]["event"] == "energised"


def judged(
    events: list[dict[str, Any]],
    fault: Fault,
    hit: dict[str, Any],
    hits: list[tuple[Fault, dict[str, Any]]],
) -> dict[str, Any]:
    """Add to an injected fault what the trace says of it."""
    began = hit["at"]
    found = asdict(fault) | hit
    found["energised"] = energised_at(events, began)
    if found["energised"]:
        safe = next((e for e in events if e["event"] == "safe" and e["monotonic"] > began), None)
        found["safe_after"] = running(began, safe["monotonic"], hits) if safe else None
        found["safe_at"] = safe["monotonic"] if safe else None
        found["reason"] = safe["reason"] if safe else None
    return found


def running(began: float, end: float, hits: list[tuple[Fault, dict[str, Any]]]) -> float:
    """Seconds between two moments in which no other fault had frozen or ended the controller."""
    spans = [
        (hit["at"] - fault.seconds, hit["at"])
        if fault.kind == "ioc_frozen"
        else (hit["at"], hit["at"] + hit["lasted"])
        for fault, hit in hits
        if fault.kind in ("ioc_frozen", "ioc_restarted")
    ]
    return end - began - sum(max(0.0, min(end, b) - max(began, a)) for a, b in spans)


def late(found: dict[str, Any], heartbeat: float) -> bool:
    """Whether the safe state came too late after a fault that must bring it."""
    if not found["energised"] or found["kind"] not in MUST_STOP:
        return False
    return found["safe_after"] is None or found["safe_after"] > heartbeat + MARGIN


def less_waiting(found: dict[str, Any]) -> dict[str, Any]:
    """A fault without the time for which the controller was ready and had no processor."""
    after = found.get("safe_after")
    return found | {"safe_after": None if after is None else after - found.get("waited", 0.0)}


def false_trips(events: list[dict[str, Any]], faults: list[dict[str, Any]]) -> int:
    """Heartbeats lost before the first fault."""
    first = min((f["at"] - f["lasted"] for f in faults), default=float("inf"))
    return sum(e["event"] == "heartbeat_lost" and e["monotonic"] < first for e in events)
