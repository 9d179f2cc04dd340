"""
Whether our pictures are theirs, each at its time: pure.

Both sides are thumbnails with times. A stretch of the source is what has no break of its clock in it; within a stretch
our times must be theirs plus one constant.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tests.compare.facts import THUMB, Pictures

Times = NDArray[np.float64]

#: A step of the source's clock backwards by this, or forward by BREAK_S, begins a new stretch.
BACK_S = 0.001
BREAK_S = 10.0
#: How much two stretches of one clock may be apart after a step forward that is no jump.
KEPT_S = 0.1
#: Thumbnails are the same where they correlate so much, and others where so little.
SAME, OTHER = 0.90, 0.60
#: A thumbnail of so little contrast (standard deviation of luma) is compared by its brightness.
FLAT = 4.0
#: How many pictures in a row must be wrong before it is said: a scene's first picture may be blended or repeated.
RUN = 3
#: How many beginnings of a stretch are tried, and how many of its pictures are looked at for each.
TRIED, LOOKED = 40, 40
#: How far from its time a picture is searched, in pictures.
NEAR = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Pictures `first`…`last` (exclusive) of the source are `offset_s` later in the output."""

    first: int
    last: int
    offset_s: float
    matched: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Matching:
    """How the pictures of both sides belong together; `differences` are sentences."""

    stretches: list[Stretch]
    differences: list[str]
    worst_s: float = 0.0

    def offset_at(self, at_s: float, times: Times) -> float:
        """The offset of the stretch that the source's time `at_s` is in, or nearest to."""

        def away(stretch: Stretch) -> float:
            first, last = times[stretch.first], times[stretch.last - 1]
            return float(max(first - at_s, at_s - last, 0.0))

        return min(self.stretches, key=away).offset_s if self.stretches else 0.0


def compare(theirs: Pictures, ours: Pictures, method: str, lost_s: float, mapped: bool = False) -> Matching:
    """
    Match by times, then look whether it is the same picture; where tones were `mapped`, by what is lighter than what.

    `method` is how we deinterlaced ("field" gives two for each, "ivtc" four for five); `lost_s` is what the receipt
    calls damaged or missing, in seconds: so much may be missing.
    """
    source, target = _timed(theirs.at_s, theirs.step_s), ours.at_s
    if not len(source) or not len(target):
        return Matching(stretches=[], differences=[f"{len(source)} pictures there, {len(target)} here"])
    if mapped:
        theirs, ours = (replace(side, luma=_ranked(side.luma)) for side in (theirs, ours))
    step_s = theirs.step_s
    stretches: list[Stretch] = []
    for first, last in _unbroken(source):
        before = stretches[-1].offset_s if stretches else None
        stretches.append(_placed(theirs, ours, source, first, last, before))
    differences = list(_jumps(stretches, source))
    nearest, away_s = _nearest(stretches, source, target)
    allowed_s = step_s * (1.05 if method == "ivtc" else 0.5) + 0.002
    late = np.flatnonzero(away_s > allowed_s)
    tolerated = lost_s / step_s + 1
    if len(late) > tolerated:
        differences.append(f"{len(late)} of {len(source)} pictures have none of ours within half a frame: "
                           f"{_places(late, source)}, up to {away_s[late].max():.3f} s")  # fmt: skip
    differences += _counts(len(source), len(target), method, tolerated, source, stretches, target, step_s)
    differences += _steps(target)
    differences += _content(theirs, ours, nearest, source, late)
    return Matching(stretches=stretches, differences=differences, worst_s=float(away_s.max()))


def _timed(times: Times, step_s: float) -> Times:
    """Pictures without a time follow the one before."""
    found = times.copy()
    for index in np.flatnonzero(np.isnan(found)):
        found[index] = found[index - 1] + step_s if index else 0.0
    return found


def _unbroken(times: Times) -> list[tuple[int, int]]:
    steps = np.diff(times)
    breaks = [int(index) + 1 for index in np.flatnonzero((steps < -BACK_S) | (steps > BREAK_S))]
    return list(zip([0, *breaks], [*breaks, len(times)], strict=True))


def _placed(theirs: Pictures, ours: Pictures, source: Times, first: int, last: int, before: float | None) -> Stretch:
    """
    Try the offsets that come into question, and take the one with most pictures in their places.

    Pictures come at a steady rate, so many offsets put one in each place: that they are alike decides.
    """
    times, target, step_s = source[first:last], ours.at_s, theirs.step_s
    begin = 0 if before is None else int(np.searchsorted(target, source[first - 1] + before + step_s / 2))
    around = sorted(range(-2, TRIED), key=abs)
    candidates = [] if before is None else [before]
    candidates += [float(target[min(max(0, begin + more), len(target) - 1)] - times[0]) for more in around]
    candidates += [float(target[-1] - times[-1])]
    looked = np.unique(np.linspace(0, len(times) - 1, min(len(times), LOOKED)).astype(np.int64))
    best, found = 0.0, Stretch(first=first, last=last, offset_s=0.0, matched=0)
    for offset_s in candidates:
        for _ in range(2):
            apart = target[_closest(target, times + offset_s)] - times - offset_s
            near = np.abs(apart) <= step_s / 2
            offset_s += float(np.median(apart[near])) if near.any() else 0.0
        index = _closest(target, times + offset_s)
        matched = int((np.abs(target[index] - times - offset_s) <= step_s / 4).sum())
        alike = float(_framed(theirs.luma[first:last][looked], ours.luma[index[looked]]).clip(0, 1).mean())
        if matched * (0.5 + alike) > best * 1.01:  # where nothing moves, the nearest
            best = matched * (0.5 + alike)
            found = Stretch(first=first, last=last, offset_s=offset_s, matched=matched)
    return found


def _closest(target: Times, wanted: Times) -> NDArray[np.int64]:
    if len(target) < 2:
        return np.zeros(len(wanted), np.int64)
    index = np.clip(np.searchsorted(target, wanted), 1, len(target) - 1)
    return np.asarray(index - (wanted - target[index - 1] < target[index] - wanted), np.int64)


def _nearest(stretches: Sequence[Stretch], source: Times, target: Times) -> tuple[NDArray[np.int64], Times]:
    """For each picture of the source the output's nearest, and how far it is from its place."""
    wanted = np.concatenate([source[one.first : one.last] + one.offset_s for one in stretches])
    index = _closest(target, wanted)
    return index, np.abs(target[index] - wanted)


def _jumps(stretches: Sequence[Stretch], source: Times) -> Iterator[str]:
    for before, after in pairwise(stretches):
        step_s = source[after.first] - source[after.first - 1]
        ours_s = step_s + after.offset_s - before.offset_s
        if not -0.5 < ours_s < 130:
            yield f"the clock steps by {step_s:.3f} s at {source[after.first]:.3f} s, ours by {ours_s:.3f} s"


def _counts(
    there: int, here: int, method: str, tolerated: float, source: Times, stretches: Sequence[Stretch], target: Times,
    step_s: float,
) -> Iterator[str]:  # fmt: skip
    due = {"field": 2 * there, "ivtc": round(0.8 * there)}.get(method, there)
    slack = max(tolerated, 0.02 * there if method == "ivtc" else 0) + (1 if method == "field" else 0)
    if not due - slack - 1 <= here:
        yield f"{there} pictures there, {here} here ({method}: {due} are due)"
    elif here > due + slack + 1:
        wanted = np.sort(np.concatenate([source[one.first : one.last] + one.offset_s for one in stretches]))
        strange = int((np.abs(wanted[_closest(wanted, target)] - target) > step_s * 0.55).sum())
        if strange > tolerated or here > due * 1.02 + 2:
            yield f"{there} pictures there, {here} here ({method}: {due} are due); {strange} at no time of theirs"


def _steps(target: Times) -> Iterator[str]:
    backwards = int((np.diff(target) <= 0).sum())
    if backwards:
        yield f"{backwards} of our pictures are not later than the one before"


def _ranked(luma: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Each row's samples by their place from dark to light, 0…255."""
    places = luma.argsort(1, kind="stable").argsort(1, kind="stable")
    return np.asarray(places * 255 // luma.shape[1], np.uint8)


def _likeness(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Row by row: 1 is the same picture; flat ones by their brightness."""
    first, second = one.astype(np.float64), other.astype(np.float64)
    a, b = first - first.mean(1, keepdims=True), second - second.mean(1, keepdims=True)
    power = np.sqrt((a * a).sum(1) * (b * b).sum(1))
    flat = np.minimum(first.std(1), second.std(1)) < FLAT
    alike = (a * b).sum(1) / np.maximum(power, 1e-9)
    return np.asarray(np.where(flat, 1 - np.abs(first - second).mean(1) / 40, alike), np.float64)


def _framed(theirs: NDArray[np.uint8], ours: NDArray[np.uint8]) -> NDArray[np.float64]:
    """As `_likeness`, of the whole picture or of what bars leave of it: 4:3 in 16:9, and 16:9 in 4:3."""
    width, height = THUMB
    pictures = ours.reshape(-1, height, width)
    best = _likeness(theirs, ours)
    for columns, rows in ((width * 3 // 4, height), (width, height * 3 // 4)):
        left, top = (width - columns) // 2, (height - rows) // 2
        across = left + np.arange(width) * columns // width
        down = top + np.arange(height) * rows // height
        inside = pictures[:, down][:, :, across].reshape(len(ours), -1)
        best = np.maximum(best, _likeness(theirs, inside))
    return best


def _content(
    theirs: Pictures, ours: Pictures, nearest: NDArray[np.int64], source: Times, late: NDArray[np.int64]
) -> Iterator[str]:
    """Each picture of theirs is like ours of its time; where it is not, perhaps it is elsewhere."""
    alike = _framed(theirs.luma, ours.luma[nearest])
    alike[late] = 1.0  # already said
    moved: list[int] = []
    other: list[int] = []
    for index in np.flatnonzero(alike < SAME):
        at = int(nearest[index])
        first, last = max(0, at - NEAR), min(len(ours.luma), at + NEAR)
        elsewhere = _likeness(np.repeat(theirs.luma[index : index + 1], last - first, axis=0), ours.luma[first:last])
        best = int(elsewhere.argmax()) + first
        if elsewhere.max() > max(SAME, alike[index] + 0.1) and abs(best - at) > 1:
            moved.append(int(index))
        elif alike[index] < OTHER:
            other.append(int(index))
    if len(other) >= RUN:
        yield f"{len(other)} pictures are not like theirs of the same time: {_places(other, source)}"
    if len(moved) >= RUN:
        yield f"{len(moved)} pictures are shown at another's time: {_places(moved, source)}"
    frozen = _frozen(theirs, ours, nearest)
    if len(frozen) >= 2 * RUN:
        yield f"{len(frozen)} pictures stand still while theirs move: {_places(frozen, source)}"


def _frozen(theirs: Pictures, ours: Pictures, nearest: NDArray[np.int64]) -> list[int]:
    """Pictures at which ours changes by nothing and theirs by something, over RUN pictures."""
    if len(theirs.luma) <= RUN:
        return []
    there = np.abs(theirs.luma[RUN:].astype(np.int16) - theirs.luma[:-RUN]).mean(1)
    here = np.abs(ours.luma[nearest[RUN:]].astype(np.int16) - ours.luma[nearest[:-RUN]]).mean(1)
    return [int(index) + RUN for index in np.flatnonzero((there > 2.0) & (here < 0.05 * there))]


def _places(indices: Sequence[int] | NDArray[np.int64], source: Times) -> str:
    """The first few runs of pictures, as times of the source."""
    runs: list[list[int]] = []
    for index in map(int, indices):
        if runs and index - runs[-1][1] <= 2:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    shown = [f"{source[a]:.3f}" + (f"…{source[b]:.3f}" if b > a else "") for a, b in runs[:4]]
    return "at " + ", ".join(shown) + (f" and {len(runs) - 4} more places" if len(runs) > 4 else "") + " s"
