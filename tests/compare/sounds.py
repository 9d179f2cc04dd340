"""Whether a track of ours sounds like theirs, and when: pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tests.compare.facts import SOUND_HZ, Sound

#: Windows of so many seconds are looked at, at most MOST of them, and searched so far to both sides.
WINDOW_S, MOST, SEARCH_S = 1.0, 120, 0.6
#: Full scale is 1; what is quieter than this is silence.
LOUD = 0.002
#: Two windows are the same sound where they correlate so much: quiet noise survives few bits badly.
SAME = 0.35


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """
    Where ours is against theirs: `late_s` for each window that was found, at `at_s` of the source's clock.

    `silent_s` are windows in which ours is silent and theirs is not, `other_s` those in which it is another sound.
    """

    at_s: list[float]
    late_s: list[float]
    silent_s: list[float]
    other_s: list[float]


def compare(theirs: Sound, ours: Sound, offset: Callable[[float], float]) -> Heard:
    """Look at windows of the source; `offset` says where a time of the source lies in the output."""
    heard = Heard(at_s=[], late_s=[], silent_s=[], other_s=[])
    windows = [
        begin_s
        for first_s, last_s in _runs(theirs)
        for begin_s in np.arange(first_s, max(first_s + 0.3, last_s - WINDOW_S / 2), WINDOW_S).tolist()
    ]
    for begin_s in windows[:: max(1, len(windows) // MOST)]:
        wanted = theirs.between(begin_s, begin_s + WINDOW_S)
        if wanted.std() < LOUD:
            continue
        place_s = begin_s + offset(begin_s)
        around = ours.between(place_s - SEARCH_S, place_s + WINDOW_S + SEARCH_S)
        middle = around[round(SEARCH_S * SOUND_HZ) : round(SEARCH_S * SOUND_HZ) + len(wanted)]
        if middle.std() < 0.02 * wanted.std():
            heard.silent_s.append(begin_s)
        late = _late(wanted, around)
        if late is None:
            heard.other_s.append(begin_s)
        else:
            heard.at_s.append(begin_s)
            heard.late_s.append(late - SEARCH_S)
    return heard


def _runs(sound: Sound) -> list[tuple[float, float]]:
    """Begin and end of what lies together, holes of less than a window in it."""
    runs: list[tuple[float, float]] = []
    for at_s, samples in sound.pieces:
        end_s = at_s + len(samples) / SOUND_HZ
        if runs and 0 <= at_s - runs[-1][1] + WINDOW_S < 2 * WINDOW_S:
            runs[-1] = (runs[-1][0], max(end_s, runs[-1][1]))
        else:
            runs.append((at_s, end_s))
    return runs


def _late(wanted: NDArray[np.float32], around: NDArray[np.float32]) -> float | None:
    """
    Where in `around` the window `wanted` is, in seconds; None where it is nowhere.

    Of a tone, which fits in many places, the place nearest to the middle is taken.
    """
    if around.std() < LOUD / 10:
        return None
    size = len(around) + len(wanted)
    wanted, around = wanted - wanted.mean(), around - around.mean()
    found = np.fft.irfft(np.fft.rfft(around, size) * np.conj(np.fft.rfft(wanted, size)), size)
    found = found[: len(around) - len(wanted) + 1]
    power = np.concatenate([[0.0], np.cumsum(around.astype(np.float64) ** 2)])
    level = np.sqrt(np.maximum(power[len(wanted) :] - power[: -len(wanted)], 1e-9) * float((wanted**2).sum()))
    alike = np.abs(found) / np.maximum(level, 1e-6)
    if alike.max() < SAME:
        return None
    good = np.flatnonzero(alike >= 0.97 * alike.max())
    return float(good[np.abs(good - len(alike) // 2).argmin()]) / SOUND_HZ
