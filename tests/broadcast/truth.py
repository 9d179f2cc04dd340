"""
What a viewer has to get of a recording, as values. Times are seconds since the recording's first moment, as broadcast.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from tests.broadcast import making
from tests.broadcast.making import BT709, Event, Part, Piece


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """
    An audio track of the output. Bursts are heard from `since_s`; `voice` tells which of the languages it is.
    `dispositions` are FFmpeg's words for what it is for, as they can be read in the output.
    """

    codec: str = "aac"
    language: str = "jpn"
    channels: int = 2
    voice: int = 0
    since_s: Fraction = Fraction(0)
    title: str = ""
    dispositions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """
    What a viewer has to get.

    In the windows `lost` pictures and sounds may be missing or spoilt; outside of them `missing` pictures may, and
    `unread` be spoilt. `shapes` are the display aspect ratios of `pieces`. `tells` are the lists and counts of the
    receipt's facts that must say something, `rejected` is a word of the reason where there is no output. `says` are
    words of the findings.
    """

    pieces: tuple[Piece, ...]
    size: tuple[int, int]
    tracks: tuple[Track, ...] = (Track(),)
    sample_aspect_ratio: Fraction = Fraction(1)
    colours: tuple[int, int, int] = BT709
    shapes: tuple[Fraction, ...] = ()
    lost: tuple[tuple[Fraction, Fraction], ...] = ()
    missing: int = 0
    unread: int = 0
    silent: int = 0
    #: The first picture may be shown so long after the first sound.
    late_picture_s: Fraction = Fraction(1, 10)
    #: Times are exact to half a frame; from film to fields and back they are so to a field more.
    tolerance_frames: Fraction = Fraction(1, 2)
    tells: tuple[str, ...] = ()
    rejected: str = ""
    #: The track that is played first, the only one that is marked so.
    first_track: int = 0
    #: Chapters that the output has: when each begins, since the recording's first moment, and its title.
    chapters: tuple[tuple[Fraction, str], ...] = ()
    #: Words of the output's head, at least.
    words: tuple[tuple[str, str], ...] = ()
    #: Words that the receipt has to have somewhere, and which are the PIDs or names of what was left out.
    names: tuple[str, ...] = ()
    #: Findings that have a doubt, and forbid the recording's disposal. None: nobody looks.
    doubts: tuple[str, ...] | None = None
    says: tuple[str, ...] = ()

    @property
    def events(self) -> list[Event]:
        return making.events_of(self.pieces)

    @property
    def duration_s(self) -> Fraction:
        return self.pieces[-1].end_s - self.pieces[0].at_s

    def shown_at(self, number: int) -> Fraction | None:
        """When a picture has to be shown, None for one that the recording does not have."""
        for piece in self.pieces:
            if piece.number <= number < piece.number + piece.frames:
                return piece.at_s + (number - piece.number) / piece.rate
        return None

    def may_be_lost(self, at_s: Fraction) -> bool:
        return any(begin <= at_s < end for begin, end in self.lost)


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """
    A recording and its truth; `captions` are the payloads that were sent, by PID; `shown` is what a decoder shows of
    the first of them, as `sights.captions_shown` tells it, on the recording's clock.
    """

    data: bytes
    truth: Truth
    captions: dict[int, list[bytes]] = field(default_factory=dict)
    shown: tuple[tuple[Fraction, Any], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How to make a recording, the ending of its name, and what to ask of the encode (fields of a request)."""

    make: Callable[[], Made]
    suffix: str = ".ts"
    asked: dict[str, Any] = field(default_factory=dict)


def truth_of(parts: Sequence[Part], **more: Any) -> Truth:
    """The truth of a recording that loses nothing, with the geometry of the part that lasts longest."""
    pieces = tuple(making.pieces_of(parts))
    main = max(parts, key=lambda part: _time_of(parts, part))
    shapes = tuple(Fraction(*part.size) * part.sample_aspect_ratio for part in parts)
    values: dict[str, Any] = {
        "pieces": pieces,
        "size": main.size,
        "sample_aspect_ratio": main.sample_aspect_ratio,
        "colours": main.colours,
        "shapes": shapes,
    }
    return Truth(**{**values, **more})


def _time_of(parts: Sequence[Part], like: Part) -> Fraction:
    form = (like.size, like.sample_aspect_ratio)
    return sum(
        (part.frames / part.rate for part in parts if (part.size, part.sample_aspect_ratio) == form), Fraction(0)
    )
