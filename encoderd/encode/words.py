"""
The words in a container's head: what the source says of the whole recording, and what the output's container keeps.

Source of what MP4 keeps: libavformat/movenc.c, mov_write_ilst_tag, and reading files back with FFmpeg 7.1 and 8.1.
Matroska keeps any word. Of WTV and ASF: libavformat's names of Windows Media's attributes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from encoderd.encode.media import Service

#: The longest value, in characters.
LONGEST = 4000
#: About the file that is no more, or of a stream: nothing that a viewer would miss.
_ABOUT_THE_FILE = frozenset(
    {
        "encoder", "major_brand", "minor_version", "compatible_brands", "duration", "handler_name", "vendor_id",
        "encoded_by", "encoding_tool", "bps", "number_of_bytes", "number_of_frames", "starttime", "totalduration",
        "totaldatarate", "bytelength", "canseekontime", "videodatarate", "audiodatarate", "width", "height",
        "framerate", "videocodecid", "audiocodecid", "filesize", "isvbr", "devicetype", "metadatacreator",
    }
)  # fmt: skip
_NOISE = re.compile(r"^(_statistics|wm/(wmrv|media(class|thumb)|content|provider)|device(conformance)?)", re.IGNORECASE)
#: Words that mean the same; the plain one stands where the source does not have it itself.
_PLAIN = {
    "wm/subtitle": "episode_id",
    "wm/subtitledescription": "description",
    "wm/mediastationname": "network",
    "wm/mediastationcallsign": "network",
    "wm/mediaoriginalbroadcastdatetime": "date",
    "wm/originalreleasetime": "date",
    "wm/year": "date",
    "year": "date",
    "date_recorded": "date",
    "date_released": "date",
    "com.apple.quicktime.title": "title",
    "com.apple.quicktime.artist": "artist",
    "com.apple.quicktime.creationdate": "date",
    "com.apple.quicktime.description": "description",
    "com.apple.quicktime.comment": "comment",
    "com.apple.quicktime.location.iso6709": "location",
    "author": "artist",
    "summary": "synopsis",
    "tvshow": "show",
}
#: What MP4 has a place for; the second set are numbers.
_MP4_TEXTS = frozenset(
    {
        "title", "artist", "album_artist", "composer", "album", "date", "comment", "genre", "copyright", "grouping",
        "lyrics", "description", "synopsis", "show", "episode_id", "network", "keywords", "creation_time", "location",
    }
)  # fmt: skip
_MP4_NUMBERS = frozenset({"episode_sort", "season_number", "media_type", "hd_video"})
_MP4_PLACES = frozenset({"track", "disc"})  # "3" or "3/12"
#: Words whose form a container changes: they are compared as far as it keeps them.
_REFORMED = frozenset({"creation_time", "location"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """`kept` is for the container's head; `left_out` names what it has no place for."""

    kept: Mapping[str, str] = field(default_factory=dict, hash=False)
    left_out: tuple[str, ...] = ()


def of_source(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return what a container says of its recording, in lower-case names, without what is about the file itself."""
    plain: dict[str, str] = {}
    for key, value in metadata.items():
        name = key.strip().lower()
        base, hyphen, _ = name.rpartition("-")  # FFmpeg gives "title" and "title-eng" for one
        if name in _ABOUT_THE_FILE or _NOISE.match(name) or (hyphen and base in {one.lower() for one in metadata}):
            continue
        text = cleaned(value)
        if text and name:
            plain.setdefault(name, text)
    for name, same in _PLAIN.items():
        if name in plain:
            text = plain.pop(name)
            plain.setdefault(same, text)
    return plain


def of_output(source: Mapping[str, str], service: Service, beside: Mapping[str, str], mark: str, muxer: str) -> Words:
    """
    Return the words for the output's head: those beside the recording win over the broadcaster's, these over its own.

    `mark` says who made it: it begins the comment, and what the source has there follows.
    """
    told = {
        **source,
        **_filled(
            {
                "title": service.title,
                "network": service.name or service.provider,
                "date": service.started_at,
                "description": service.description,
            }
        ),
        **of_source(beside),
    }
    comment = told.pop("comment", "")
    told["comment"] = f"{mark}\n{comment}" if comment and mark else mark or comment
    clean = {name: text for name, value in told.items() if (text := cleaned(value))}
    kept = {name: text for name, text in clean.items() if keeps(muxer, name, text)}
    return Words(kept=kept, left_out=tuple(name for name in clean if name not in kept))


def keeps(muxer: str, name: str, value: str) -> bool:
    """Whether the container has a place for this word, with this value."""
    if muxer != "mp4":
        return True
    if name in _MP4_NUMBERS:
        return value.isascii() and value.isdigit()
    if name in _MP4_PLACES:
        return re.fullmatch(r"[1-9]\d{0,4}(/\d{1,5})?", value, re.ASCII) is not None
    return name in _MP4_TEXTS


def differing(planned: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """Return the names of the words that are not in the file as they were planned."""
    there = {name.lower(): text for name, text in found.items()}
    return [
        name
        for name, text in planned.items()
        if (name not in there if name in _REFORMED else _comparable(there.get(name, "")) != _comparable(text))
    ]


def cleaned(text: str, longest: int = LONGEST) -> str:
    """Lone surrogates and control characters have no place in a container's metadata."""
    kept = (character for character in text if character == "\n" or (character.isprintable() or character == "\u3000"))
    return "".join(kept).strip()[:longest]


def _comparable(text: str) -> str:
    return str(int(text)) if text.isascii() and text.isdigit() else text.strip()


def _filled(words: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in words.items() if text}
