"""
Damage counted from the transport stream itself, PID by PID, as recorders' drop logs do.

A decoder hides what it can; the packets' own counters do not. The counter of a PID goes up by one, modulo 16, with
each packet that has payload; one packet may be sent twice; a set discontinuity_indicator excuses any step
(ISO/IEC 13818-1, 2.4.3.3 and 2.4.3.5). What is counted is places, not packets: how many are missing between two,
nobody knows. Behind a packet with transport_error_indicator the counter is not asked, or one damage would count twice.

The counter runs beside the encode: all work is done by numpy on blocks of some MiB, whatever is in them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from encoderd.encode.byte_clock import ByteClock, Clocks
from encoderd.encode.transport_stream import NULL_PID, PACKET, SYNC, headers, next_sync, packet_runs

PIDS = 8192
#: Places of each kind that are kept with their position; all are counted.
MOST_EVENTS = 10_000
_LOOKED_BACK = 5  # packets without a known beginning that are kept for the next block
_NONE = 0xFF  # in the place of a counter: any packet may follow


class FaultKind(StrEnum):
    """What is wrong at a place."""

    LOST = "lost"  #: packets are missing before this one
    ERROR = "error"  #: the receiver could not correct this one (transport_error_indicator)
    SYNC = "sync"  #: bytes that are no packets begin here
    SCRAMBLED = "scrambled"  #: encrypted packets: one place for all of a PID in one block


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """
    One damaged place: byte offset in the file; `pid` is the null PID where bytes belong to none; `amount` is 1, of
    encrypted packets their number.
    """

    position: int
    pid: int
    kind: FaultKind
    amount: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PidCount:
    """One PID's packets, the places where some are missing, those with errors, and those encrypted."""

    pid: int
    packets: int
    lost: int
    errors: int
    scrambled: int


class ContinuityCounter:
    """
    Counts over one file, fed block by block; blocks may split packets, and a gap between them is noticed.

    `packet_size` and `sync_offset` are those of `packet_shape`; `size_bytes` of the file gives `histogram` its scale.
    Positions are those of sync bytes.
    """

    def __init__(self, packet_size: int, sync_offset: int, *, size_bytes: int = 0, buckets: int = 120) -> None:
        self._size = packet_size
        self._ahead = sync_offset
        self._file_bytes = size_bytes
        self._end = 0  # of the last block
        self._next: int | None = None  # where the next sync byte is due
        self._rest = b""  # from there to the end of the last block
        self._counters = np.full(PIDS, _NONE, np.uint8)
        self._twice = np.zeros(PIDS, np.bool_)  # the last packet repeated the one before
        self._packets, self._lost, self._errors, self._scrambled = np.zeros((4, PIDS), np.int64)
        self._histogram = np.zeros((buckets, PIDS), np.uint32)  # pages that are never touched cost nothing
        self._events: dict[FaultKind, list[tuple[int, int, int]]] = {kind: [] for kind in FaultKind}
        self._clocks = Clocks()
        self.sync_losses = 0

    # --- in

    def feed(self, block: bytes | bytearray | memoryview, position: int) -> None:
        """Count the bytes at `position` of the file; the next block should begin where this one ends."""
        data = np.frombuffer(block, np.uint8)
        if position != self._end:
            self._next, self._rest = None, b""
            self._counters[:] = _NONE
        self._end = position + len(data)
        if self._next is None:
            # sought anew, also across the blocks' border
            data = np.concatenate((np.frombuffer(self._rest, np.uint8), data))
            position, self._rest = self._end - len(data), b""
            found = next_sync(data, self._size, 0)
            if found is None:
                self._rest = data[-self._size * _LOOKED_BACK :].tobytes()
                return
            self._next = position + found
        elif self._rest:
            # the packet that the border cuts
            joined = self._rest + data[: PACKET - len(self._rest)].tobytes()
            if len(joined) < PACKET:
                self._rest = joined
                return
            if joined[0] == SYNC:
                self._count(np.frombuffer(joined, np.uint8), np.zeros(1, np.int64), self._next)
            self._next, self._rest = self._next + self._size, b""
        places, losses, behind = packet_runs(data, self._size, self._next - position)
        if len(places):
            self._count(data, places, position)
        if losses:
            self._note(np.array(losses) + position, np.full(len(losses), NULL_PID), FaultKind.SYNC)
        if behind is None:
            self._next = None
            self._rest = data[max(losses[-1], len(data) - self._size * _LOOKED_BACK) :].tobytes()
        else:
            self._next = position + behind
            self._rest = data[behind:].tobytes()

    def _count(self, data: npt.NDArray[np.uint8], places: npt.NDArray[np.int64], position: int) -> None:
        head = headers(data, places)
        pids = (head >> 8 & 0x1FFF).astype(np.uint16)
        self._packets += np.bincount(pids, minlength=PIDS)
        loaded = head & 0x10 != 0
        broken = head & 0x800000 != 0
        encrypted = loaded & (head & 0xC0 != 0)
        if encrypted.any():
            found, first, amounts = np.unique(pids[encrypted], return_index=True, return_counts=True)
            self._scrambled[found] += amounts
            self._keep(places[encrypted][first] + position, found, FaultKind.SCRAMBLED, amounts)
        if broken.any():
            self._note(places[broken] + position, pids[broken].astype(np.int64), FaultKind.ERROR)
        excused = np.zeros(len(head), np.bool_)
        fields = np.flatnonzero((head & 0x20 != 0) & ~broken)
        if len(fields):
            at = places[fields]
            flags = np.where(data[at + 4] > 0, data[at + 5], 0)
            excused[fields] = flags & 0x80 != 0
            timed = (flags & 0x10 != 0) & (data[at + 4] >= 7)
            if timed.any():
                self._clocks.read(data, at[timed], pids[fields[timed]], excused[fields[timed]], position)
        asked = np.flatnonzero((loaded | excused | broken) & (pids != NULL_PID))
        counters = (head & 15).astype(np.uint8)
        counters[broken | ~loaded] = _NONE
        lost = asked[self._steps(pids[asked], counters[asked], excused[asked])]
        if len(lost):
            self._note(places[lost] + position, pids[lost].astype(np.int64), FaultKind.LOST)

    def _steps(
        self, pids: npt.NDArray[np.uint16], counters: npt.NDArray[np.uint8], excused: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.int64]:
        """Return which packets, in the order of the file, do not continue the one of their PID before them."""
        if len(pids) == 0:
            return np.zeros(0, np.int64)
        order = np.argsort(pids, kind="stable")
        pids, counters, excused = pids[order], counters[order], excused[order]
        first = np.empty(len(pids), np.bool_)
        first[0] = True
        np.not_equal(pids[1:], pids[:-1], out=first[1:])
        before = np.empty_like(counters)
        before[1:] = counters[:-1]
        before[first] = self._counters[pids[first]]
        known = (before != _NONE) & (counters != _NONE) & ~excused
        step = counters - before & 15
        same = known & (step == 0)
        twice_before = np.empty_like(same)
        twice_before[1:] = same[:-1]
        twice_before[first] = self._twice[pids[first]]
        wrong = known & (step != 1) & ~(same & ~twice_before)
        last = np.append(first[1:], True)
        self._counters[pids[last]] = counters[last]
        self._twice[pids[last]] = same[last]
        return np.sort(order[wrong])

    def _note(self, positions: npt.NDArray[np.int64], pids: npt.NDArray[np.int64], kind: FaultKind) -> None:
        if kind is FaultKind.SYNC:
            self.sync_losses += len(positions)
        else:
            counts = self._lost if kind is FaultKind.LOST else self._errors
            counts += np.bincount(pids, minlength=PIDS)
        if self._file_bytes:
            rows = np.minimum(positions * len(self._histogram) // self._file_bytes, len(self._histogram) - 1)
            np.add.at(self._histogram, (rows, pids), 1)
        self._keep(positions, pids, kind, np.ones(len(positions), np.int64))

    def _keep(
        self,
        positions: npt.NDArray[np.int64],
        pids: npt.NDArray[np.integer[Any]],
        kind: FaultKind,
        amounts: npt.NDArray[np.int64],
    ) -> None:
        room = MOST_EVENTS - len(self._events[kind])
        if room > 0:
            columns = (positions[:room].tolist(), pids[:room].tolist(), amounts[:room].tolist())
            self._events[kind] += zip(*columns, strict=True)

    # --- out

    def counts(self) -> tuple[PidCount, ...]:
        """Return the PIDs that were there, in their order, the null PID too."""
        return tuple(
            PidCount(
                pid=pid,
                packets=int(self._packets[pid]),
                lost=int(self._lost[pid]),
                errors=int(self._errors[pid]),
                scrambled=int(self._scrambled[pid]),
            )
            for pid in np.flatnonzero(self._packets).tolist()
        )

    def events(self) -> tuple[Fault, ...]:
        """Return the first `MOST_EVENTS` places of each kind, by position."""
        found = [
            Fault(position=position, pid=pid, kind=kind, amount=amount)
            for kind, kept in self._events.items()
            for position, pid, amount in kept
        ]
        return tuple(sorted(found, key=lambda fault: fault.position))

    def histogram(self, pids: Collection[int] | None = None) -> tuple[int, ...]:
        """Return the damaged places (of `pids`, or all; encrypted ones are none) in each of equal parts of the file."""
        rows = self._histogram if pids is None else self._histogram[:, sorted(pids)]
        return tuple(int(count) for count in rows.sum(axis=1))

    def clock(self, pid: int) -> ByteClock:
        """Return when bytes were sent, by the PCRs on this PID."""
        return self._clocks.of(pid)
