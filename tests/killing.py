"""Kills the daemon and its children at chosen moments, and judges what is left when it was allowed to finish."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import av

from encoderd.jobs import JobState
from tests.running import RunningDaemon

#: Recordings that are in the folder and not done, at every strike.
UNDONE = 4
#: Longest wait for a moment to come; when it does not, the kill happens anyway.
MOMENT_S = 4.0


class Massacre:
    """
    A batch of recordings, dropped in one after the other, and a daemon that is killed at `seed`ed moments.

    The moments: any time; as soon as a partial file, a receipt or an output appears that was not there before (the
    steps of publishing last milliseconds, so chance alone would never strike between them).
    """

    def __init__(self, daemon: RunningDaemon, recordings: list[Path], seed: int) -> None:
        self.daemon = daemon
        self._random = random.Random(seed)
        self._recordings = recordings
        self._sums: dict[str, str] = {}
        self._lengths: dict[str, float] = {}

    def _feed(self) -> None:
        """Keep the daemon busy: there are always some recordings that are not done, and so something to lose."""
        done = self.daemon.states().count(JobState.DONE)
        while len(self._sums) - done < UNDONE:
            number = len(self._sums)
            recording = self._recordings[number % len(self._recordings)]
            name = f"{number:02d} 録画.ts"
            dropped = self.daemon.drop(recording, name)
            self._sums[name] = _sum_of(dropped)
            self._lengths[name] = _length_of(recording)

    def strike(self) -> str:
        """Wait for a moment, kill, and start the daemon again if it was the victim. Returns what was done."""
        self._feed()
        victim = self._random.choice(["daemon", "daemon", "child"])
        moment = self._random.choice(["any", "partial", "receipt", "output"])
        self._await(moment)
        if victim == "child" and (children := self.daemon.children()):
            for child in children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
        else:
            victim = "daemon"
            self.daemon.kill()
        if victim == "daemon":
            self._no_child_is_left()
            self.daemon.start()
        return f"{victim} at {moment}"

    def _await(self, moment: str) -> None:
        if moment == "any":
            time.sleep(self._random.uniform(0.0, 1.5))
            return
        places: dict[str, Callable[[], list[str]]] = {
            "partial": self.daemon.partials,
            "output": self.daemon.outputs,
            "receipt": lambda: [path.name for path in (self.daemon.state / "jobs").glob("*.json")],
        }
        before, until_s = set(places[moment]()), time.monotonic() + MOMENT_S
        while set(places[moment]()) <= before and time.monotonic() < until_s:
            pass  # no sleep: the next step of publishing is less than a millisecond away

    def _no_child_is_left(self) -> None:
        until_s = time.monotonic() + 5
        while left := self.daemon.orphans():
            assert time.monotonic() < until_s, f"the children {left} outlived their daemon"
            time.sleep(0.01)

    def judge(self) -> None:
        """Let it finish; then each recording has one verified output, nothing else is there, no source changed."""
        everything = set(self._sums)
        self.daemon.wait_for(
            lambda: self.daemon.states().count(JobState.DONE) >= len(everything), limit_s=120, what="all jobs done"
        )
        assert self.daemon.terminate() == 0
        jobs = self.daemon.jobs()

        assert sorted(everything) == sorted(job.relative_path for job in jobs)
        assert {JobState.DONE} == {job.state for job in jobs}
        assert sorted(name.replace(".ts", ".mp4") for name in everything) == self.daemon.outputs()
        assert [] == self.daemon.partials()
        assert self._sums == {name: _sum_of(self.daemon.input / name) for name in everything}
        for job in jobs:
            receipt = self.daemon.receipt(job.id)
            output = self.daemon.output / job.relative_path.replace(".ts", ".mp4")

            assert "pass" == receipt["verdict"]
            assert output.stat().st_size == receipt["published_bytes"]
            assert abs(_length_of(output) - self._lengths[job.relative_path]) < 0.1
            assert 1 == self.daemon.events(job.id).count("published")


def _sum_of(path: Path) -> str:
    found = path.stat()
    return f"{hashlib.sha256(path.read_bytes()).hexdigest()} {found.st_mtime_ns}"


def _length_of(path: Path) -> float:
    """Decode all of the video and return its length in seconds."""
    with av.open(str(path)) as container:
        frames = [float(frame.time or 0.0) for frame in container.decode(video=0)]
        rate = float(container.streams.video[0].average_rate or 30)
    return max(frames) - min(frames) + 1 / rate
