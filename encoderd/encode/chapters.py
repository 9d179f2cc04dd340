"""
Chapters and the words beside a recording, as values: parsed from what other programs write, fit to be muxed.

Two forms are read: `CHAPTER01=00:01:30.500` with `CHAPTER01NAME=…` (OGM's; join_logo_scp and Amatsukaze write it as
NAME.chapter.txt), and FFmpeg's own metadata file. Times are milliseconds of the recording; 0 is its first packet. The
chapters that a container has itself are on its own clock, and come out of FFmpeg.
Source of the second form: FFmpeg, "Metadata" in ffmpeg-formats(1), and libavformat/ffmetadec.c for what may be missing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import zip_longest
from typing import Any

from encoderd.encode.media import Chapter
from encoderd.encode.words import cleaned

#: More chapters than these, or longer titles (in characters), are no chapters.
MOST_CHAPTERS, LONGEST_TITLE = 1000, 400
#: The longest time that is believed, in milliseconds: 1000 hours.
LATEST_MS = 3_600_000 * 1000
#: What says that there are chapters: Matroska's element, MP4's list, and its reference to a track of titles.
_MARKS = (b"\x10\x43\xa7\x70", b"chpl", b"chap")
#: A first chapter that begins so soon begins with the first picture.
_NEARLY_AT_ONCE_MS = 50
#: Stands between the titles of chapters that begin at the same time.
_BETWEEN = " / "
#: Title of what comes before the first chapter.
BEGINNING = "Beginning"
_MAGIC = ";FFMETADATA"
#: FFmpeg's default where a chapter names no TIMEBASE: nanoseconds.
_NANOSECONDS = (1, 1_000_000_000)
_OGM = re.compile(r"CHAPTER(\d{1,6})(NAME)?\s*=(.*)", re.ASCII | re.IGNORECASE)
_TIME = re.compile(r"(\d{1,4}):(\d{1,2}):(\d{1,2})(?:[.,:](\d{1,9}))?", re.ASCII)
#: Keys of FFmpeg's file that say something of the whole recording; what else stands there is about other files.
_KEYS = frozenset(
    {"title", "artist", "album", "date", "genre", "comment", "description", "synopsis", "show", "network"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapters:
    """Chapters in order, none over another; `metadata` is of the whole recording, `notes` say what was left out."""

    chapters: tuple[Chapter, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict, hash=False)
    notes: tuple[str, ...] = ()


def parse(text_bytes: bytes) -> Chapters:
    """Return what a file of either form says. Nonsense is left out, with a note; nothing raises."""
    text, notes = _decoded(text_bytes)
    lines = text.splitlines()
    if text.lstrip().upper().startswith(_MAGIC):
        found, metadata = _ffmetadata(text.lstrip(), notes)
    else:
        found, metadata = _ogm(lines, notes), {}
    return Chapters(chapters=_in_order(found, notes), metadata=metadata, notes=tuple(notes))


def muxable(chapters: Sequence[Chapter], duration_ms: int | None, muxer: str) -> list[dict[str, Any]]:
    """
    Return the chapters in the form of PyAV's `set_chapters`, every end known; those beyond the recording are left out.

    The last one ends with the recording; where nobody knows when that is (None), a second after it began. A chapter
    without a title gets one. What MP4 (libavformat/movenc.c) would shift is filled in: the first one begins at 0.
    """
    kept = [
        replace(chapter, title=chapter.title or f"Chapter {number}")
        for number, chapter in enumerate(chapters, start=1)
        if duration_ms is None or chapter.start_ms < duration_ms
    ]
    if kept and muxer == "mp4" and 0 < kept[0].start_ms <= _NEARLY_AT_ONCE_MS:
        kept[0] = replace(kept[0], start_ms=0)
    elif kept and muxer == "mp4" and kept[0].start_ms > 0:
        kept.insert(0, Chapter(start_ms=0, end_ms=kept[0].start_ms, title=BEGINNING))
    made = []
    for number, chapter in enumerate(kept):
        last = number + 1 == len(kept)
        end_ms = chapter.end_ms
        if end_ms is None:
            end_ms = kept[number + 1].start_ms if not last else duration_ms or chapter.start_ms + 1000
        if duration_ms is not None:
            end_ms = min(end_ms, duration_ms)
        made.append(
            {
                "id": number + 1,
                "start": chapter.start_ms,
                "end": end_ms,
                "time_base": Fraction(1, 1000),
                "metadata": {"title": chapter.title},
            }
        )
    return made


def are_marked(head: bytes, tail: bytes) -> bool:
    """Whether the bytes of a Matroska or MP4 file look as if it has chapters; for a PyAV that reads none."""
    return any(mark in piece for mark in _MARKS for piece in (head, tail))


def of_source(found: Sequence[Chapter]) -> Chapters:
    """Return a container's own chapters in order; what nested or overlapped is cut, with a note."""
    notes: list[str] = []
    return Chapters(chapters=_in_order(found, notes), notes=tuple(notes))


def on_output(chapters: Sequence[Chapter], zero_ms: int) -> tuple[Chapter, ...]:
    """Return chapters on the output's clock, whose zero is `zero_ms` of the source's; what is over then is left out."""
    nexts = [chapter.start_ms for chapter in chapters[1:]]
    moved = []
    for chapter, following_ms in zip_longest(chapters, nexts):
        end_ms = following_ms if chapter.end_ms is None else chapter.end_ms
        if end_ms is None or end_ms > zero_ms:
            end_ms = None if chapter.end_ms is None else chapter.end_ms - zero_ms
            moved.append(replace(chapter, start_ms=max(0, chapter.start_ms - zero_ms), end_ms=end_ms))
    return tuple(moved)


# --- text


def _decoded(data: bytes) -> tuple[str, list[str]]:
    """Return the text in whichever encoding it is: UTF-8 or -16, CP932 (Shift-JIS), EUC-JP."""
    for mark, encoding in ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, "replace"), []
    encodings = ("utf-8", "euc_jp", "cp932") if _like_euc(data) else ("utf-8", "cp932", "euc_jp")
    for encoding in encodings:
        try:
            return data.decode(encoding), []
        except UnicodeDecodeError:
            continue
    return data.decode("utf-8", "replace"), ["the text is in no encoding that is known (UTF-8, CP932, EUC-JP)"]


def _like_euc(data: bytes) -> bool:
    """
    Tell EUC-JP from CP932, where both could be: as CP932, EUC-JP is half-width katakana and rare kanji.

    Bytes from 0xE0 on are no katakana. Without any: pairs that begin with 0xA1 to 0xA5 are EUC-JP's kana and signs,
    hardly ever katakana; and katakana go on without a voicing mark (0xDE, 0xDF) or a long vowel (0xB0) for no title.
    """
    try:
        data.decode("euc_jp")
    except UnicodeDecodeError:
        return False
    leads, at = set(), 0
    while at < len(data):
        leads.add(data[at])
        at += 3 if data[at] == 0x8F else 2 if data[at] >= 0x80 else 1
    high = {byte for byte in data if byte >= 0x80}
    return max(high, default=0) >= 0xE0 or bool(leads & set(range(0xA1, 0xA6))) or not high & {0xB0, 0xDE, 0xDF}


# --- the two forms


def _ogm(lines: Sequence[str], notes: list[str]) -> list[Chapter]:
    times: dict[int, int] = {}
    names: dict[int, str] = {}
    strange = 0
    for line in lines:
        match = _OGM.fullmatch(line.strip())
        if match is None:
            strange += bool(line.strip())
            continue
        number = int(match[1])
        if match[2]:
            names.setdefault(number, match[3])
            continue
        at_ms = _milliseconds(match[3])
        if at_ms is None:
            strange += 1
        else:
            times.setdefault(number, at_ms)
    if strange:
        notes.append(f"{strange} lines say nothing of chapters")
    return [Chapter(start_ms=at_ms, title=names.get(number, "")) for number, at_ms in times.items()]


def _milliseconds(text: str) -> int | None:
    match = _TIME.fullmatch(text.strip())
    if match is None:
        return None
    hours, minutes, seconds = int(match[1]), int(match[2]), int(match[3])
    if minutes > 59 or seconds > 59:
        return None
    return (hours * 3600 + minutes * 60 + seconds) * 1000 + int((match[4] or "").ljust(3, "0")[:3])


def _ffmetadata(text: str, notes: list[str]) -> tuple[list[Chapter], dict[str, str]]:
    metadata: dict[str, str] = {}
    sections: list[dict[str, str]] = []
    into: dict[str, str] | None = metadata
    for line in _logical_lines(text):
        if line[:1] in {";", "#", ""}:
            continue
        if line[0] == "[":
            into = {} if line.strip().upper() == "[CHAPTER]" else None  # [STREAM] is of streams that are not these
            if into is not None and len(sections) <= MOST_CHAPTERS:
                sections.append(into)
            continue
        key, equals, value = _split(line)
        if into is not None and equals:
            into[key.strip().lower()] = value
    chapters, bad, last_ms = [], 0, 0
    for section in sections:
        chapter = _chapter(section, last_ms)
        if chapter is None:
            bad += 1
            continue
        chapters.append(chapter)
        last_ms = chapter.start_ms if chapter.end_ms is None else chapter.end_ms
    if bad:
        notes.append(f"{bad} chapters have times that make no sense")
    return chapters, {key: cleaned(value) for key, value in metadata.items() if key in _KEYS and value.strip()}


def _chapter(section: Mapping[str, str], last_ms: int) -> Chapter | None:
    """FFmpeg lets a chapter without a start begin where the one before ended."""
    numerator, denominator = _NANOSECONDS
    base = re.fullmatch(r"\s*(\d{1,9})\s*/\s*(\d{1,10})\s*", section.get("timebase", ""), re.ASCII)
    if base is not None:
        numerator, denominator = int(base[1]), int(base[2])
    elif "timebase" in section:
        return None
    if not numerator or not denominator:
        return None
    times: dict[str, int | None] = {"start": last_ms, "end": None}
    for key in times:
        if key not in section:
            continue
        value = section[key].strip()
        if not re.fullmatch(r"\d{1,20}", value, re.ASCII):
            return None
        times[key] = (2 * int(value) * numerator * 1000 + denominator) // (2 * denominator)
    start_ms = times["start"]
    assert start_ms is not None
    return Chapter(start_ms=start_ms, end_ms=times["end"], title=section.get("title", ""))


def _logical_lines(text: str) -> list[str]:
    """A backslash before the end of a line, outside of another backslash's reach, makes the line go on."""
    lines: list[str] = []
    going_on = False
    for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        if going_on:
            lines[-1] += "\n" + line
        else:
            lines.append(line)
        going_on = (len(line) - len(line.rstrip("\\"))) % 2 == 1
    return lines


def _split(line: str) -> tuple[str, bool, str]:
    """Cut at the first "=" that no backslash protects, and take the backslashes away."""
    parts, found, escaped = ["", ""], 0, False
    for character in line:
        if escaped or character not in "\\=" or (character == "=" and found):
            parts[found] += character
            escaped = False
        elif character == "\\":
            escaped = True
        else:
            found = 1
    return parts[0], bool(found), parts[1]


# --- order


def _in_order(found: Sequence[Chapter], notes: list[str]) -> tuple[Chapter, ...]:
    """Sort; two at one time, as a part and its first scene, become one with both titles; none reaches into the next."""
    possible = [chapter for chapter in found if chapter.start_ms <= LATEST_MS]
    if len(possible) < len(found):
        notes.append(f"{len(found) - len(possible)} chapters begin after more than {LATEST_MS // 3_600_000} hours")
    if len(possible) > MOST_CHAPTERS:
        notes.append(f"only the first {MOST_CHAPTERS} chapters are taken")
    ordered: list[Chapter] = []
    overlaps = 0
    for chapter in sorted(possible, key=lambda chapter: chapter.start_ms)[:MOST_CHAPTERS]:
        before = ordered[-1] if ordered else None
        title = cleaned(chapter.title.replace("\n", " "), LONGEST_TITLE)
        if before is not None and before.start_ms == chapter.start_ms:
            overlaps += 1
            ordered[-1] = replace(before, title=_both(before.title, title))
            continue
        if before is not None and before.end_ms is not None and before.end_ms > chapter.start_ms:
            overlaps += 1
            ordered[-1] = replace(before, end_ms=chapter.start_ms)
        end_ms = chapter.end_ms if chapter.end_ms is not None and chapter.end_ms > chapter.start_ms else None
        end_ms = None if end_ms is None else min(end_ms, LATEST_MS)
        ordered.append(Chapter(start_ms=chapter.start_ms, end_ms=end_ms, title=title))
    if overlaps:
        notes.append(f"{overlaps} chapters overlapped")
    return tuple(ordered)


def _both(first: str, second: str) -> str:
    told = dict.fromkeys(title for title in (*first.split(_BETWEEN), second) if title)
    return _BETWEEN.join(told)[:LONGEST_TITLE]
