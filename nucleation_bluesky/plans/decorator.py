"""Plans that check their arguments when they are called."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def checked_plan(function: Callable[P, R]) -> Callable[P, R]:
    """Mark a function that checks its arguments and then returns a plan.

    `bluesky.utils.is_plan` knows it as one, as it does for `bluesky.utils.plan`. That decorator
    itself does not fit here: its wrapper complains on stderr when the call raises.
    """
    function._is_plan_ = True  # type: ignore[attr-defined] - bluesky's mark of a plan
    return function
