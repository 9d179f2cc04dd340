"""
What a track is for: FFmpeg's dispositions, what a broadcaster's descriptors say of them, and what a container keeps.

Sources: libavutil's AV_DISPOSITION bits; ISO/IEC 13818-1, 2.6.18 (audio_type); ETSI EN 300 468, 6.2.41, 6.2.43, 6.4.11,
table 26 and annex D; ATSC A/52, annexes A.4 and G.3; ARIB STD-B10 part 2, 6.2.26. Containers: measured, FFmpeg 7.1 to
8.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

#: AV_DISPOSITION's names by their bits. Source: libavformat/avformat.h.
BITS = {
    "default": 0x1,
    "dub": 0x2,
    "original": 0x4,
    "comment": 0x8,
    "lyrics": 0x10,
    "karaoke": 0x20,
    "forced": 0x40,
    "hearing_impaired": 0x80,
    "visual_impaired": 0x100,
    "clean_effects": 0x200,
    "attached_pic": 0x400,
    "timed_thumbnails": 0x800,
    "non_diegetic": 0x1000,
    "captions": 0x10000,
    "descriptions": 0x20000,
    "metadata": 0x40000,
    "dependent": 0x80000,
    "still_image": 0x100000,
    "multilayer": 0x200000,
}
#: An audio description, as FFmpeg says it. In MP4 one implies the other: it has one word for both.
DESCRIPTION = ("visual_impaired", "descriptions")
#: No player should take such a track first where there is another one.
SECONDARY = frozenset({"comment", "visual_impaired", "descriptions", "dependent", "clean_effects", "karaoke", "lyrics"})
#: What a file keeps, by libavformat's muxer and the kind of the stream.
_KEPT = {
    ("mp4", "video"): {"dub", "comment", "forced", "hearing_impaired", "visual_impaired", "captions", "descriptions"},
    ("matroska", "video"): {"default", "dub", "original", "comment", "forced", "hearing_impaired", "visual_impaired"},
}
_KEPT["mp4", "audio"] = _KEPT["mp4", "video"] | {"default"}
_KEPT["matroska", "audio"] = _KEPT["matroska", "video"]
_KEPT["matroska", "subtitle"] = _KEPT["matroska", "video"] | {"descriptions"}
#: What MP4 has one word for.
_ONE_WORD = {"mp4": {"captions": "hearing_impaired", "descriptions": "visual_impaired"}}
#: A title for a track without one, where no container has the flag.
_WORDS = {"dependent": "to be mixed with the main sound", "clean_effects": "clean effects"}

_LANGUAGE, _TELETEXT, _SUBTITLING, _AC3, _EAC3, _AAC, _EXTENSION = 0x0A, 0x56, 0x59, 0x6A, 0x7A, 0x7C, 0x7F
_ATSC_AC3, _ATSC_EAC3, _SUPPLEMENTARY = 0x81, 0xCC, 0x06
#: audio_type of an ISO 639 language descriptor.
_AUDIO_TYPES = {1: ("clean_effects",), 2: ("hearing_impaired",), 3: DESCRIPTION}
#: editorial_classification of a supplementary audio descriptor: description, for the hard of hearing, spoken subtitles.
_CLASSES = {1: DESCRIPTION, 2: ("hearing_impaired",), 3: ("visual_impaired",)}
#: Service types of AC-3 (bsmod), in all of its descriptors: music and effects, for those who do not see or hear well,
#: dialogue alone, commentary, emergency, voice over.
AC3_SERVICES: dict[int, tuple[str, ...]] = {
    1: ("clean_effects",),
    2: DESCRIPTION,
    3: ("hearing_impaired",),
    4: ("dependent",),
    5: ("comment",),
}
#: component_type of DVB's component descriptor for MPEG audio and AAC, and of the AAC descriptor.
_RECEIVER_MIX = (*DESCRIPTION, "dependent")
COMPONENTS: dict[int, tuple[str, ...]] = {
    0x40: DESCRIPTION,
    0x41: ("hearing_impaired",),
    0x42: _RECEIVER_MIX,
    0x44: DESCRIPTION,
    0x45: ("hearing_impaired",),
    0x46: _RECEIVER_MIX,
    0x47: _RECEIVER_MIX,
    0x48: DESCRIPTION,
    0x49: _RECEIVER_MIX,
    0x4A: DESCRIPTION,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Flagged:
    """One audio track while it is decided which is played first: whether the source says so, and what it is for."""

    default: bool
    dispositions: tuple[str, ...]


def named(bits: int) -> tuple[str, ...]:
    """Return the names of the bits, without "default", in the order of the bits."""
    return tuple(name for name, bit in BITS.items() if bits & bit and name != "default")


def bits_of(names: Iterable[str]) -> int:
    """Return AV_DISPOSITION's bits."""
    return sum(BITS[name] for name in set(names))


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Return names, each once, in the order of their bits."""
    return named(bits_of(names))


def told_by(tag: int, body: bytes) -> tuple[str, ...]:
    """Return what one descriptor of a PMT says of a stream's purpose; () when it says nothing of it."""
    if tag == _LANGUAGE:
        return _all_of([_AUDIO_TYPES.get(body[at + 3], ()) for at in range(0, len(body) - 3, 4)])
    if tag == _SUBTITLING:
        types = [body[at + 3] for at in range(0, len(body) - 7, 8)]
        return _all_of([("hearing_impaired",) if 0x20 <= one <= 0x25 else () for one in types])
    if tag == _TELETEXT:  # pages that are no subtitles (1: the initial page, 3 and 4: others) say nothing
        types = [body[at + 3] >> 3 for at in range(0, len(body) - 4, 5)]
        return _all_of([("hearing_impaired",) if one == 5 else () for one in types if one in {2, 5}])
    if tag in {_AC3, _EAC3} and len(body) >= 2 and body[0] & 0x80:
        return _ac3(body[1] >> 3 & 7, full=bool(body[1] & 0x40))
    if tag == _ATSC_AC3 and len(body) >= 3:
        return _ac3(body[2] >> 5, full=bool(body[2] & 1))
    if tag == _ATSC_EAC3 and len(body) >= 2:
        return _ac3(body[1] >> 3 & 7, full=bool(body[1] & 0x40))
    if tag == _AAC and len(body) >= 3 and body[1] & 0x80:
        return COMPONENTS.get(body[2], ())
    if tag == _EXTENSION and len(body) >= 2 and body[0] == _SUPPLEMENTARY:
        mixed = () if body[1] & 0x80 else ("dependent",)
        return in_order((*_CLASSES.get(body[1] >> 2 & 0x1F, ()), *mixed))
    return ()


def arib_audio(component_type: int, *, main: bool) -> tuple[str, ...]:
    """Return what ARIB's audio component descriptor says; "default" is among it where it is the main component."""
    told = {0x40: DESCRIPTION, 0x41: ("hearing_impaired",)}.get(component_type)
    if told is None:
        told = {1: DESCRIPTION, 2: ("hearing_impaired",)}.get(component_type >> 5 & 3, ())
    return (("default",) if main else ()) + tuple(told)


def ac3_component(component_type: int) -> tuple[str, ...]:
    """Return what a component_type of AC-3 and Enhanced AC-3 says (EN 300 468, annex D, table D.1)."""
    return _ac3(component_type >> 3 & 7, full=bool(component_type & 0x40))


def _ac3(service: int, *, full: bool) -> tuple[str, ...]:
    """Voice over (7) is karaoke where the service is a full one; what is none is to be mixed with another one."""
    told = AC3_SERVICES.get(service, ())
    if service == 7:
        told = ("karaoke",) if full else ("comment",)
    mixed = ("dependent",) if not full and service >= 2 else ()
    return in_order((*told, *mixed))


def _all_of(entries: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Of a stream with several entries (languages, pages) only that is true which all of them say."""
    return in_order(name for name in (entries[0] if entries else ()) if all(name in entry for entry in entries))


# --- containers


def kept(muxer: str, kind: str, names: Iterable[str]) -> tuple[str, ...]:
    """Return those that the container keeps; with "default", where it is among them."""
    able = _KEPT.get((muxer, kind), set())
    return tuple(name for name in BITS if name in able and name in set(names))


def lost(muxer: str, kind: str, names: Iterable[str]) -> tuple[str, ...]:
    """Return those that the container has no word for: nothing else in the file says the same."""
    same = set(comparable(muxer, kept(muxer, kind, names)))
    if muxer == "matroska" and "visual_impaired" in same:
        same.add("descriptions")
    return tuple(name for name in in_order(names) if name not in same and name not in kept(muxer, kind, names))


def comparable(muxer: str, names: Iterable[str]) -> tuple[str, ...]:
    """Return names as they compare between plan and file: one name for what the container has one word for."""
    one_word = _ONE_WORD.get(muxer, {})
    found = {one_word.get(name, name) for name in names}
    return tuple(name for name in BITS if name in found)


def title_for(names: Iterable[str]) -> str:
    """Return words for what no container has a flag for, as a title; "" when there is nothing to say."""
    given = set(names)
    return ", ".join(words for name, words in _WORDS.items() if name in given)


def default_track(tracks: Sequence[Flagged]) -> int:
    """
    Return which track is played first: the source's choice where that is a main one, else the first main one.

    Where all tracks are descriptions or comments it is the source's choice among them, else the first. -1: no tracks.
    """
    main = [number for number, track in enumerate(tracks) if not SECONDARY & set(track.dispositions)]
    eligible = main or list(range(len(tracks)))
    return next((number for number in eligible if tracks[number].default), eligible[0] if eligible else -1)
