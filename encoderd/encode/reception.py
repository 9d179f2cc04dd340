"""
How well a recording was received: its transport packets counted beside the encode, from its own bytes.

FFmpeg says "corrupt" of what it noticed; recorders' drop logs count continuity counters, and so does this. The thread
follows the demuxer, so that every byte is read from the disk once.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable

from encoderd.encode.continuity import ContinuityCounter
from encoderd.encode.damage import OTHER, DamageLog, Kind
from encoderd.encode.facts import TranscodeFacts

#: When something was lost and from which track of the output.
Places = list[tuple[float, int]]

BLOCK_BYTES = 4 * 1024 * 1024
_LOOK_EVERY_S = 0.05


class Reception:
    """
    Counts one recording, from `first_byte` to before byte `size_bytes`, through `fd`, which stays the caller's.
    `follow` runs in a thread of its own until `finish` was called and the file is at its end, or `stop` was.
    """

    def __init__(self, fd: int, size_bytes: int, packet_shape: tuple[int, int], first_byte: int = 0) -> None:
        self._fd = fd
        self._first_byte, self._size_bytes = first_byte, size_bytes
        self.counter = ContinuityCounter(*packet_shape, size_bytes=size_bytes)
        #: How far the demuxer is: bytes of the file.
        self.demuxed_bytes = 0
        self._read_to_end = threading.Event()
        self._stopped = threading.Event()
        #: Why not all of the file was counted.
        self.error = ""

    def follow(self) -> None:
        """Count up to where the demuxer is, again and again; a disk that fails ends it, `error` says how."""
        at = self._first_byte
        while not self._stopped.is_set() and at < self._size_bytes:
            ahead = self.demuxed_bytes - at
            if ahead < BLOCK_BYTES and not self._read_to_end.wait(_LOOK_EVERY_S):
                continue
            try:
                block = os.pread(self._fd, min(BLOCK_BYTES, self._size_bytes - at), at)
            except OSError as error:
                self.error = error.strerror or str(error)  # the demuxer meets it too, and says so
                return
            if not block:
                return
            self.counter.feed(block, at)
            at += len(block)

    def finish(self) -> None:
        """The demuxer is at its end: count the rest without waiting for it."""
        self._read_to_end.set()

    def stop(self) -> None:
        """The encode failed: nobody wants the counts."""
        self._stopped.set()
        self._read_to_end.set()


def note_reception(log: DamageLog, counter: ContinuityCounter, facts: TranscodeFacts, tracks: dict[int, int]) -> Places:
    """
    Bring the counter's events into the damage log, each at the output time of the pictures that were read with it.

    `tracks` is {PID: track of the output}. Returns the places: seconds on the output's timeline, track.
    """
    found: Places = []
    rows = facts.places.rows
    place = 0
    for event in counter.events():
        while place + 1 < len(rows) and rows[place + 1][1] <= event.position:
            place += 1
        at_s = rows[place][0] / 1000 if rows else 0.0
        track = tracks.get(event.pid, OTHER)
        log.note(Kind(event.kind), at_s, track, pid=event.pid, amount=event.amount)
        found.append((at_s, track))
    return found


def counts_by_pid(counter: ContinuityCounter) -> dict[int, dict[str, int]]:
    """Return {PID: {"packets", "lost", "errors", "scrambled"}}; a PID of noise that came once is no PID."""
    return {
        one.pid: {"packets": one.packets, "lost": one.lost, "errors": one.errors, "scrambled": one.scrambled}
        for one in counter.counts()
        if one.packets > 1
    }


def sent_s(counter: ContinuityCounter, pcr_pids: Iterable[int], size_bytes: int) -> float:
    """Return how long the recording ran by a clock that stands in all of it, never set anew; 0 where there is none."""
    for pid in pcr_pids:
        clock = counter.clock(pid)
        whole = clock.positions and clock.positions[0] < size_bytes * 0.05 and clock.positions[-1] > size_bytes * 0.95
        if whole and not any(clock.restarts[1:]):
            return (clock.elapsed_ms(size_bytes) or 0) / 1000
    return 0.0


def recorded_s(counter: ContinuityCounter, pcr_pid: int, size_bytes: int) -> float:
    """Return how long the recording ran by the clock on this PID, its jumps left out; 0 where there is none."""
    return (counter.clock(pcr_pid).elapsed_ms(size_bytes) or 0) / 1000
