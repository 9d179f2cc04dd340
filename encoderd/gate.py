"""
The gate: nothing is claimed for an encoder until a trial encode has shown that it encodes.

There is one door for each `VideoRequest`, because a GPU that grants one rate control may refuse another. A device
failure closes all doors of its encoder; a trial every `recheck_s` opens them again. A GPU can go away while nobody
uses it, so the first job of a batch waits for a trial too. Trials run in a child with a time limit.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from encoderd.encode.failures import EncodeFailed, device
from encoderd.encode.messages import Build, TrialDone, TrialRequest, VideoRequest
from encoderd.encode.supervisor import Child, Limits
from encoderd.logs import get_logger
from encoderd.preflight.facts import GpuFacts
from encoderd.readiness import diagnosed, gpu_of, look
from encoderd.settings import EncodeSettings, PreflightSettings
from encoderd.video_settings import GpuHere, video_request

#: Which encoders a setting of `encode.encoder` may use, best first.
CHOICES = {"h264_qsv": ("h264_qsv",), "auto": ("h264_qsv", "libx264"), "libx264": ("libx264",)}
#: The encoders that can be lost while nothing is encoded. A CPU stays where it is.
HARDWARE = frozenset({"h264_qsv"})
#: When a door was last known to encode, after something that speaks against it.
DOUBTED_S = -math.inf


@dataclass(slots=True)
class _Door:
    """`tried_s` is the end of the last trial, `sound_s` when it was last known to encode (monotonic seconds)."""

    open: bool = False
    reason: str = "not tried yet"
    remedy: str = ""
    tried_s: float | None = None
    sound_s: float = 0.0


class Gate:
    """
    All doors. Times are monotonic seconds.

    `log` takes FFmpeg's lines of the last trial; `look` gathers the facts of the machine, anew each time.
    """

    def __init__(self, preflight: PreflightSettings, log: Path, look: Callable[[], GpuFacts] = look) -> None:
        self._preflight = preflight
        self._log = log
        self._look = look
        self._doors: dict[VideoRequest, _Door] = {}
        self._gpu: GpuHere | None = None
        self._gpu_s: float | None = None  # when the GPU was last looked for
        self._trial: tuple[VideoRequest, Child] | None = None

    @property
    def trial(self) -> Child | None:
        """The child of the trial that runs now, for the daemon to wait on."""
        return self._trial[1] if self._trial is not None else None

    def video_for(self, encode: EncodeSettings, now_s: float) -> VideoRequest | None:
        """Return what jobs with these settings ask for now, None while they have to wait."""
        for video in self._choices(encode):
            door = self._door(video)
            if self._is_stale(video, now_s):
                return None  # a better one is still to be tried
            if door.open:
                return video
        return None

    def reason(self, encode: EncodeSettings) -> str:
        """Return why the best encoder of these settings is not used, "" when its door is open."""
        return self._door(self._choices(encode)[0]).reason

    def why_closed(self, encode: EncodeSettings) -> tuple[str, str]:
        """
        Return (reason, remedy) for settings whose jobs wait; ("", "") when they do not.

        While an encoder's first trial is still to come nothing is wrong yet.
        """
        doors = [self._door(video) for video in self._choices(encode)]
        if any(door.open or door.tried_s is None for door in doors):
            return "", ""
        return " ".join(door.reason for door in doors), doors[0].remedy

    def close(self, encoder: str, reason: str, remedy: str, now_s: float) -> None:
        """Close the encoder's doors after a device failure; the next trial is due after `recheck_s`."""
        doors = [door for video, door in self._doors.items() if video.encoder == encoder]
        if any(door.open for door in doors):
            get_logger().error("gate.closed", encoder=encoder, reason=reason, remedy=remedy)
        for door in doors:
            door.open, door.reason, door.remedy, door.tried_s = False, reason, remedy, now_s

    def doubt(self, video: VideoRequest) -> None:
        """Have the next job wait for a trial: an attempt died or stood still, and it may have been the GPU."""
        if video.encoder in HARDWARE:
            self._door(video).sound_s = DOUBTED_S

    def tick(self, now_s: float, wanted: Collection[EncodeSettings], busy: Iterable[VideoRequest] = ()) -> None:
        """
        Take a running trial's result, or start the next one that jobs with the `wanted` settings wait for.

        Those that encode right now (`busy`) need no trial to show it.
        """
        for video in busy:
            if self._door(video).sound_s != DOUBTED_S:  # another attempt that goes on does not undo a crash
                self._door(video).sound_s = now_s
        if self._trial is not None:
            video, child = self._trial
            outcome = child.poll(now_s)
            if outcome is not None:
                self._trial = None
                self._conclude(video, outcome, now_s, child.build)
            return
        if wanted:
            self._look_for_gpu(now_s, wanted)
        due = self._next_trial(now_s, wanted)
        if due is not None:
            self._start(due, now_s)

    def stop(self) -> None:
        """End a running trial."""
        if self._trial is not None:
            self._trial[1].kill()
            self._trial = None

    def _choices(self, encode: EncodeSettings) -> list[VideoRequest]:
        return [video_request(encode, encoder, self._gpu) for encoder in CHOICES[encode.encoder]]

    def _door(self, video: VideoRequest) -> _Door:
        return self._doors.setdefault(video, _Door())

    def _is_stale(self, video: VideoRequest, now_s: float) -> bool:
        """Whether only a trial can tell if this door is open."""
        door = self._door(video)
        if not door.open:
            return door.tried_s is None
        return video.encoder in HARDWARE and now_s - door.sound_s > self._preflight.recheck_s

    def _look_for_gpu(self, now_s: float, wanted: Collection[EncodeSettings]) -> None:
        """What `auto` means depends on the GPU, and a GPU may come and go."""
        if all(encode.encoder not in ("h264_qsv", "auto") for encode in wanted):
            return
        if self._gpu_s is None or now_s - self._gpu_s >= self._preflight.recheck_s:
            self._gpu, self._gpu_s = gpu_of(self._look()), now_s

    def _next_trial(self, now_s: float, wanted: Iterable[EncodeSettings]) -> VideoRequest | None:
        """One that was never tried goes first: `auto` must not wait for a GPU that is tried again and again."""
        due: list[VideoRequest] = []
        for encode in wanted:
            for video in self._choices(encode):
                door = self._door(video)
                if self._is_stale(video, now_s):
                    return video
                if door.open:
                    break
                if door.tried_s is not None and now_s - door.tried_s >= self._preflight.recheck_s:
                    due.append(video)
        return due[0] if due else None

    def _start(self, video: VideoRequest, now_s: float) -> None:
        limit_s = self._preflight.trial_limit_s
        limits = Limits(startup_s=limit_s, stall_s=limit_s, drain_s=limit_s)
        try:
            self._log.unlink(missing_ok=True)
            self._trial = (video, Child(TrialRequest(video=video), limits, now_s=now_s, log=self._log))
        except OSError as error:  # no room for the log, or no process to be had
            failure = device(
                f"The trial encode could not be started: {error}.",
                remedy="Look for a full disk or a lack of memory (df -h, free -h); it is tried again by itself.",
            )
            self._settle(self._door(video), video, failure.message, failure.remedy, now_s)

    def _conclude(self, video: VideoRequest, outcome: object, now_s: float, build: Build | None = None) -> None:
        door = self._door(video)
        if isinstance(outcome, TrialDone):
            log = get_logger().debug if door.open else get_logger().info
            log(
                "gate.opened",
                encoder=video.encoder,
                trial_s=outcome.wall_s,
                psnr_db=outcome.psnr_db,
                granted=outcome.granted,
                differences=outcome.differences,
            )
            door.open, door.reason, door.remedy, door.tried_s, door.sound_s = True, "", "", now_s, now_s
            return
        assert isinstance(outcome, EncodeFailed)
        reason, remedy = outcome.message, outcome.remedy
        if video.encoder in HARDWARE:
            reason, remedy = diagnosed(outcome, build, video.low_power, self._look())
        self._settle(door, video, reason, remedy, now_s)

    def _settle(self, door: _Door, video: VideoRequest, reason: str, remedy: str, now_s: float) -> None:
        """A trial failed: the door is closed, and everyone is told once."""
        if door.tried_s is None or _without_figures(door.reason) != _without_figures(reason):
            get_logger().error("gate.closed", encoder=video.encoder, reason=reason, remedy=remedy)
        door.open, door.reason, door.remedy, door.tried_s = False, reason, remedy, now_s


def _without_figures(reason: str) -> str:
    """The same fault with other seconds or decibels is no news."""
    return re.sub(r"\d+", "", reason)
