"""
When a byte of a transport stream was sent, from the programme clock references (PCR) around it.

The clock (33 bits of 90 kHz, ISO/IEC 13818-1, 2.4.3.4) wraps and is set anew at splices; what is asked for is how long
the recording had run, so a step that is no step of time counts as none.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

CLOCK_HZ = 90_000
CLOCK_WRAP = 2**33
#: A longer step is a jump of the clock, not of time: timeline.FORWARD_JUMP_S.
_MOST_STEP = 10 * CLOCK_HZ
#: One reference of each half second is kept.
_EVERY = CLOCK_HZ // 2
#: PIDs whose references are kept, and references of each. A programme has one; noise has any number.
_MOST_CLOCKS, _MOST_POINTS = 32, 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ByteClock:
    """References by byte offset, in ticks of 90 kHz; `restarts` where the stream said that its clock is set anew."""

    positions: tuple[int, ...] = ()
    ticks: tuple[int, ...] = ()
    restarts: tuple[bool, ...] = ()
    _elapsed: list[int] = field(default_factory=list, repr=False, compare=False)

    def elapsed_ms(self, position: int) -> int | None:
        """Return milliseconds of the recording before the byte at `position`; None without two references."""
        if len(self.positions) < 2:
            return None
        if not self._elapsed:
            self._elapsed.extend(_elapsed(self.ticks, self.restarts))
        after = min(max(bisect_right(self.positions, position), 1), len(self.positions) - 1)
        left, right = self.positions[after - 1], self.positions[after]
        begin, end = self._elapsed[after - 1], self._elapsed[after]
        inside = begin + (end - begin) * (position - left) // max(1, right - left)
        return max(0, inside) * 1000 // CLOCK_HZ


def _elapsed(ticks: tuple[int, ...], restarts: tuple[bool, ...]) -> list[int]:
    """Return the ticks that passed up to each reference."""
    found = [0]
    for before, after, restarted in zip(ticks, ticks[1:], restarts[1:], strict=False):
        step = (after - before) % CLOCK_WRAP
        found.append(found[-1] + (0 if restarted or step > _MOST_STEP else step))
    return found


@dataclass(slots=True)
class _References:
    every: int = _EVERY
    last: int = -1
    kept: int = 0
    positions: list[npt.NDArray[np.int64]] = field(default_factory=list)
    ticks: list[npt.NDArray[np.int64]] = field(default_factory=list)
    restarts: list[npt.NDArray[np.bool_]] = field(default_factory=list)

    def add(
        self, positions: npt.NDArray[np.int64], ticks: npt.NDArray[np.int64], restarts: npt.NDArray[np.bool_]
    ) -> None:
        steps = ticks // self.every
        kept = steps != np.append(self.last, steps[:-1])
        kept |= restarts
        self.last = int(steps[-1])
        self.positions.append(positions[kept])
        self.ticks.append(ticks[kept])
        self.restarts.append(restarts[kept])
        self.kept += int(kept.sum())
        if self.kept > _MOST_POINTS:
            # twice as coarse from now on, and so far
            self.every *= 2
            self.positions = [np.concatenate(self.positions)[::2]]
            self.ticks = [np.concatenate(self.ticks)[::2]]
            self.restarts = [np.concatenate(self.restarts)[::2]]
            self.kept = len(self.positions[0])


@dataclass(slots=True)
class Clocks:
    """Collects the references of all PIDs that carry some."""

    _found: dict[int, _References] = field(default_factory=dict)

    def read(
        self,
        data: npt.NDArray[np.uint8],
        places: npt.NDArray[np.int64],
        pids: npt.NDArray[np.uint16],
        restarts: npt.NDArray[np.bool_],
        position: int,
    ) -> None:
        """Take the PCRs of packets that have one: their places in `data`, which stands at `position` of the file."""
        field_bytes = data[places[:, None] + np.arange(6, 11)].astype(np.int64)
        ticks = field_bytes @ np.array([1 << 25, 1 << 17, 1 << 9, 2, 0]) + (field_bytes[:, 4] >> 7)
        for pid in np.unique(pids).tolist():
            if pid not in self._found and len(self._found) >= _MOST_CLOCKS:
                continue
            own = pids == pid
            self._found.setdefault(pid, _References()).add(places[own] + position, ticks[own], restarts[own])

    def of(self, pid: int) -> ByteClock:
        found = self._found.get(pid)
        if found is None:
            return ByteClock()
        return ByteClock(
            positions=tuple(np.concatenate(found.positions).tolist()),
            ticks=tuple(np.concatenate(found.ticks).tolist()),
            restarts=tuple(np.concatenate(found.restarts).tolist()),
        )
