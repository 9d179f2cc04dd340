"""What the containers say, ours against theirs: tracks, languages, dispositions, titles, chapters, tags. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from tests.compare.facts import Json, Media, Ours, Pictures

#: Tags of a file that a viewer sees in a list; others are the writer's own.
TAGS = ("title", "artist", "album", "album_artist", "composer", "genre", "date", "comment", "description", "show")
#: Chapters may begin so many seconds from theirs.
CHAPTER_S = 0.1
ASPECT = 0.015
HDR = ("smpte2084", "arib-std-b67")


def programme_of(media: Media, number: int) -> set[int] | None:
    """Indices of the streams of a programme, None where the file has none of that number."""
    for programme in media.programmes:
        if programme.get("program_num", programme.get("program_id")) == number:
            return {stream["index"] for stream in programme.get("streams", [])}
    return None


def index_of(media: Media, kind: str, index: int, pid: int) -> int | None:
    """The stream that the receipt means by its index and PID: FFmpeg's versions may number streams differently."""
    streams = media.of_kind(kind)
    told = [stream["index"] for stream in streams if "id" in stream and int(stream["id"], 16) == pid]
    if len(told) == 1:
        return int(told[0])
    return next((int(stream["index"]) for stream in streams if stream["index"] == index), None)


def video_of(theirs: Media, receipt: Json) -> int:
    """The index of the stream of pictures that was encoded."""
    pid = receipt["video"]["pid"]
    index = next((video["index"] for video in receipt["source"]["video"] if video["pid"] == pid), -1)
    found = index_of(theirs, "video", index, pid)
    return theirs.video if found is None else found


def pairs(theirs: Media, receipt: Json) -> list[int | None]:
    """For each sound track of ours, the index of the source's stream."""
    pids = {audio["index"]: audio["pid"] for audio in receipt["source"]["audio"]}
    return [
        index_of(theirs, "audio", audio["index"], pids.get(audio["index"], -1)) for audio in receipt["plan"]["audio"]
    ]


def tracks(theirs: Media, output: Media, ours: Ours, programme: set[int] | None) -> Iterator[str]:
    """Every stream of the programme is in the output, or beside, or named."""
    matched = pairs(theirs, ours.receipt)
    kept = [stream for stream in output.streams if stream["codec_type"] == "audio"]
    told = json.dumps([ours.receipt[name] for name in ("findings", "plan", "source", "captions")])
    subtitles = [one for one in [*output.streams, *ours.beside] if one["codec_type"] == "subtitle"]
    unused = list(subtitles)
    for stream in theirs.streams:
        index, kind = int(stream["index"]), stream.get("codec_type", "unknown")
        if index == theirs.video or (programme is not None and index not in programme):
            continue
        name = f"{kind} {index} ({stream.get('codec_name', 'unknown')}, {_language(stream) or 'no language'})"
        packets = int(stream.get("nb_read_packets", 0))
        if kind == "audio":
            if index not in matched:
                if (sound := theirs.sounds.get(index)) is not None and sound.pieces:
                    yield f"{name}: not in the output{_named(stream, told)}"
                continue
            here = [other for other, found in zip(kept, matched, strict=False) if found == index]
            if len(here) < matched.count(index) and (index not in theirs.sounds or theirs.sounds[index].pieces):
                yield f"{name}: planned, and not in the output"
            for other in here:
                yield from (f"{name}: {what}" for what in _same(stream, other, theirs, kept))
        elif kind == "subtitle":
            like = [one for one in unused if _language(one) == _language(stream)]
            if like:
                chosen = min(like, key=lambda one: abs(int(one.get("nb_read_packets", 0)) - packets))
                unused.remove(chosen)
                if (count := int(chosen.get("nb_read_packets", 0))) < packets:
                    yield f"{name}: {packets} packets there, {count} here"
                yield from (f"{name}: {what}" for what in _same(stream, chosen, theirs, []))
            elif packets:
                yield f"{name}: neither in the output nor beside{_named(stream, told)}"
        elif packets and not _named(stream, told):
            yield f"{name}: neither in the output nor named"


def _named(stream: Json, told: str) -> str:
    pid = int(stream.get("id", "0"), 16)
    words = {f"{pid:#x}", f"0x{pid:04x}", f"stream {stream['index']}"} if pid else {f"stream {stream['index']}"}
    return ", but named" if any(word in told for word in words) else ""


def _language(stream: Json) -> str:
    language = str(stream.get("tags", {}).get("language", ""))
    return "" if language == "und" else language.lower()


def _same(there: Json, here: Json, theirs: Media, kept: Sequence[Json]) -> Iterator[str]:
    if (one := _language(there)) != (other := _language(here)) and not set(other.split(",")) & set(one.split(",")):
        yield f"language {one or 'untold'} there, {other or 'untold'} here"
    title, ours = there.get("tags", {}).get("title", ""), here.get("tags", {}).get("title", "")
    if title and title != ours:
        yield f"title “{title}” there, “{ours}” here"
    flags = [name for name, value in there.get("disposition", {}).items() if value and name != "default"]
    lost = [name for name in flags if not here.get("disposition", {}).get(name)]
    more = [name for name, value in here.get("disposition", {}).items() if value and name not in [*flags, "default"]]
    if lost or more:
        yield f"dispositions {flags} there, {sorted({*flags} - {*lost} | {*more})} here"
    if (channels := there.get("channels", 0)) and kept and here.get("channels") != channels:
        yield f"{channels} channels there, {here.get('channels')} here"
    if "mpegts" not in theirs.format.get("format_name", "") and there.get("codec_type") == "audio":
        default = [bool(stream.get("disposition", {}).get("default")) for stream in theirs.of_kind("audio")]
        if any(default) and not all(default) and there["disposition"]["default"] != here["disposition"]["default"]:
            yield f"default {there['disposition']['default']} there, {here['disposition']['default']} here"


def container(theirs: Media, output: Media, offset_s: float) -> Iterator[str]:
    """Chapters with their times and titles, and the tags of the file."""
    there, here = _chapters(theirs, offset_s), _chapters(output, 0.0)
    if len(there) != len(here):
        yield f"{len(there)} chapters there, {len(here)} here"
    else:
        moved = [
            title
            for (at_s, title), (other_s, other) in zip(there, here, strict=True)
            if abs(max(0.0, at_s) - other_s) > CHAPTER_S or (title and title != other)
        ]
        if moved:
            yield f"chapters moved or renamed: {moved[:3]}"
    tags, ours = _tags(theirs.format), _tags(output.format)
    for name in TAGS:
        if tags.get(name) and tags[name] not in ours.get(name, ""):  # ours may say more
            yield f"{name} “{tags[name][:60]}” there, “{ours.get(name, '')[:60]}” here"


def _chapters(media: Media, offset_s: float) -> list[tuple[float, str]]:
    return [
        (float(chapter["start_time"]) + offset_s, chapter.get("tags", {}).get("title", ""))
        for chapter in media.chapters
    ]


def _tags(form: Mapping[str, Json]) -> dict[str, str]:
    return {name.lower(): str(value) for name, value in form.get("tags", {}).items()}


def looks(theirs: Pictures, ours: Pictures) -> Iterator[str]:
    """Aspect and size as shown, colours, captions in the pictures, interlacing."""
    if not theirs.shapes or not ours.shapes:
        return
    there, here = next(iter(theirs.shapes)), next(iter(ours.shapes))
    if abs(here.aspect / there.aspect - 1) > ASPECT:
        yield f"shown {there} there, {here} here"
    elif abs(there.width - here.width) > 2 or abs(there.height - here.height) > 2:
        yield f"{there.width}×{there.height} there, {here.width}×{here.height} here"
    if len(ours.shapes) > 1:
        yield f"our pictures change their shape: {[str(shape) for shape in ours.shapes]}"
    one, other = _colours(theirs), _colours(ours)
    hdr = is_hdr(theirs) and other.get("trc") == "bt709"
    changed = [name for name, value in one.items() if value != "unknown" and value != other.get(name) and not hdr]
    changed = [name for name in changed if name != "range" and one[name] not in ("gbr", "reserved")]  # brightness tells
    if changed:
        yield (
            f"colours {' '.join(f'{name}:{one[name]}' for name in changed)} there, "
            + " ".join(f"{name}:{other.get(name)}" for name in changed)
            + " here"
        )
    captions = [sum(count for kind, count in side.items() if "losed" in kind) for side in (theirs.side, ours.side)]
    if captions[0] > 1.02 * captions[1] + 2:
        yield f"captions in {captions[0]} pictures there, in {captions[1]} here"
    if ours.interlaced:
        yield f"{ours.interlaced} of our pictures are flagged interlaced"


def _colours(pictures: Pictures) -> dict[str, str]:
    first = next(iter(pictures.colours), "")
    return dict(part.split(":", 1) for part in first.split() if ":" in part)


def is_hdr(pictures: Pictures) -> bool:
    return _colours(pictures).get("trc") in HDR
