"""What a recording says about its own tracks, captions and chapters, each with what a viewer has to get."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from tests.broadcast import transport
from tests.broadcast.containers import Head, Said, remuxed
from tests.broadcast.making import Part
from tests.broadcast.studio import SECOND_PID, audio, frames, service, steady, video
from tests.broadcast.truth import Made, Recipe, Track, truth_of
from tests.sections import descriptor

SHORT = Part(frames=frames(5))
TWO_VOICES = (Track(), Track(language="eng", voice=1))
#: MP4 has one word for both, Matroska's sound has the first alone.
DESCRIPTION_IN_MP4 = ("visual_impaired", "descriptions")


def _spoken(kind: int, code: str) -> bytes:
    """An ISO 639 language descriptor with its audio_type."""
    return descriptor(0x0A, code.encode() + bytes([kind]))


# --- what a track is for


def audio_description() -> Made:
    """The description comes first in the table, in its own voice; the programme's sound is the second."""
    described = replace(audio([SHORT], voice=1), descriptors=_spoken(3, "jpn"))
    main = replace(audio([SHORT], pid=SECOND_PID), descriptors=_spoken(0, "jpn"))
    data = transport.multiplexed(service(video([SHORT]), described, main), clock=steady())
    tracks = (Track(voice=1, dispositions=DESCRIPTION_IN_MP4), Track())
    return Made(data=data, truth=truth_of([SHORT], tracks=tracks, first_track=1, doubts=()))


def receiver_mix() -> Made:
    """A supplementary audio descriptor: the narrator alone, to be mixed with the first track by the receiver."""
    mixed = descriptor(0x7F, bytes([0x06, 1 << 2 | 1]) + b"eng")
    main = audio([SHORT])
    narrator = replace(audio([SHORT], pid=SECOND_PID, voice=1), descriptors=_spoken(0, "eng") + mixed)
    data = transport.multiplexed(service(video([SHORT]), main, narrator), clock=steady())
    narrated = Track(language="eng", voice=1, title="to be mixed with the main sound", dispositions=DESCRIPTION_IN_MP4)
    return Made(data=data, truth=truth_of([SHORT], tracks=(Track(), narrated), doubts=()))


# --- what other containers say

HEAD = {"title": "Tides", "artist": "A. Gull", "date": "2021-03-04", "genre": "Nature", "comment": "Kept twice"}


def _two_sounds(parts: list[Part]) -> bytes:
    sounds = audio(parts), audio(parts, pid=SECOND_PID, voice=1, codes=("eng",))
    return transport.multiplexed(service(video(parts, "libx264"), *sounds), clock=steady())


def said_in_matroska(start_s: int = 0) -> Made:
    """Titles, flags, chapters and words, the default on the second track; the clock begins at `start_s`."""
    start = Fraction(start_s)
    chapters = [(start, start + 2, "Ebb"), (start + 2, start + 4, "Flood"), (start + 4, start + 5, "Slack")]
    said = [
        Said(),
        Said(language="jpn", title="Chat", dispositions=("comment",)),
        Said(language="eng", title="Sea", dispositions=("default",)),
    ]
    data = remuxed(_two_sounds([SHORT]), "matroska", said, Head(words=HEAD, chapters=chapters), start)
    tracks = (
        Track(title="Chat", dispositions=("comment",)),
        Track(language="eng", voice=1, title="Sea"),
    )
    truth = truth_of([SHORT], tracks=tracks, first_track=1, words=tuple(HEAD.items()))
    at_s = (Fraction(0), Fraction(2), Fraction(4))
    return Made(data=data, truth=replace(truth, chapters=tuple(zip(at_s, ("Ebb", "Flood", "Slack"), strict=True))))


def said_in_mp4() -> Made:
    """The same in MP4, whose pictures begin 3 s after its clock: an edit list says so."""
    said = [
        Said(),
        Said(language="jpn", title="Sea", dispositions=("default",)),
        Said(language="eng", title="For all", dispositions=("hearing_impaired",)),
    ]
    chapters = [(Fraction(3), Fraction(5), "Ebb"), (Fraction(5), Fraction(7), "Flood")]
    data = remuxed(_two_sounds([SHORT]), "mp4", said, Head(words=HEAD, chapters=chapters), Fraction(3))
    tracks = (
        Track(title="Sea"),
        Track(language="eng", voice=1, title="For all", dispositions=("hearing_impaired",)),
    )
    moved = tuple((at_s - 3, title) for at_s, _, title in chapters)
    return Made(data=data, truth=truth_of([SHORT], tracks=tracks, words=tuple(HEAD.items()), chapters=moved))


CATALOGUE: dict[str, Recipe] = {
    "audio_description": Recipe(make=audio_description),
    "receiver_mix": Recipe(make=receiver_mix),
    "said_in_matroska": Recipe(make=said_in_matroska, suffix=".mkv"),
    "said_in_matroska_later": Recipe(make=lambda: said_in_matroska(1), suffix=".mkv", asked={"container": "mkv"}),
    "said_in_mp4": Recipe(make=said_in_mp4, suffix=".mp4", asked={"container": "mkv"}),
}
