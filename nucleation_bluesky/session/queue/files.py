"""Files of the queue in the data directory: keys, ports, process identities, permissions, logs."""

import contextlib
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

from nucleation_bluesky.callbacks.journal_owner import Owner

PRIVATE = 0o600


@dataclass
class Keys:
    """CURVE key pairs of gateway and manager, and the password of our own Redis."""

    gateway_public: str = field(repr=False)
    gateway_private: str = field(repr=False)
    manager_public: str = field(repr=False)
    manager_private: str = field(repr=False)
    redis_password: str = field(repr=False)

    @classmethod
    def make(cls) -> "Keys":
        """Return new keys."""
        import zmq  # noqa: PLC0415 - the queue is an optional extra

        pairs = [key.decode() for _ in range(2) for key in zmq.curve_keypair()]
        return cls(*pairs, redis_password=secrets.token_urlsafe(32))


@dataclass
class State:
    """Ports of the running parts, and which processes they are."""

    control_port: int
    info_port: int
    manager_port: int
    redis_port: int = 0  # 0: a Redis that is not ours
    processes: dict[str, dict[str, Any]] = field(default_factory=dict)

    def process(self, name: str) -> psutil.Process | None:
        """Return one of our processes, None if it is gone."""
        found = self.processes.get(name)
        if found is None:
            return None
        owner = Owner.from_dict(found)
        if not owner.alive():
            return None
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(owner.pid)
        return None

    def remember(self, name: str, pid: int) -> None:
        """Take note of a process just started."""
        self.processes[name] = Owner.of(pid).to_dict()


class QueueFiles:
    """Paths below ``<data>/queue``, readable by this user alone.

    Parameters
    ----------
    data : Path
        Data directory.
    """

    def __init__(self, data: Path) -> None:
        self.home = data.absolute() / "queue"
        self.logs = self.home / "logs"
        self.redis = self.home / "redis"
        self.redis_conf = self.home / "redis.conf"
        self.manager_conf = self.home / "manager.yaml"
        self.permissions = self.home / "user_group_permissions.yaml"
        self.existing = self.home / "existing_plans_and_devices.yaml"
        self.client_environment = self.home / "client.env"
        self.lock = self.home / "lock"
        self._keys = self.home / "keys.json"
        self._state = self.home / "state.json"
        self._worker = self.home / "worker.json"

    def prepare(self) -> None:
        """Make the directories."""
        for path in (self.home, self.logs, self.redis):
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(0o700)

    def write(self, path: Path, text: str) -> None:
        """Write a file for this user alone, at once or not at all."""
        temporary = path.with_name(f".{path.name}.new")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
        temporary.chmod(PRIVATE)
        temporary.replace(path)

    def keys(self) -> Keys:
        """Return the keys; the first call makes them."""
        if not self._keys.exists():
            self.write(self._keys, json.dumps(asdict(Keys.make())))
        return Keys(**json.loads(self._keys.read_text(encoding="utf-8")))

    def state(self) -> State | None:
        """Return what was started last, None if nothing was."""
        try:
            return State(**json.loads(self._state.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None

    def save(self, state: State) -> None:
        """Keep ports and processes."""
        self.write(self._state, json.dumps(asdict(state)))

    def worker_is(self, pid: int) -> None:
        """Take note of the worker: the manager does not notice when it is killed."""
        self.write(self._worker, json.dumps(Owner.of(pid).to_dict()))

    def worker(self) -> Owner | None:
        """Return the worker noted last."""
        try:
            return Owner.from_dict(json.loads(self._worker.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None

    def write_yaml(self, path: Path, content: Mapping[str, Any]) -> None:
        """Write a YAML file."""
        self.write(path, yaml.safe_dump(dict(content), sort_keys=False))

    def log_tail(self, name: str, lines: int = 12) -> str:
        """Return the end of a log."""
        path = self.logs / f"{name}.log"
        if not path.exists():
            return ""
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
