"""Who may queue what: the named plans of the session, on its instrument, and nothing else."""

from collections.abc import Sequence
from typing import Any

GROUP = "primary"  # the group that stock clients name by default; no other one exists
NOTHING = ":^$"  # a pattern that no name matches


def permissions(plans: Sequence[str], devices: Sequence[str]) -> dict[str, Any]:
    """Return the content of ``user_group_permissions.yaml``.

    Parameters
    ----------
    plans, devices : sequence of str
        Names that may be used. Functions cannot be executed at all.
    """
    rules = {
        "allowed_plans": list(plans),
        "forbidden_plans": [":^_"],
        "allowed_devices": list(devices),
        "forbidden_devices": [":^_:?.*"],
        "allowed_functions": [NOTHING],
        "forbidden_functions": [":.*"],
    }
    return {"user_groups": {"root": rules, GROUP: rules}}
