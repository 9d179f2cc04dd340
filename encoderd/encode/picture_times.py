"""
Whether every picture is shown at its source's time: by what the demuxer and the decoder gave, and what is in the file.

Two lists are walked side by side: the times of the pictures that the decoder gave, on the recording's own clock, and
those of the pictures in the output. Between them lies one distance in each stretch of the recording; it changes only
where the timeline says that the clock jumped.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from encoderd.encode.deinterlacing import Method
from encoderd.findings import Finding, failed, passed, warned

#: Stands for a picture that had no timestamp.
UNTOLD = -(2**63)
#: Containers round times.
ROUNDING_S = 0.0015
#: Pictures without a timestamp may lie so many frames from where a straight line between the others has them.
UNTOLD_FRAMES = 1.0
#: B-pictures are shown among those of the other side of a jump.
MOVED_AT_A_JUMP = 4

_REMEDY = "Keep the recording, and see the job's log: encoderd logs JOB"

Times = npt.NDArray[np.float64]


@dataclass(slots=True)
class SourceTimes:
    """
    The pictures that a decoder gave, in the order shown, in ticks of `time_base`: `source` as the container had them
    (UNTOLD where it had none), `placed` as they went on, on one clock; 16 bytes for each. `zero_s` of that clock is the
    output's zero. `sent_s` is how long the broadcaster's clock ran beside them, 0 when unknown.
    """

    time_base: Fraction = Fraction(1, 90_000)
    zero_s: Fraction = Fraction(0)
    sent_s: float = 0.0
    source: array[int] = field(default_factory=lambda: array("q"))
    placed: array[int] = field(default_factory=lambda: array("q"))

    def note(self, source: int | None, placed: int | None, time_base: Fraction) -> None:
        """Take the next picture. The first one's time base becomes that of all."""
        if not self.source:
            self.time_base = time_base
        if source is None or placed is None:
            source = placed = UNTOLD
        elif time_base != self.time_base:
            source, placed = (round(ticks * time_base / self.time_base) for ticks in (source, placed))
        self.source.append(source)
        self.placed.append(placed)


@dataclass(slots=True)
class OutputTimes:
    """The pictures of the output, in ticks of `time_base`, in the order of the file."""

    time_base: Fraction = Fraction(1, 90_000)
    ticks: array[int] = field(default_factory=lambda: array("q"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """
    What is known to be otherwise: `jumps`, `gaps` and `outliers` of the clock, pictures that were `lost` and counted,
    repeats of film that were `left_out`, and pictures `held` in gaps.
    """

    jumps: int = 0
    gaps: int = 0
    outliers: int = 0
    lost: int = 0
    left_out: int = 0
    held: int = 0


def judge_times(source: SourceTimes, output: OutputTimes, frame_s: float, method: Method, allowed: Allowed) -> Finding:
    """
    Compare all pictures; `frame_s` is how long one of the recording's is shown.

    A picture may be half a frame from its source's time, a quarter where fields become pictures, a whole one in film.
    """
    if not source.source or not output.ticks:
        return passed("times", "nothing to compare")
    moved = _moved(source, frame_s)
    if moved > MOVED_AT_A_JUMP * (allowed.jumps + allowed.outliers):
        text = f"pictures are moved against each other {moved} times, where the clock jumped {allowed.jumps} times"
        return failed("times", text, _REMEDY)
    tolerance_s = frame_s * {Method.FIELD: 0.25, Method.IVTC: 1.0}.get(method, 0.5) + ROUNDING_S
    due, slack = _due(source, frame_s, tolerance_s)
    if due is None or slack is None:
        return passed("times", "the recording tells no times")
    found = np.sort(np.asarray(output.ticks, np.int64) * float(output.time_base))
    span_s = float(found[-1] - found[0])
    if source.sent_s and not allowed.jumps + allowed.gaps and span_s - source.sent_s > _more_s(source.sent_s):
        text = f"pictures take {span_s:.3f} s, and the broadcaster's clock ran for {source.sent_s:.3f} s"
        return failed("times", text, _REMEDY)
    missing, strays, furthest_s = _compared(due, slack, found)
    lost = len(missing) - allowed.left_out
    beside = len(strays) - allowed.held - (len(due) if method is Method.FIELD else 0)
    text = f"{len(due)} pictures of the recording, {len(found)} in the output, at most {furthest_s * 1000:.1f} ms apart"
    if lost > allowed.lost or beside > 0:
        first_s = min(missing if lost > allowed.lost else strays)
        text += f"; {len(missing)} are not where they belong and {len(strays)} are where none belongs"
        # All of them, each less than a picture's time beside its own: nobody sees it, but it is not what was planned.
        near = len(found) == len(due) and float(np.abs(found - due).max()) < frame_s
        return (warned if near else failed)("times", f"{text}, the first at {first_s:.3f} s", _REMEDY)
    return passed("times", text + (f", {lost} lost and counted" if lost > 0 else ""))


def _more_s(sent_s: float) -> float:
    """Pictures are sent up to two seconds before they are shown, and clocks of both kinds may drift."""
    return max(2.0, sent_s / 100)


def _moved(source: SourceTimes, frame_s: float) -> int:
    """Return how often the distance between the recording's clock and the output's changes."""
    before = np.asarray(source.source, np.int64)
    told = before != UNTOLD
    offsets = np.asarray(source.placed, np.int64)[told] - before[told]
    return int((np.abs(np.diff(offsets)) * float(source.time_base) > frame_s / 2).sum())


def _due(source: SourceTimes, frame_s: float, tolerance_s: float) -> tuple[Times, Times] | tuple[None, None]:
    """Return when each picture has to be shown, sorted, and how far from that it may be; both in seconds."""
    placed = np.asarray(source.placed, np.int64)
    numbers = np.arange(len(placed))
    told = np.flatnonzero(placed != UNTOLD)
    if not len(told):
        return None, None
    due = np.interp(numbers, told, placed[told] * float(source.time_base) - float(source.zero_s))
    step_s = float(np.median(np.diff(due[told]) / np.diff(told))) if len(told) > 1 else frame_s
    due[: told[0]] -= (told[0] - numbers[: told[0]]) * step_s
    due[told[-1] :] += (numbers[told[-1] :] - told[-1]) * step_s
    slack = np.full(len(placed), max(tolerance_s, UNTOLD_FRAMES * frame_s))
    slack[told] = tolerance_s
    for number in np.flatnonzero(np.diff(told) > 1):
        before, after = told[number], told[number + 1]
        if due[after] - due[before] > 1.5 * frame_s * (after - before):
            slack[before + 1 : after] = due[after] - due[before]  # some were lost, nobody can say which
    order = np.argsort(due, kind="stable")
    return due[order], slack[order]


def _compared(due: Times, slack: Times, found: Times) -> tuple[list[float], list[float], float]:
    """Return the times of pictures that are missing, of those that nobody sent, and the furthest distance of others."""
    missing: list[float] = []
    strays: list[float] = []
    furthest_s, at = 0.0, 0
    shown = found.tolist()
    for due_s, slack_s in zip(due.tolist(), slack.tolist(), strict=True):
        while at < len(shown) and shown[at] < due_s - slack_s:
            strays.append(shown[at])
            at += 1
        if at < len(shown) and shown[at] <= due_s + slack_s:
            furthest_s = max(furthest_s, abs(shown[at] - due_s))
            at += 1
        else:
            missing.append(due_s)
    return missing, strays + shown[at:], furthest_s
