"""The states of the VM's life as a table, and what is written down of it for other processes to read."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

SCHEMA = 1


class RunState(StrEnum):
    """Where the VM and its devices stand. `TRANSITIONS` says what may follow."""

    ABSENT = "absent"  #: there is no such GPU in this host
    READY = "ready"  #: nothing runs, the devices are the host's
    TAKING = "taking"
    TAKEN = "taken"  #: nothing runs, the devices are with vfio-pci
    STARTING = "starting"  #: QEMU was started; the guest does not run yet
    BOOTING = "booting"  #: the guest runs and has said nothing yet
    AGENT = "agent"  #: the guest's agent answers
    HEALTHY = "healthy"  #: the guest's daemon says that it is well
    DEGRADED = "degraded"  #: it says that it is not, or it fell silent
    STOPPING = "stopping"  #: the ladder is being climbed
    STOPPED = "stopped"  #: QEMU has ended, the devices are still with vfio-pci
    GIVING = "giving"
    FAILED = "failed"  #: ended, and a person should look; `message` says at what


_S = RunState
_RUNNING = frozenset({_S.BOOTING, _S.AGENT, _S.HEALTHY, _S.DEGRADED})
_ENDING = frozenset({_S.STOPPING, _S.STOPPED})

#: From FAILED everything can begin anew: the next start looks at the devices themselves.
TRANSITIONS: dict[RunState, frozenset[RunState]] = {
    _S.ABSENT: frozenset({_S.READY, _S.FAILED}),
    _S.READY: frozenset({_S.TAKING, _S.STARTING, _S.FAILED, _S.ABSENT}),
    _S.TAKING: frozenset({_S.TAKEN, _S.READY, _S.GIVING, _S.FAILED}),
    _S.TAKEN: frozenset({_S.TAKING, _S.STARTING, _S.GIVING, _S.FAILED}),
    _S.STARTING: frozenset({_S.BOOTING, _S.FAILED}) | _ENDING,
    _S.BOOTING: frozenset({_S.AGENT, _S.HEALTHY, _S.DEGRADED}) | _ENDING,
    _S.AGENT: frozenset({_S.BOOTING, _S.HEALTHY, _S.DEGRADED}) | _ENDING,
    _S.HEALTHY: frozenset({_S.BOOTING, _S.DEGRADED}) | _ENDING,
    _S.DEGRADED: frozenset({_S.BOOTING, _S.AGENT, _S.HEALTHY}) | _ENDING,
    _S.STOPPING: frozenset({_S.STOPPED, _S.FAILED}),
    _S.STOPPED: frozenset({_S.STARTING, _S.GIVING, _S.READY, _S.FAILED}),
    _S.GIVING: frozenset({_S.READY, _S.TAKEN, _S.FAILED}),
    _S.FAILED: frozenset({_S.READY, _S.TAKING, _S.STARTING, _S.STOPPING, _S.GIVING}),
}


def may_follow(state: RunState, after: RunState) -> bool:
    """Say whether `state` may come next `after` another; the same one again may always be told."""
    return state is after or state in TRANSITIONS[after]


def is_running(state: RunState) -> bool:
    """Say whether the guest runs in this state."""
    return state in _RUNNING


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """
    What state.json says. It is a hint: who reads it asks the kernel whether it still holds.

    `since` is seconds since the epoch; `pid_start` and `qemu_start` are the processes' start times in clock ticks
    since the host's start (proc(5), field 22 of stat), which tell a process from a later one with the same number.
    `health` is the last line of the guest's daemon, as `Health.as_json` makes it.
    """

    state: RunState
    since: float
    pid: int
    pid_start: int
    boot_id: str
    qemu_pid: int = 0
    qemu_start: int = 0
    addresses: tuple[str, ...] = ()
    health: dict[str, Any] | None = None
    message: str = ""
    lives: int = 0

    def advanced(self, state: RunState, now: float, message: str = "") -> Recorded:
        """
        Return the next record; `since` stays while the state does.

        Raises:
            ValueError: the table does not allow this step: a defect of the caller.
        """
        if not may_follow(state, self.state):
            raise ValueError(f"{state} cannot follow {self.state}")
        return replace(self, state=state, since=self.since if state is self.state else now, message=message)

    def to_json(self) -> str:
        return json.dumps(
            {
                "schema": SCHEMA, "state": str(self.state), "since": self.since, "pid": self.pid,
                "pid_start": self.pid_start, "boot_id": self.boot_id, "qemu_pid": self.qemu_pid,
                "qemu_start": self.qemu_start, "addresses": list(self.addresses), "health": self.health,
                "message": self.message, "lives": self.lives,
            }
        )  # fmt: skip

    @classmethod
    def parse(cls, text: str) -> Recorded | None:
        """Read state.json; None when there is none, or it is torn, or of another schema."""
        try:
            told = json.loads(text)
            if not isinstance(told, dict) or told["schema"] != SCHEMA:
                return None
            health = told["health"]
            return cls(
                state=RunState(told["state"]),
                since=float(told["since"]),
                pid=_whole(told["pid"]),
                pid_start=_whole(told["pid_start"]),
                boot_id=str(told["boot_id"]),
                qemu_pid=_whole(told["qemu_pid"]),
                qemu_start=_whole(told["qemu_start"]),
                addresses=tuple(str(address) for address in told["addresses"]),
                health=health if isinstance(health, dict) else None,
                message=str(told["message"]),
                lives=_whole(told["lives"]),
            )
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError):
            return None


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise ValueError(value)
    return value
