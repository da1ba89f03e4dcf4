"""The ledger against a plain list, through any order of claims, ends, mounts, deaths, restarts."""

import math
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from nucleation_bluesky.ledger import ExposureState, Ledger, Registration, SiteClaim
from nucleation_bluesky.ledger.errors import (
    IllegalTransitionError,
    SiteTooCloseError,
    SiteUsedError,
    UnregisteredMountError,
)

from tests.properties import EXAMPLES

NM = 1e-9
DISTANCE = 15  # nm
S = ExposureState
NEXT = {S.CLAIMED: {S.ENERGISED, S.BURNED}, S.ENERGISED: {S.DONE, S.BURNED}}
PATHS = {
    (S.CLAIMED,), (S.CLAIMED, S.ENERGISED), (S.CLAIMED, S.BURNED),
    (S.CLAIMED, S.ENERGISED, S.DONE), (S.CLAIMED, S.ENERGISED, S.BURNED),
}  # fmt: skip


@dataclass
class Site:
    """What the model knows of an exposure; lengths in nm, in the frame of its area."""

    u: float
    v: float
    sigma: float
    area: int
    epoch: int
    owner: str
    state: ExposureState = S.CLAIMED


class LedgerMachine(RuleBasedStateMachine):
    """``make`` builds the ledger, so that a crippled one can be shown to be noticed."""

    make = staticmethod(Ledger)

    @initialize()
    def begin(self):
        self.directory = Path(tempfile.mkdtemp(prefix="ledger-"))
        self.ledger = self.make(self.directory / "ledger.sqlite")
        self.ledger.add_sample("s")
        self.epoch, self.area = self.ledger.mount("s"), 1
        self.shift: tuple[int, int] | None = (0, 0)
        self.mount_sigma = 0.0
        self.sites: dict[int, Site] = {}
        self.seen: dict[int, tuple[ExposureState, ...]] = {}

    def teardown(self):
        self.ledger.close()
        shutil.rmtree(self.directory)

    def allowed(self, u, v, sigma):
        return all(
            math.hypot(s.u - u, s.v - v) - math.hypot(s.sigma, sigma) >= DISTANCE - 1e-3
            and math.hypot(s.u - u, s.v - v) > max(math.hypot(s.sigma, sigma), DISTANCE / 2) + 1e-3
            for s in self.sites.values()
            if s.area == self.area
        )

    @rule(
        x=st.integers(-40, 40), y=st.integers(-40, 40),
        sigma=st.sampled_from([0.0, 0.0, 2.0, 30.0]), owner=st.sampled_from(["a", "b"]),
    )  # fmt: skip
    def claim(self, x, y, sigma, owner):
        wish = SiteClaim(
            "s", self.epoch, x * NM, y * NM, owner,
            position_uncertainty=sigma * NM, min_distance=DISTANCE * NM,
        )  # fmt: skip
        earlier = any(s.epoch < self.epoch for s in self.sites.values())
        if self.shift is None and earlier:
            try:
                self.ledger.claim(wish)
            except UnregisteredMountError:
                return
            raise AssertionError("claimed where nothing is known of earlier sites")
        dx, dy = self.shift or (0, 0)
        u, v, total = x + dx, y + dy, math.hypot(sigma, self.mount_sigma)
        try:
            made = self.ledger.claim(wish)
        except (SiteUsedError, SiteTooCloseError):
            assert not self.allowed(u, v, total)
            return
        assert self.allowed(u, v, total)
        self.sites[made.id] = Site(u, v, total, self.area, self.epoch, owner)

    def change(self, data, what, wanted, *arguments):
        number = data.draw(st.sampled_from(sorted(self.sites)))
        legal = wanted in NEXT.get(self.sites[number].state, ())
        try:
            getattr(self.ledger, what)(number, *arguments)
        except IllegalTransitionError:
            assert not legal
            return
        assert legal
        self.sites[number].state = wanted

    @precondition(lambda self: self.sites)
    @rule(data=st.data())
    def energise(self, data):
        self.change(data, "energise", S.ENERGISED)

    @precondition(lambda self: self.sites)
    @rule(data=st.data())
    def finish(self, data):
        self.change(data, "finish", S.DONE, {"stop_bias": math.nan})

    @precondition(lambda self: self.sites)
    @rule(data=st.data())
    def burn(self, data):
        self.change(data, "burn", S.BURNED, "why not")

    @rule(
        dx=st.integers(-20, 20), dy=st.integers(-20, 20), sigma=st.sampled_from([0.0, 5.0]),
        kind=st.sampled_from(["registered", "registered", "new_area", "unknown"]),
    )  # fmt: skip
    def mount(self, dx, dy, sigma, kind):
        self.shift, self.mount_sigma = (0, 0), 0.0
        if kind == "registered":
            self.epoch = self.ledger.mount("s", Registration(dx * NM, dy * NM, 0.0, sigma * NM))
            self.shift, self.mount_sigma = (dx, dy), sigma
        elif kind == "new_area":
            self.epoch, self.area = self.ledger.mount("s", "new_area"), self.area + 1
        else:
            self.epoch, self.shift = self.ledger.mount("s"), None

    @rule(owner=st.sampled_from(["a", "b"]))
    def owner_dies_and_all_is_recovered(self, owner):
        self.ledger.release_lease(owner)
        burned = {e.id for e in self.ledger.recover()}
        unfinished = (S.CLAIMED, S.ENERGISED)
        assert burned == {
            n for n, s in self.sites.items() if s.owner == owner and s.state in unfinished
        }
        for number in burned:
            self.sites[number].state = S.BURNED

    @rule()
    def recovery_leaves_the_living_alone(self):
        assert self.ledger.recover() == []

    @rule()
    def restart(self):
        self.ledger.close()
        self.ledger = self.make(self.directory / "ledger.sqlite")

    @invariant()
    def as_the_model_says(self):
        found = {e.id: e.state for e in self.ledger.exposures("s")}
        assert found == {n: s.state for n, s in self.sites.items()}

    @invariant()
    def never_back(self):
        for number in self.sites:
            now = tuple(state for state, _ in self.ledger.history(number))
            assert now in PATHS
            before = self.seen.get(number, ())
            assert now[: len(before)] == before
            self.seen[number] = now

    @invariant()
    def no_two_too_close(self):
        sites = list(self.sites.values())
        for k, a in enumerate(sites):
            for b in sites[:k]:
                if a.area == b.area:
                    assert math.hypot(a.u - b.u, a.v - b.v) >= DISTANCE - 1e-3


def test_ledger_as_a_state_machine():
    run_state_machine_as_test(
        LedgerMachine,
        settings=settings(
            max_examples=EXAMPLES // 2,
            stateful_step_count=30,
            deadline=None,
            report_multiple_bugs=False,
        ),
    )
