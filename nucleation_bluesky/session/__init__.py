"""From one configuration to RunEngine, devices, guard and callbacks.

``start`` opens the one session of a process; its imports are slow, so they wait until it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nucleation_bluesky.session.config import Configuration, load_configuration
    from nucleation_bluesky.session.session import Session
    from nucleation_bluesky.session.startup import start

__all__ = ["Configuration", "Session", "load_configuration", "start"]
_HOME = {
    "Configuration": "config",
    "Session": "session",
    "load_configuration": "config",
    "start": "startup",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
