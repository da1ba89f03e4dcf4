"""A RunEngine in a process of its own, to be killed, interrupted or watched."""

import json
import logging
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bluesky.utils import (
    FailedStatus,
    RunEngineControlException,
    RunEngineInterrupted,
    TransitionError,
)
from nucleation_bluesky.ledger.guard import Claim, Guard
from nucleation_bluesky.plans.failures import device_error
from nucleation_bluesky.plans.nucleation_map import nucleation_map
from nucleation_bluesky.plans.screen import combinatorial_screen
from nucleation_bluesky.session.config import load_configuration
from nucleation_bluesky.session.execute import Outcome, RunFailedError, execute
from nucleation_bluesky.session.resume import resume
from nucleation_bluesky.session.session import EXPECTED_ERRORS, Session
from nucleation_bluesky.storage.courier_process import CourierProcess

from benchmarks.fault_machine import live_by_clock
from benchmarks.fault_zygote import FORK, Spare

PLANS = {"map": nucleation_map, "screen": combinatorial_screen}


def say(text: str) -> None:
    print(text, flush=True)


class NoLedger(Guard):
    """Grants every claim and records none: what the checks must notice."""

    def claim(self) -> Claim:
        here = self.position()
        return Claim(secrets.token_hex(12), 0, here.x, here.y)

    def energised(self, claim: Claim) -> None: ...
    def finished(self, claim: Claim, outcome: Mapping[str, Any] | None = None) -> None: ...
    def burned(self, claim: Claim, reason: str) -> None: ...


def no_ledger(session: Session) -> NoLedger:
    guard = session.guard
    return NoLedger(guard.ledger, guard.sample, guard.epoch, guard.owner, guard.position)


def plan_of(session: Session, job: dict[str, Any]) -> Any:
    if job["plan"] == "nothing":
        return iter(())
    if job["plan"] in PLANS:
        return PLANS[job["plan"]](session.instrument, **job["arguments"])
    if not session.wait_delivered([job["which"]], 60):
        raise RuntimeError(f"run {job['which']} did not reach Tiled")
    return resume(session, job["which"], register=False)


def suspender(session: Session) -> Callable[[float], None]:
    """Install a suspender as a facility has them: the beam is gone for some seconds."""
    import ophyd  # noqa: PLC0415 - starts Channel Access
    from bluesky.suspenders import SuspendBoolHigh  # noqa: PLC0415

    gone = ophyd.Signal(name="beam_gone", value=0)
    session.RE.install_suspender(SuspendBoolHigh(gone))

    def trip(seconds: float) -> None:
        gone.put(1)
        threading.Timer(seconds, gone.put, (0,)).start()

    return trip


def obey(session: Session, requests: Path) -> None:
    """Do what each line of a named pipe asks of the RunEngine, as another thread may."""
    actions = {
        "pause": lambda _: session.RE.request_pause(),
        "defer": lambda _: session.RE.request_pause(defer=True),
        "abort": lambda _: session.RE.abort(),
        "stop": lambda _: session.RE.stop(),
        "halt": lambda _: session.RE.halt(),
        "suspend": suspender(session),
    }
    # open for writing too: that none of those who ask is there is no end
    with os.fdopen(os.open(requests, os.O_RDWR), "r+b", buffering=0) as pipe:
        for raw in pipe:
            line = raw.decode().strip()
            name, _, seconds = line.partition(" ")
            try:
                actions[name](float(seconds or 0))
            except (TransitionError, RunEngineControlException, RunEngineInterrupted) as error:
                say(f"{line}: {type(error).__name__}: {error}")


def drive(session: Session, plan: Any, job: dict[str, Any]) -> Outcome:
    """Run a plan as somebody at a prompt would who goes on after a pause."""
    threading.Thread(target=obey, args=(session, Path(job["requests"])), daemon=True).start()
    if job["on_pause"] == "execute":
        return execute(session, plan, progress=False)
    outcome = Outcome()
    session.RE.subscribe(outcome)
    action, arguments = session.RE, (plan,)
    while True:
        try:
            action(*arguments)
        except RunEngineInterrupted:
            pass
        except RunEngineControlException as error:
            say(f"{type(error).__name__}: {error}")
        except FailedStatus as error:
            raise RunFailedError(str(device_error(error))) from error
        if session.RE.state != "paused":
            return outcome
        time.sleep(0.3)
        action, arguments = getattr(session.RE, job["on_pause"]), ()


def persist(session: Session, plan: Any, job: dict[str, Any], report: dict[str, Any]) -> Outcome:
    """Run a plan, and again over what is left where it fails, as often as the job allows."""
    for _ in range(job.get("again", 0)):
        try:
            return execute(session, plan, progress=False)
        except RunFailedError as error:
            report.setdefault("interrupted", []).append(str(error))
            job["arguments"]["skip_used"] = True
            plan = plan_of(session, job)
    return execute(session, plan, progress=False)


def run(job: dict[str, Any]) -> dict[str, Any]:
    report: dict[str, Any] = {"outcome": "", "error": ""}
    steps: list[tuple[float, str]] = []
    config = load_configuration(Path(job["config"]))
    tiled = job.get("tiled", True)
    try:
        with Session(config, tiled=tiled, say=lambda text: say(f"session: {text}")) as session:
            report["owner"] = session.owner
            if job.get("no_ledger"):
                session.instrument.set_guard(no_ledger(session))
            if job.get("no_journal"):
                session.RE.dispatcher.unsubscribe_all()
            if job.get("steps"):
                session.RE.msg_hook = lambda msg: steps.append((time.monotonic(), msg.command))
            session.RE.subscribe(lambda _, doc: say(f"event {doc['seq_num']}"), "event")
            session.RE.subscribe(lambda _, doc: say(f"recorded {doc['uid']}"), "event")
            session.RE.subscribe(lambda _, doc: say(f"run {doc['uid']}"), "start")
            say("open")
            plan = plan_of(session, job)
            try:
                if job.get("requests"):
                    outcome = drive(session, plan, job)
                else:
                    outcome = persist(session, plan, job, report)
                report |= {"uid": outcome.uid, "outcome": outcome.exit_status}
                report |= {"reason": outcome.reason, "num_events": outcome.num_events}
            finally:
                report["ended"] = time.monotonic()
                if tiled and job.get("deliver", True):
                    report["delivered"] = session.wait_delivered(timeout=job.get("wait", 120.0))
    except (*EXPECTED_ERRORS, RunFailedError, KeyboardInterrupt) as error:
        report["error"] = f"{type(error).__name__}: {error}"
    if job.get("steps"):
        Path(job["steps"]).write_text(json.dumps(steps))
    return report


def controller() -> None:
    """The instrument's controller, living by the clock of the stack."""
    from nucleation_bluesky.cli import main as command_line  # noqa: PLC0415

    live_by_clock()
    command_line()


def fork_couriers(count: int) -> None:
    """Let the first couriers of this session be forks of it, which need not import again."""
    spares = [Spare() for _ in range(count)]
    spawn = CourierProcess._spawn

    def fork(self: CourierProcess) -> Any:
        if not spares:
            return spawn(self)
        return spares.pop().start(self._command[2:], self.log)

    CourierProcess._spawn = fork


def main() -> None:
    job = json.loads(sys.argv[1])
    if os.environ.get(FORK) and job.get("tiled", True):
        fork_couriers(2)
    live_by_clock()
    import ophyd  # noqa: PLC0415 - starts Channel Access

    if ophyd.get_cl().name == "dummy":  # forked before Channel Access was started
        ophyd.set_cl("pyepics")
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    # a shell starts background processes with Ctrl-C ignored
    signal.signal(signal.SIGINT, signal.default_int_handler)
    report = run(job)
    target = Path(job["report"])
    temporary = target.with_suffix(f".{os.getpid()}")
    temporary.write_text(json.dumps(report))
    temporary.rename(target)


if __name__ == "__main__":
    main()
