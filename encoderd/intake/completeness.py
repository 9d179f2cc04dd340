"""
When is a recording whole? Sightings in, candidates out; no clock, no file system.

A recording is whole when its size, mtime and inode have not changed for `settle_s` of monotonic time, when it is not
empty, and when a last look found nobody who has it open for writing. The last look is asked for (`due`), not made.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Set
from dataclasses import dataclass
from enum import StrEnum

from encoderd.jobs import Candidate

#: The longest pause between two looks at a recording that rests but is still open, in seconds.
LOOK_AGAIN_S = 60.0


class Writer(StrEnum):
    OPEN = "open"  #: someone has the file open for writing
    NONE = "none"  #: nobody on this machine has
    UNKNOWN = "unknown"  #: none to be seen from here (a share, another user's process): quiet alone has to do


class Waiting(StrEnum):
    """Why a recording is not a candidate yet."""

    EMPTY = "empty"
    GROWING = "growing"  #: the last sighting differed from the one before
    RESTING = "resting"  #: unchanged, but not for settle_s yet
    OPEN = "still open by a writer"  #: unchanged for settle_s, looked at again every now and then


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """
    What open + fstat said about one file, once.

    The answer is from some moment between `asked_at_s` and `answered_at_s` (monotonic seconds): on a share that hangs
    these can be minutes apart, so a rest begins at the first answer and lasts until the last question.
    `writer` is None where nobody looked for one.
    """

    watch: str
    relative_path: str
    size_bytes: int
    mtime_ns: int
    device: int
    inode: int
    asked_at_s: float
    answered_at_s: float
    writer: Writer | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settling:
    """A file on its way; `since_s` (monotonic) is when it was first seen, or since when it rests or is kept open."""

    watch: str
    relative_path: str
    size_bytes: int
    since_s: float
    waiting: Waiting


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    candidate: Candidate
    rested_s: float


class Offered:
    """
    Which recordings were offered, under which identity: two hashes for each, 100,000 of them in about 12 MB.

    Two different names or identities share a 64-bit hash once in 10^9 folders of that size. The poll thread alone
    writes; a scanner may read at any time (each question is one lookup in one dict) and at worst hears the answer of
    a moment ago, which costs one superfluous sighting.
    """

    def __init__(self) -> None:
        self._marks: dict[str, dict[int, int]] = {}

    def note(self, candidate: Candidate) -> None:
        marks = self._marks.setdefault(candidate.watch, {})
        marks[hash(candidate.relative_path)] = hash((candidate.size_bytes, candidate.mtime_ns))

    def has_name(self, watch: str, relative_path: str) -> bool:
        """Return whether this name was offered, under any identity."""
        return hash(relative_path) in self._marks.get(watch, ())

    def holds(self, watch: str, relative_path: str, size_bytes: int, mtime_ns: int) -> bool:
        marks = self._marks.get(watch)
        return marks is not None and marks.get(hash(relative_path)) == hash((size_bytes, mtime_ns))

    def forget(self, watch: str, relative_path: str) -> None:
        self._marks.get(watch, {}).pop(hash(relative_path), None)

    def keep_only(self, watch: str, name_hashes: Set[int]) -> None:
        """Drop the names of `watch` that are not among `name_hashes`."""
        marks = self._marks.get(watch, {})
        if not marks.keys() <= name_hashes:
            self._marks[watch] = {name: mark for name, mark in marks.items() if name in name_hashes}

    def count(self, watch: str) -> int:
        return len(self._marks.get(watch, ()))


@dataclass(slots=True)
class _File:
    size_bytes: int
    mtime_ns: int
    device: int
    inode: int
    first_seen_s: float
    rests_since_s: float  # the answer to the first question that showed it as it is now
    answered_at_s: float
    waiting: Waiting
    look_due_s: float | None = None  # None: a look is on its way, or makes no sense (empty)

    def shows(self, seen: Sighting) -> bool:
        return (
            self.size_bytes == seen.size_bytes
            and self.mtime_ns == seen.mtime_ns
            and self.inode == seen.inode
            and self.device == seen.device
        )


class Completeness:
    """
    The books about every file that is not settled, and a compact mark of those that are.

    `settle_s` names each watch folder's own settling time in seconds.
    """

    def __init__(self, settle_s: Mapping[str, float]) -> None:
        self._settle_s = dict(settle_s)
        self.offered = Offered()
        self._files: dict[tuple[str, str], _File] = {}
        #: (when, watch, relative_path); an entry whose time is no longer its file's `look_due_s` is void.
        self._looks: list[tuple[float, str, str]] = []
        self._now_s = float("-inf")

    def see(self, seen: Sighting) -> Settled | None:
        """
        Take a sighting; return the recording if this was the last look and it is whole.

        Any change of size, mtime (also to an earlier one), device or inode starts the rest anew. An identity (size,
        mtime) is returned once.

        Raises:
            ValueError: the sighting is from before the last one of this file: the monotonic clock ran backwards.
        """
        if self.offered.holds(seen.watch, seen.relative_path, seen.size_bytes, seen.mtime_ns):
            self._files.pop((seen.watch, seen.relative_path), None)
            return None
        file = self._files.get((seen.watch, seen.relative_path))
        last_s = seen.asked_at_s if file is None else file.answered_at_s
        if not last_s <= seen.asked_at_s <= seen.answered_at_s:
            raise ValueError(f"the monotonic clock went from {last_s} s to {seen.asked_at_s} s, {seen.answered_at_s} s")
        if file is None or not file.shows(seen):
            self._begin(seen, file)
            return None
        file.answered_at_s = seen.answered_at_s
        if file.waiting is Waiting.GROWING:
            file.waiting = Waiting.RESTING
        return None if seen.writer is None else self._last_look(file, seen, seen.writer)

    def lose(self, watch: str, relative_path: str) -> None:
        """Take note that a file is gone or cannot be read; should it be seen again, its rest begins anew."""
        self._files.pop((watch, relative_path), None)

    def keep_only(self, watch: str, relative_paths: Set[str]) -> None:
        """Lose every settling file of `watch` that a complete scan did not see."""
        for key in [key for key in self._files if key[0] == watch and key[1] not in relative_paths]:
            del self._files[key]

    def forget(self, watch: str, relative_path: str) -> None:
        """Offer this recording again once it is seen and has settled (again)."""
        self.offered.forget(watch, relative_path)

    def due(self, now_s: float, limit: int) -> list[tuple[str, str]]:
        """
        Return (watch, relative path) of at most `limit` files that have rested and now need the last look.

        Each is returned once per look: answer with `see` (a sighting with `writer`) or `lose`.

        Raises:
            ValueError: `now_s` is earlier than in the call before.
        """
        if now_s < self._now_s:
            raise ValueError(f"the monotonic clock went from {self._now_s} s back to {now_s} s")
        self._now_s = now_s
        due: list[tuple[str, str]] = []
        while self._looks and self._looks[0][0] <= now_s and len(due) < limit:
            when_s, watch, relative_path = heapq.heappop(self._looks)
            file = self._files.get((watch, relative_path))
            if file is not None and file.look_due_s == when_s:
                file.look_due_s = None
                due.append((watch, relative_path))
        return due

    def next_due_s(self) -> float:
        """Return when `due` may have something to say (monotonic seconds, infinity for never); may be too early."""
        return self._looks[0][0] if self._looks else float("inf")

    def settling(self) -> list[Settling]:
        """Return every file on its way, by folder and name."""
        return [
            Settling(
                watch=watch,
                relative_path=relative_path,
                size_bytes=file.size_bytes,
                since_s=file.first_seen_s if file.waiting is Waiting.GROWING else file.rests_since_s,
                waiting=file.waiting,
            )
            for (watch, relative_path), file in sorted(self._files.items(), key=lambda item: item[0])
        ]

    def knows(self, watch: str, relative_path: str) -> bool:
        """Return whether the file is on its way or was offered before."""
        return (watch, relative_path) in self._files or self.offered.has_name(watch, relative_path)

    def _begin(self, seen: Sighting, before: _File | None) -> None:
        waiting = Waiting.EMPTY if seen.size_bytes == 0 else Waiting.RESTING if before is None else Waiting.GROWING
        file = _File(
            size_bytes=seen.size_bytes,
            mtime_ns=seen.mtime_ns,
            device=seen.device,
            inode=seen.inode,
            first_seen_s=seen.answered_at_s if before is None else before.first_seen_s,
            rests_since_s=seen.answered_at_s,
            answered_at_s=seen.answered_at_s,
            waiting=waiting,
        )
        self._files[seen.watch, seen.relative_path] = file
        if waiting is not Waiting.EMPTY:
            self._plan_look(file, seen, file.rests_since_s + self._settle_s[seen.watch])

    def _last_look(self, file: _File, seen: Sighting, writer: Writer) -> Settled | None:
        """Judge a file that a look found unchanged; this is at least its second sighting."""
        settle_s = self._settle_s[seen.watch]
        if file.waiting is Waiting.EMPTY:
            return None
        if writer is Writer.OPEN:
            file.waiting = Waiting.OPEN
            self._plan_look(file, seen, seen.answered_at_s + min(settle_s, LOOK_AGAIN_S))
            return None
        if seen.asked_at_s < file.rests_since_s + settle_s:  # the look was asked for before it changed
            file.waiting = Waiting.RESTING
            self._plan_look(file, seen, file.rests_since_s + settle_s)
            return None
        del self._files[seen.watch, seen.relative_path]
        candidate = Candidate(
            watch=seen.watch,
            relative_path=seen.relative_path,
            size_bytes=seen.size_bytes,
            mtime_ns=seen.mtime_ns,
        )
        self.offered.note(candidate)
        return Settled(candidate=candidate, rested_s=seen.asked_at_s - file.rests_since_s)

    def _plan_look(self, file: _File, seen: Sighting, when_s: float) -> None:
        file.look_due_s = when_s
        heapq.heappush(self._looks, (when_s, seen.watch, seen.relative_path))
