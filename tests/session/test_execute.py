"""How a run that was interrupted is told."""

from types import SimpleNamespace

from bluesky.utils import FailedStatus, RunEngineInterrupted
from nucleation_bluesky.session.execute import execute


class Interrupted:
    """A RunEngine whose clean-up meets the failure of the ramp that the abort kills."""

    state = "paused"

    def subscribe(self, callback):
        self.callback = callback
        return 0

    def unsubscribe(self, token):
        pass

    def __call__(self, plan):
        self.callback("start", {"uid": "u"})
        raise RunEngineInterrupted

    def abort(self, reason):
        self.callback("stop", {"exit_status": "abort", "reason": reason})
        raise FailedStatus("killed")


def test_what_an_abort_kills_is_no_failure():
    outcome = execute(SimpleNamespace(RE=Interrupted()), iter(()), progress=False)
    assert (outcome.uid, outcome.exit_status) == ("u", "abort")
