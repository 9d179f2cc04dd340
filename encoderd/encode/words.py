"""
The words in a container's head: what the source says of the whole recording, and what the output's container keeps.

Source of what MP4 keeps: libavformat/movenc.c, mov_write_ilst_tag, and reading files back with FFmpeg 7.1 and 8.1.
Matroska keeps any word but a time of creation that is none. Of WTV and ASF: libavformat's names of Windows Media's
attributes.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from encoderd.encode.media import Service

#: The longest value, in characters. FFmpeg writes and reads more than that in either container.
LONGEST = 60_000
#: About the file that is no more, or of a stream: nothing that a viewer would miss.
_ABOUT_THE_FILE = frozenset(
    {
        "encoder", "major_brand", "minor_version", "compatible_brands", "duration", "handler_name", "vendor_id",
        "encoded_by", "encoding_tool", "software", "bps", "number_of_bytes", "number_of_frames", "starttime",
        "totalduration", "totaldatarate", "bytelength", "canseekontime", "videodatarate", "audiodatarate", "width",
        "height", "framerate", "videocodecid", "audiocodecid", "filesize", "isvbr", "devicetype", "metadatacreator",
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
    "product": "album",  # FFmpeg's word for what it writes as the album of AVI
}
#: What MP4 has a place for; the second set are numbers.
_MP4_TEXTS = frozenset(
    {
        "title", "artist", "album_artist", "composer", "album", "date", "comment", "genre", "copyright", "grouping",
        "lyrics", "description", "synopsis", "show", "episode_id", "network", "keywords", "creation_time", "location",
    }
)  # fmt: skip
_MP4_NUMBERS = {
    "episode_sort": 2**31 - 1,
    "season_number": 2**31 - 1,
    "media_type": 255,
    "hd_video": 255,
    "compilation": 1,
    "gapless_playback": 1,
}
_MP4_PLACES, _LAST_PLACE = frozenset({"track", "disc"}), 2**15 - 1  # "3" or "3/12"
#: Seconds since 1970 that MP4's 32 bits since 1904 hold, as FFmpeg reads them.
_MP4_CREATED = range(1, 2**32 - 2_082_844_800)
_ISO_6709 = re.compile(r"([+-]\d{1,2}(?:\.\d+)?)([+-]\d{1,3}(?:\.\d+)?)([+-]\d+(?:\.\d+)?)?/?", re.ASCII)
#: FFmpeg writes a place with four digits after the point.
_NEAR_DEGREES = 0.001


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
    kept = {name: as_kept for name, text in clean.items() if (as_kept := fitting(muxer, name, text))}
    return Words(kept=kept, left_out=tuple(name for name in clean if name not in kept))


def fitting(muxer: str, name: str, value: str) -> str:
    """Return the value as the container can keep it; "" where it has no place for this word, or not with this value."""
    if name == "creation_time":  # without a zone FFmpeg would take this machine's
        created = _moment(value)
        fits = created is not None and (muxer != "mp4" or int(created.timestamp()) in _MP4_CREATED)
        return f"{created:%Y-%m-%dT%H:%M:%S.%fZ}" if created is not None and fits else ""
    if muxer != "mp4":
        return value
    if name in _MP4_NUMBERS:
        return value if _number(value) in range(_MP4_NUMBERS[name] + 1) else ""
    if name in _MP4_PLACES:
        places = [_number(part) for part in value.split("/")]
        while len(places) > 1 and places[-1] == 0:  # "3/0": nobody knows of how many
            places.pop()
        fits = len(places) <= 2 and all(place in range(1, _LAST_PLACE + 1) for place in places)
        return "/".join(map(str, places)) if fits else ""
    if name == "location":
        return value if _degrees(value) else ""
    return value if name in _MP4_TEXTS else ""


def differing(planned: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """Return the names of the words that are not in the file as they were planned."""
    there = {name.lower(): text for name, text in found.items()}
    return [name for name, text in planned.items() if not _same(name, text, there.get(name, ""))]


def cleaned(text: str, longest: int = LONGEST) -> str:
    """
    Return what a container's metadata has a place for: no lone surrogates, no control characters but the line's end.

    What joins and parts letters (Persian and Hindi need it) and every kind of space stays.
    """
    plain = text.replace("\t", " ").replace("\ufeff", "")
    return "".join(one for one in plain if one == "\n" or unicodedata.category(one) not in {"Cc", "Cs"}).strip()[
        :longest
    ]


def _same(name: str, planned: str, found: str) -> bool:
    """Containers keep some values in a form of their own."""
    if name == "creation_time":
        due, there = _moment(planned), _moment(found)
        return due is not None and there is not None and abs(due - there) < timedelta(seconds=1)
    if name == "location" and (place := _degrees(planned)) and (shown_place := _degrees(found)):
        return all(abs(one - other) < _NEAR_DEGREES for one, other in zip(place, shown_place, strict=True))
    number, shown = _number(planned), _number(found)
    if number >= 0 and shown >= 0:  # of the 32 bits of these FFmpeg reads eight
        return number == shown or (name in _MP4_NUMBERS and number % 256 == shown)
    return planned.strip() == found.strip()


def _moment(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _degrees(text: str) -> tuple[float, float] | None:
    """Return latitude and longitude, None for what is no place on Earth in the form of ISO 6709."""
    match = _ISO_6709.fullmatch(text.strip())
    if match is None or abs(float(match[1])) > 90 or abs(float(match[2])) > 180:
        return None
    return float(match[1]), float(match[2])


def _number(text: str) -> int:
    """Return a number, -1 for what is none."""
    return int(text) if re.fullmatch(r"\d{1,12}", text.strip(), re.ASCII) else -1


def _filled(words: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in words.items() if text}
