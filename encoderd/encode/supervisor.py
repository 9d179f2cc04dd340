"""
Starts, watches, limits and ends one child. Runs in the daemon; never loads FFmpeg.

What is watched is the muxed time, not the wall clock: a slow encode is healthy, one that stands still is not. A stuck
GPU call cannot be interrupted from inside, so a child that does not heed SIGTERM gets SIGKILL, its whole group with it.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from encoderd.encode.failures import EncodeFailed, Place, crashed, stalled
from encoderd.encode.messages import (
    Build,
    BuildRequest,
    Encoded,
    EncodeRequest,
    Failed,
    Loaded,
    Message,
    OptionsChecked,
    Probed,
    Progress,
    Request,
    Started,
    TrialDone,
    Verified,
    read_message,
    to_line,
)
from encoderd.jobs import FailureKind, JobEvent

#: A message longer than this many bytes is no message; the buffer never grows beyond it.
LONGEST_MESSAGE = 4 * 1024 * 1024
#: What one poll reads at most, in bytes, so that a child that never stops talking cannot hold the daemon.
_READ_AT_ONCE = 4 * 1024 * 1024
#: Seconds between SIGTERM and SIGKILL, and for a child to exit after its last word.
TERM_S = 2.0
#: Seconds to wait for a killed child. One that hangs in the kernel (a GPU, a dead share) dies when it wakes up there.
_KILLED_S = 2.0
#: Bytes of the log that are searched for the last words of a child that died.
_TAIL_BYTES = 4096
#: Bytes that Linux holds in a pipe at once (pipe(7)).
_PIPE_BYTES = 65_536

Final = Encoded | Build | TrialDone | Loaded | OptionsChecked


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Seconds without progress after which a child has stalled: before the first, in mid-file, and at the end."""

    startup_s: float
    stall_s: float
    drain_s: float


class Child:
    """
    One child with one request. `poll` is called often with monotonic seconds; `outcome` is set when it has ended.

    `log` is the file that takes its standard error; without one the lines are dropped. `argv` is what is started.
    """

    def __init__(
        self,
        request: Request,
        limits: Limits,
        *,
        now_s: float,
        log: Path | None = None,
        argv: Sequence[str] = (sys.executable, "-P", "-m", "encoderd.encode.child"),
    ) -> None:
        self.outcome: Final | EncodeFailed | None = None
        self.probed: Probed | None = None
        self.started: Started | None = None
        self.progress: Progress | None = None
        self.verified: Verified | None = None
        self.build: Build | None = None
        self._limits = limits
        self._log = log
        self._wants_build = isinstance(request, BuildRequest)
        self._partial = Path(request.partial) if isinstance(request, EncodeRequest) else None
        self._buffer = b""
        self._final: Final | EncodeFailed | None = None
        self._final_s = 0.0
        self._mark: tuple[object, ...] = ()
        self._mark_s = now_s
        self._closed_s: float | None = None
        self._term_s: float | None = None
        with contextlib.ExitStack() as stack:
            errors = subprocess.DEVNULL if log is None else stack.enter_context(log.open("ab"))
            self._process = subprocess.Popen(
                [*argv, str(os.getpid())],  # so that it notices when its parent died before it could ask who it is
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
                cwd="/",
            )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._stdout = self._process.stdout
        os.set_blocking(self._stdout.fileno(), False)
        with contextlib.suppress(OSError):  # a child that died at once is found by poll
            self._process.stdin.write(to_line(request).encode("ascii"))
            self._process.stdin.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def fileno(self) -> int:
        """The descriptor that becomes readable when there is something to poll for."""
        return self._stdout.fileno()

    def poll(self, now_s: float) -> Final | EncodeFailed | None:
        """Take the child's messages, enforce the limits; return its outcome once it has ended, None before."""
        if self.outcome is not None:
            return self.outcome
        closed = self._read()
        exit_code = self._process.poll()
        if exit_code is not None:
            self._read()
            self._end(self._final if self._final is not None else self._died(exit_code))
        elif self._final is not None:
            self._final_s = self._final_s or now_s
            if now_s - self._final_s > TERM_S:
                self._end(self._final)
        elif self._term_s is not None:
            if now_s - self._term_s > TERM_S:
                self._end(crashed("The child was ended.", remedy="Nothing: this was asked for."))
        elif closed and self._closed_s is None:
            self._closed_s = now_s  # it is about to exit: its exit code says more than the end of its messages
        elif self._closed_s is not None:
            if now_s - self._closed_s > TERM_S:
                self._end(self._died(None))
        elif self._stands_still(now_s):
            self._end(self._stall(now_s))
        return self.outcome

    def stop(self, now_s: float) -> None:
        """Ask the child to end (SIGTERM); poll sends SIGKILL if it does not."""
        if self.outcome is None and self._term_s is None:
            self._term_s = now_s
            self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the child now, wait for it, and close what it held."""
        if self._process.returncode is None:  # else its number may belong to somebody else by now
            self._signal(signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_KILLED_S)
        self._stdout.close()

    def _end(self, outcome: Final | EncodeFailed) -> None:
        self.kill()
        self.outcome = outcome

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _read(self) -> bool:
        """Read what is there, up to a bound; True when the child closed its end."""
        for _ in range(_READ_AT_ONCE // _PIPE_BYTES):
            try:
                data = os.read(self._stdout.fileno(), _PIPE_BYTES)
            except BlockingIOError:
                return False
            if not data:
                return True
            *lines, self._buffer = (self._buffer + data).split(b"\n")
            self._buffer = self._buffer[-LONGEST_MESSAGE:]
            for line in lines:
                self._take(read_message(line.decode("ascii", "replace")))
        return False

    def _take(self, message: Message | None) -> None:
        match message:
            case Probed():
                self.probed = message
            case Started():
                self.started = message
            case Progress():
                self.progress = message
            case Verified():
                self.verified = message
            case Build() if not self._wants_build:  # a trial says it first, so that its failure can be explained
                self.build = message
            case Encoded() | Build() | TrialDone() | Loaded() | OptionsChecked():
                self._final = message
            case Failed():
                self._final = _failure(message)
            case None:
                return

    def _stands_still(self, now_s: float) -> bool:
        mark = self._current_mark()
        if mark != self._mark:
            self._mark, self._mark_s = mark, now_s
            return False
        return now_s - self._mark_s > self._limit()[1]

    def _current_mark(self) -> tuple[object, ...]:
        if self.progress is None:
            return (self.probed is not None, self.started is not None, self.build is not None)
        phase = self.progress.phase
        if phase == "encoding":
            # What was read counts too: in a stretch without pictures nothing is muxed. An encoder that hangs soon
            # holds up the reading, because the pipes between them are short.
            return (phase, self.progress.out_time_s, self.progress.done_ratio)
        # While the muxer moves its index to the front the child says nothing, but the file changes.
        return (phase, self.progress.done_ratio, self.verified is not None, _changed_at(self._partial))

    def _limit(self) -> tuple[str, float]:
        if self.progress is None or (self.progress.phase == "encoding" and self.progress.out_time_s == 0):
            return "at the start", self._limits.startup_s
        if self.progress.phase == "encoding":
            return f"at {self.progress.out_time_s:.1f} s of the recording", self._limits.stall_s
        return f"while {self.progress.phase}", self._limits.drain_s

    def _stall(self, now_s: float) -> EncodeFailed:
        where, limit_s = self._limit()
        return stalled(
            f"The encoder stood still {where} for {now_s - self._mark_s:.0f} s (limit {limit_s:.0f} s) and was killed. "
            "Usually a GPU that hangs, or a disk that does not answer.",
            remedy="Look for GPU HANG or I/O errors in dmesg; it is tried again by itself.",
        )

    def _died(self, exit_code: int | None) -> EncodeFailed:
        if self._term_s is not None:
            return crashed("The child was ended.", remedy="Nothing: this was asked for.")
        if exit_code is None:
            text = f"The child process closed its messages without a last word and was killed{self._last_words()}."
            return crashed(text, remedy="See the job's log: encoderd logs JOB")
        how = f"exit code {exit_code}"
        if exit_code < 0:
            with contextlib.suppress(ValueError):
                how = f"signal {-exit_code} ({signal.Signals(-exit_code).name})"
        text = f"The child process died ({how}) without a last word{self._last_words()}."
        if exit_code == -signal.SIGKILL:
            return crashed(text, remedy="If nobody killed it, memory ran out: see dmesg for 'Out of memory'.")
        return crashed(text, remedy="See the job's log: encoderd logs JOB")

    def _last_words(self) -> str:
        if self._log is None:
            return ""
        try:
            with self._log.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
                lines = log.read().decode("utf-8", "replace").split("\n")
        except OSError:
            return ""
        spoken = [line.strip() for line in lines if line.strip()]
        last = re.sub(r" @ 0x[0-9a-f]+", "", spoken[-1])[:300] if spoken else ""  # an address says nothing to anyone
        return f"; the log ends with: {last}" if last else ""


def _failure(message: Failed) -> EncodeFailed:
    kind = FailureKind(message.kind) if message.kind in set(FailureKind) else FailureKind.CRASH
    event = JobEvent(message.event) if message.event in set(JobEvent) else JobEvent.CRASHED
    place = Place(message.place) if message.place in set(Place) else Place.NONE
    return EncodeFailed(
        message.reason, remedy=message.remedy, kind=kind, event=event, place=place, acceptable=message.acceptable
    )


def _changed_at(path: Path | None) -> int:
    try:
        return path.stat().st_mtime_ns if path is not None else 0
    except OSError:
        return 0


def run_to_end(request: Request, limit_s: float, clock: Callable[[], float], log: Path | None = None) -> Child:
    """
    Start a child, wait for it, return it with its `outcome`. For short requests (build, trial, load).

    A child that takes longer than `limit_s` seconds is killed, and its outcome is that it stood still.
    """
    child = Child(request, Limits(startup_s=limit_s, stall_s=limit_s, drain_s=limit_s), now_s=clock(), log=log)
    try:
        while child.poll(clock()) is None:
            select.select([child], [], [], 0.2)
    finally:
        child.kill()
    return child
