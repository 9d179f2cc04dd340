"""
The gate: nothing is claimed for an encoder until a trial encode has shown that it encodes.

A device failure closes it; a trial every `recheck_s` opens it again. Trials run in a child with a time limit.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from encoderd.encode.failures import EncodeFailed, device
from encoderd.encode.messages import TrialDone, TrialRequest
from encoderd.encode.supervisor import Child, Limits
from encoderd.logs import get_logger
from encoderd.settings import EncodeSettings, PreflightSettings

#: Which encoders a setting of `encode.encoder` may use, best first.
CHOICES = {"h264_qsv": ("h264_qsv",), "auto": ("h264_qsv", "libx264"), "libx264": ("libx264",)}


@dataclass(slots=True)
class _Door:
    open: bool = False
    reason: str = "not tried yet"
    remedy: str = ""
    tried_s: float | None = None  # monotonic time of the last trial's end


class Gate:
    """One door per encoder. All times are monotonic seconds. `log` takes FFmpeg's lines of the last trial."""

    def __init__(self, preflight: PreflightSettings, encode: EncodeSettings, log: Path) -> None:
        self._preflight = preflight
        self._encode = encode
        self._log = log
        self._doors = {"h264_qsv": _Door(), "libx264": _Door()}
        self._trial: tuple[str, Child] | None = None

    @property
    def trial(self) -> Child | None:
        """The child of the trial that runs now, for the daemon to wait on."""
        return self._trial[1] if self._trial is not None else None

    def encoder_for(self, setting: str) -> str | None:
        """Return the encoder that jobs with this `encode.encoder` use now, None while they have to wait."""
        for encoder in CHOICES[setting]:
            if self._doors[encoder].open:
                return encoder
            if self._doors[encoder].tried_s is None:
                return None  # a better one has not been tried yet
        return None

    def reason(self, encoder: str) -> str:
        """Return why this encoder's door is closed, "" when it is open."""
        return self._doors[encoder].reason

    def why_closed(self, setting: str) -> tuple[str, str]:
        """
        Return (reason, remedy) for a setting whose jobs wait; ("", "") when they do not.

        While an encoder's first trial is still to come nothing is wrong yet.
        """
        doors = [self._doors[encoder] for encoder in CHOICES[setting]]
        if any(door.open or door.tried_s is None for door in doors):
            return "", ""
        return " ".join(door.reason for door in doors), doors[0].remedy

    def close(self, encoder: str, reason: str, remedy: str, now_s: float) -> None:
        """Close the door after a device failure; the next trial is due after `recheck_s`."""
        door = self._doors[encoder]
        if door.open:
            get_logger().error("gate.closed", encoder=encoder, reason=reason, remedy=remedy)
        door.open, door.reason, door.remedy, door.tried_s = False, reason, remedy, now_s

    def tick(self, now_s: float, settings_in_use: Collection[str]) -> None:
        """Take a running trial's result, or start the next one that jobs with these settings wait for."""
        if self._trial is not None:
            encoder, child = self._trial
            outcome = child.poll(now_s)
            if outcome is not None:
                self._trial = None
                self._conclude(encoder, outcome, now_s)
            return
        due = self._next_trial(now_s, settings_in_use)
        if due is not None:
            self._start(due, now_s)

    def _next_trial(self, now_s: float, settings_in_use: Collection[str]) -> str | None:
        """One that was never tried goes first: `auto` must not wait for a GPU that is tried again and again."""
        due: list[str] = []
        for setting in sorted(settings_in_use):
            for encoder in CHOICES[setting]:
                door = self._doors[encoder]
                if door.open:
                    break
                if door.tried_s is None:
                    return encoder
                if now_s - door.tried_s >= self._preflight.recheck_s:
                    due.append(encoder)
        return due[0] if due else None

    def stop(self) -> None:
        """End a running trial."""
        if self._trial is not None:
            self._trial[1].kill()
            self._trial = None

    def _start(self, encoder: str, now_s: float) -> None:
        limit_s = self._preflight.trial_limit_s
        request = TrialRequest(encoder=encoder, quality=self._encode.quality, preset=self._encode.preset)
        limits = Limits(startup_s=limit_s, stall_s=limit_s, drain_s=limit_s)
        try:
            self._log.unlink(missing_ok=True)
            self._trial = (encoder, Child(request, limits, now_s=now_s, log=self._log))
        except OSError as error:  # no room for the log, or no process to be had
            failure = device(
                f"The trial encode could not be started: {error}.",
                remedy="Look for a full disk or a lack of memory (df -h, free -h); it is tried again by itself.",
            )
            self._conclude(encoder, failure, now_s)

    def _conclude(self, encoder: str, outcome: object, now_s: float) -> None:
        door = self._doors[encoder]
        first = door.tried_s is None
        door.tried_s = now_s
        if isinstance(outcome, TrialDone):
            door.open, door.reason, door.remedy = True, "", ""
            get_logger().info(
                "gate.opened", encoder=encoder, trial_s=outcome.wall_s, psnr_db=outcome.psnr_db, granted=outcome.granted
            )
            return
        assert isinstance(outcome, EncodeFailed)
        changed = door.reason != outcome.message
        door.open, door.reason, door.remedy = False, outcome.message, outcome.remedy
        if first or changed:
            get_logger().error("gate.closed", encoder=encoder, reason=outcome.message, remedy=outcome.remedy)
