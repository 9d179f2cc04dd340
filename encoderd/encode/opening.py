"""
The first moments of a recording: held until it is known where the output begins.

Broadcasts are joined in mid-GOP: the first packets cannot be decoded, so the container's start time is not when
anything is seen or heard. The earliest picture that a decoder gave, or the earliest sound, is the output's zero.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

#: How long after the first picture the first packet of each audio track is waited for; transport streams send sound
#: later than the pictures it belongs to, by less than this.
WAIT_S = Fraction(1, 2)
#: Held at most: a recording may have no picture for long, and its sound must not fill the memory.
MOST_PACKETS = 4000
MOST_PICTURES = 20


class Opening:
    """Holds (track, packet or frame) in order; `over` says when the output's zero is known."""

    def __init__(self, audio_tracks: int) -> None:
        self.held: list[tuple[int, Any]] = []
        self._audio_tracks = audio_tracks
        self._awaited = set(range(audio_tracks + 1))
        self._first_picture_s: Fraction | None = None
        self._pictures = 0
        self._waited = False

    def hold(self, track: int, item: Any) -> None:
        """Keep an item of track 0 (a frame) or of another one (a packet); times are read, not changed."""
        self.held.append((track, item))
        self._awaited.discard(track)
        if track == 0:
            self._pictures += 1
            at_s = _shown_s(item)
            if self._first_picture_s is None:
                self._first_picture_s = at_s
            elif at_s is not None and at_s - self._first_picture_s >= WAIT_S:
                self._waited = True

    @property
    def over(self) -> bool:
        """Whether a picture and each sound were seen, or no more is waited for."""
        if len(self.held) >= MOST_PACKETS or self._pictures >= MOST_PICTURES:
            return True
        return self._first_picture_s is not None and (not self._awaited or self._waited)

    @property
    def starts_at_s(self) -> Fraction:
        """The earliest picture's or sound's time; captions do not count."""
        times = (_shown_s(item) for track, item in self.held if track <= self._audio_tracks)
        return min((at_s for at_s in times if at_s is not None), default=Fraction(0))


def _shown_s(item: Any) -> Fraction | None:
    return None if item.pts is None or item.time_base is None else Fraction(item.pts * item.time_base)
