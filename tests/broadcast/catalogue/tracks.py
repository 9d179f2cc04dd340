"""What a recording says about its own tracks, captions and chapters, each with what a viewer has to get."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

from tests.broadcast import making, transport
from tests.broadcast.captions import arib_units, pgs_units, teletext_units
from tests.broadcast.containers import CAN_ATTACH, CAN_CHAPTERS, Head, Said, remuxed, with_atoms
from tests.broadcast.making import Part
from tests.broadcast.studio import AUDIO_PID, SECOND_PID, audio, frames, service, steady, video
from tests.broadcast.transport import FOREVER, HZ, PRIVATE, Elementary, Unit
from tests.broadcast.truth import Made, Recipe, Track, truth_of
from tests.sections import component_tag, descriptor

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
    names = ("no flag in mp4 for dependent",)
    return Made(data=data, truth=truth_of([SHORT], tracks=(Track(), narrated), doubts=(), names=names))


def sounds_of_their_own_word() -> Made:
    """AC-3 that itself says to be a description comes first; a supplementary audio descriptor has another language."""
    ac3 = _ac3_description()
    main = replace(audio([SHORT], pid=SECOND_PID), descriptors=_spoken(0, "fra"))
    named = _spoken(0, "fra") + descriptor(0x7F, bytes([0x06, 0x80 | 1 << 2 | 1]) + b"qad")
    other = replace(audio([SHORT], pid=SECOND_PID + 1, voice=1), descriptors=named)
    data = transport.multiplexed(service(video([SHORT]), ac3, main, other), clock=steady())
    tracks = (
        Track(codec="ac3", language="fra", voice=1, dispositions=("visual_impaired",)),
        Track(language="fra"),
        Track(language="qad", voice=1, dispositions=DESCRIPTION_IN_MP4),
    )
    names = ("audio stream 3: of its languages qad, fra it keeps qad",)
    return Made(data=data, truth=truth_of([SHORT], tracks=tracks, first_track=1, doubts=(), names=names))


def _ac3_description() -> Elementary:
    pieces = making.pieces_of([SHORT])
    samples = making.burst_samples(making.events_of(pieces), pieces[-1].end_s, 1)
    units = making.encoded_sound("ac3", [samples], "stereo", options={"audio_service_type": "vi"})
    return Elementary(pid=AUDIO_PID, stream_type=0x81, units=units, descriptors=_spoken(0, "fra"))


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


def words_of_many_forms() -> Made:
    """Letters that need their joiners, a space that does not break, numbers with noughts, values that MP4 has not."""
    kept = {"title": "Où\u00a0? می\u200cخواهم", "date": "04.03.2021", "synopsis": "Ebb and flood. " * 400}
    other = {"track": "03/12", "season_number": "1234", "location": "nowhere", "creation_time": "1900-01-01T00:00:00Z"}
    said = [Said(), Said(language="jpn"), Said(language="eng")]
    data = remuxed(_two_sounds([SHORT]), "matroska", said, Head(words={**kept, **other}))
    words = tuple((name, text.strip()) for name, text in {**kept, "track": "3/12"}.items())
    names = tuple(f"{name} left out: mp4 has no place for it" for name in ("location", "creation_time"))
    return Made(data=data, truth=truth_of([SHORT], tracks=TWO_VOICES, words=words, doubts=(), names=names))


def chapters_of_many_forms() -> Made:
    """A part with its scenes, one without a title, one of no length, one beyond the end."""
    seconds = [(0, 4, "Ebb"), (0, 1, "Dawn"), (1, 2, "Gulls"), (2, 3, ""), (3, 3, "Flood"), (50, 60, "Never")]
    chapters = [(Fraction(begin), Fraction(end), title) for begin, end, title in seconds]
    said = [Said(), Said(language="jpn"), Said(language="eng")]
    data = remuxed(_two_sounds([SHORT]), "matroska", said, Head(chapters=chapters))
    titles = ("Ebb / Dawn", "Gulls", "Chapter 3", "Flood")
    due = tuple((Fraction(at_s), title) for at_s, title in enumerate(titles))
    told = ("and 1 beyond the end",) if CAN_CHAPTERS else ()
    return Made(data=data, truth=truth_of([SHORT], tracks=TWO_VOICES, chapters=due, names=told))


def chapters_in_chapters() -> Made:
    """A part's scenes are inside of it: FFmpeg lists the part alone."""
    said = [Said(), Said(language="jpn"), Said(language="eng")]
    head = Head(chapters=[(Fraction(0), Fraction(5), "." * 390)] if CAN_CHAPTERS else ())
    data = remuxed(_two_sounds([SHORT]), "matroska", said, head)
    if CAN_CHAPTERS:
        scenes = [(0, 1, "Dawn", ()), (1, 2, "Gulls", ())]
        data = with_atoms(data, [(0, 2, "Ebb", scenes), (2, 5, "Flood", ())])
    due = tuple((Fraction(at_s), title) for at_s, title in enumerate(("Ebb / Dawn", "Gulls", "Flood")))
    return Made(data=data, truth=truth_of([SHORT], tracks=TWO_VOICES, chapters=due))


def titles_like_noise() -> Made:
    """Titles that programs also give to any track, and one of a single character."""
    tracks = Track(title="Audio #1 @ 128k"), Track(language="eng", voice=1, title="副")
    said = [Said(), *(Said(language=track.language, title=track.title) for track in tracks)]
    data = remuxed(_two_sounds([SHORT]), "matroska", said, Head())
    return Made(data=data, truth=truth_of([SHORT], tracks=tracks, doubts=()))


# --- what is not in the output

PICTURE_IN_PICTURE = 0x101


def _with(*others: Elementary, **truth: Any) -> Made:
    data = transport.multiplexed(service(video([SHORT]), audio([SHORT]), *others), clock=steady())
    return Made(data=data, truth=truth_of([SHORT], **truth))


def _private(pid: int, descriptors: bytes, stream_type: int = PRIVATE) -> Elementary:
    units = [Unit(pts=second * HZ, dts=second * HZ, data=bytes([second]) * 400) for second in range(1, 5)]
    return Elementary(pid=pid, stream_type=stream_type, units=units, descriptors=descriptors)


def for_receivers() -> Made:
    """A carousel, HbbTV's applications and marks of advertisements: named, and nobody misses them."""
    return _with(
        _private(0x130, b"", transport.DATA_CAROUSEL),
        _private(0x131, descriptor(0x6F, b"\0\x10\xe1"), 0x05),
        _private(0x132, descriptor(0x05, b"CUEI"), 0x86),
        doubts=(),
        names=("DSM-CC carousel (PID 0x130)", "HbbTV applications (PID 0x131)", "SCTE 35 marks (PID 0x132)"),
    )


def unknown_data() -> Made:
    """A camera's metadata, a type that nobody knows, and a PID that no table names: each is named, and is a doubt."""
    streams = video([SHORT]), audio([SHORT])
    hidden = replace(_private(0x150, b""), announced=FOREVER)
    others = _private(0x140, descriptor(0x05, b"KLVA")), _private(0x141, b"", 0x7B), hidden
    data = transport.multiplexed(service(*streams, *others), clock=steady())
    names = ("KLV metadata (PID 0x140)", "data of type 0x7b (PID 0x141)", "PES packets (PID 0x150)")
    return Made(data=data, truth=truth_of([SHORT], doubts=("left_out",), names=names))


def announced_data() -> Made:
    """Data that the table names and nobody sends is not missed, whatever it would have been."""
    silent = Elementary(pid=0x141, stream_type=0x7B, units=[])
    return _with(silent, doubts=(), names=("data of type 0x7b (PID 0x141)",))


def second_picture() -> Made:
    """A picture in the picture, or another angle: one is kept, the other is named."""
    small = [replace(SHORT, size=(128, 96), number=20_000)]
    second = video(small, pid=PICTURE_IN_PICTURE)
    return _with(second, doubts=("left_out",), names=("mpeg2video video (stream",))


def with_a_cover(muxer: str, form: str) -> Made:
    """A picture for a shelf, the first stream of all and the largest: it is named, and never taken for the video."""
    said = [Said(), Said(language="jpn"), Said(language="eng")]
    data = remuxed(_two_sounds([SHORT]), muxer, said, Head(cover=form))
    return Made(data=data, truth=truth_of([SHORT], tracks=TWO_VOICES, doubts=("left_out",), names=("mjpeg",)))


def shown_second() -> Made:
    """Of two videos the container has a player show the second."""
    small = video([replace(SHORT, size=(128, 96), number=20_000)], "libx264", pid=PICTURE_IN_PICTURE)
    data = transport.multiplexed(service(small, video([SHORT], "libx264"), audio([SHORT])), clock=steady())
    said = [Said(), Said(dispositions=("default",)), Said(language="jpn")]
    made = remuxed(data, "matroska", said, Head())
    return Made(data=made, truth=truth_of([SHORT], doubts=("left_out",), names=("h264 video (stream 0)",)))


def unknown_sound() -> Made:
    """Matroska numbers no stream for FFmpeg: of two sounds the one that nobody can decode is named, and counted."""
    said = [Said(), Said(language="jpn"), Said(language="eng")]
    whole, codec, rest = remuxed(_two_sounds([SHORT]), "matroska", said, Head()).rpartition(b"A_AAC")
    truth = truth_of([SHORT], doubts=("left_out", "sound"), says=("unknown sound on track 2",))
    return Made(data=whole + codec.replace(b"AAC", b"ZZZ") + rest, truth=truth)


# --- captions


def odd_component_tags() -> Made:
    """ARIB captions that have the sound's component tag, and superimposed text: their data component tells."""
    seconds = range(1, 5)
    component = descriptor(0xFD, b"\x00\x08\x3d")
    streams = [
        Elementary(pid=pid, stream_type=PRIVATE, units=arib_units(seconds), descriptors=component_tag(tag) + component)
        for pid, tag in ((0x120, 0x10), (0x121, 0x38), (0x122, 0x10))
    ]
    made = _with(*streams, doubts=())
    return replace(made, captions={stream.pid: [unit.data for unit in stream.units] for stream in streams})


def captions_like_video() -> Made:
    """Lengths in captions that look like start codes: FFmpeg takes the stream for VVC and hands out nothing of it."""
    units = arib_units(range(1, 5), words="")
    component = descriptor(0xFD, b"\x00\x08\x3d")
    stream = Elementary(pid=0x120, stream_type=PRIVATE, units=units, descriptors=component_tag(0x10) + component)
    return _with(stream, doubts=("captions",), names=("FFmpeg read nothing of arib_caption (PID 0x120)",))


def teletext_pages() -> Made:
    """Two pages of subtitles, one for the hard of hearing: the file beside says so as the broadcast does."""
    units = teletext_units(range(1, 5))
    stream = Elementary(pid=0x121, stream_type=PRIVATE, units=units, descriptors=TELETEXT_PAGES)
    return replace(_with(stream, doubts=()), captions={0x121: [unit.data for unit in units]})


TELETEXT_PAGES = descriptor(0x56, b"fre\x10\x88ger\x28\x89")
#: From when to when.
PGS_S = [(0.5, 2.0), (2.0, 3.0), (3.5, 4.5)]


def disc_captions() -> Made:
    """
    A Blu-ray's or camera's subtitles: five packets show a picture, three clear the screen. Each set is one packet of
    Matroska, as FFmpeg's muxer makes it, with the time of its first segment; the others say when they are decoded.
    """
    stream = Elementary(pid=0x1200, stream_type=0x90, units=pgs_units(PGS_S))
    programme = replace(service(video([SHORT]), audio([SHORT]), stream)[0], descriptors=descriptor(0x05, b"HDMV"))
    data = transport.multiplexed([programme], clock=steady())
    shown = [(at_s, what) for span in PGS_S for at_s, what in zip(map(Fraction, span), ((8, 2), None), strict=True)]
    return Made(data=data, truth=truth_of([SHORT], doubts=()), shown=tuple(shown))


TEXTS = [(Fraction(1), Fraction(2), "Ebb"), (Fraction(3), Fraction(4), "and flood")]
FONT = ("sea.ttf", "application/x-truetype-font", b"not really a font" * 9)


def _texts(muxer: str, *attachments: tuple[str, str, bytes]) -> Made:
    """Captions that are text; fonts for them."""
    said = [Said(), Said(language="jpn"), Said(language="eng")]
    head = Head(texts=TEXTS, attachments=attachments)
    truth = truth_of([SHORT], tracks=TWO_VOICES, doubts=())
    data = remuxed(_two_sounds([SHORT]), muxer, said, head)
    shown = tuple((begin_s, (end_s - begin_s, text.encode())) for begin_s, end_s, text in TEXTS)
    return Made(data=data, truth=truth, captions={3: [text for _, (_, text) in shown]}, shown=shown)


def with_a_font(*, kept: bool) -> Made:
    made = _texts("matroska", FONT)
    doubts = () if kept or not CAN_ATTACH else ("left_out",)
    return replace(made, truth=replace(made.truth, doubts=doubts, names=("sea.ttf",) if CAN_ATTACH else ()))


CATALOGUE: dict[str, Recipe] = {
    "audio_description": Recipe(make=audio_description),
    "receiver_mix": Recipe(make=receiver_mix),
    "sounds_of_their_own_word": Recipe(make=sounds_of_their_own_word),
    "said_in_matroska": Recipe(make=said_in_matroska, suffix=".mkv"),
    "said_in_matroska_later": Recipe(make=lambda: said_in_matroska(1), suffix=".mkv", asked={"container": "mkv"}),
    "for_receivers": Recipe(make=for_receivers),
    "unknown_data": Recipe(make=unknown_data),
    "announced_data": Recipe(make=announced_data),
    "second_picture": Recipe(make=second_picture),
    "odd_component_tags": Recipe(make=odd_component_tags),
    "captions_like_video": Recipe(make=captions_like_video),
    "teletext_pages": Recipe(make=teletext_pages),
    "disc_captions_inside": Recipe(make=disc_captions, asked={"container": "mkv"}),
    "disc_captions_beside": Recipe(make=disc_captions),
    "timed_text_beside": Recipe(make=lambda: _texts("mp4"), suffix=".mp4"),
    "timed_text_inside": Recipe(make=lambda: _texts("mov"), suffix=".mov", asked={"container": "mkv"}),
    "font_kept": Recipe(make=lambda: with_a_font(kept=True), suffix=".mkv", asked={"container": "mkv"}),
    "font_left_out": Recipe(make=lambda: with_a_font(kept=False), suffix=".mkv"),
    "said_in_matroska_at_80s": Recipe(make=lambda: said_in_matroska(80), suffix=".mkv"),
    "words_of_many_forms": Recipe(make=words_of_many_forms, suffix=".mkv"),
    "chapters_of_many_forms": Recipe(make=chapters_of_many_forms, suffix=".mkv"),
    "cover": Recipe(make=lambda: with_a_cover("mp4", "marked"), suffix=".mp4"),
    "cover_unmarked": Recipe(make=lambda: with_a_cover("matroska", "plain"), suffix=".mkv"),
    "shown_second": Recipe(make=shown_second, suffix=".mkv"),
    "unknown_sound": Recipe(make=unknown_sound, suffix=".mkv"),
    "chapters_in_chapters": Recipe(make=chapters_in_chapters, suffix=".mkv"),
    "titles_like_noise": Recipe(make=titles_like_noise, suffix=".mkv"),
    "said_in_mp4": Recipe(make=said_in_mp4, suffix=".mp4", asked={"container": "mkv"}),
}
