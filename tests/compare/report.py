"""A comparison in words, or as values for JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.compare.facts import Json, Media, Ours


def as_json(name: str, theirs: Media, ours: Ours, output: Media | None, differences: list[str]) -> Json:
    return {
        "file": name,
        "verdict": ours.receipt.get("verdict", "refused"),
        "refusal": ours.refusal,
        "remedy": ours.remedy,
        "kind": ours.kind,
        "wall_s": round(ours.wall_s, 2),
        "damage": ours.receipt.get("damage", {}).get("text", ""),
        "findings": [one for one in ours.receipt.get("findings", []) if one["verdict"] != "pass"],
        "theirs": _values(theirs),
        "ours": None if output is None else _values(output),
        "differences": differences,
    }


def _values(media: Media) -> dict[str, Any]:
    pictures = media.pictures
    values: dict[str, Any] = {
        "format": media.format.get("format_name", ""),
        "duration_s": media.format.get("duration"),
        "tracks": [_track(stream) for stream in media.streams],
        "chapters": len(media.chapters),
        "trouble": media.trouble,
        "sounds": [
            {"begin_s": round(sound.begin_s, 4), "length_s": round(sound.length_s, 4), "errors": sound.errors}
            for sound in media.sounds.values()
            if sound.pieces
        ],
    }
    if pictures is not None and len(pictures.at_s):
        values |= {
            "pictures": len(pictures.at_s),
            "begin_s": round(float(pictures.at_s[0]), 4),
            "end_s": round(float(pictures.at_s[-1]) + pictures.step_s, 4),
            "step_s": round(pictures.step_s, 5),
            "interlaced": pictures.interlaced,
            "shapes": {str(shape): count for shape, count in pictures.shapes.items()},
            "colours": pictures.colours,
            "side": pictures.side,
            "errors": pictures.errors,
            "words": pictures.words,
        }
    return values


def _track(stream: Json) -> str:
    tags = stream.get("tags", {})
    flags = [name for name, value in stream.get("disposition", {}).items() if value]
    parts = [stream.get("codec_type", "?"), stream.get("codec_name", "unknown"), tags.get("language", "")]
    parts += [f"{stream['channels']}ch"] if stream.get("channels") else []
    parts += flags + ([f"“{tags['title']}”"] if tags.get("title") else [])
    return " ".join(part for part in parts if part)


def block(entry: Json) -> Iterator[str]:
    """Yield the lines of one file."""
    yield f"== {entry['file']}"
    said = f"   encoderd: {entry['verdict']}, {entry['wall_s']} s"
    if entry["refusal"]:
        said += f": {entry['refusal']} → {entry['remedy']}"
    yield said
    if entry["damage"]:
        yield f"   encoderd: damage: {entry['damage']}"
    for one in entry["findings"]:
        yield f"   encoderd: {one['verdict']} {one['check']}: {one['evidence']}"
    yield from _side("there", entry["theirs"])
    if entry["ours"]:
        yield from _side("here ", entry["ours"])
    for line in entry["differences"]:
        yield f"   ≠ {line}"


def _side(name: str, values: Json) -> Iterator[str]:
    if values["trouble"]:
        yield f"   {name}: {values['trouble']}"
    if "pictures" in values:
        yield (
            f"   {name}: {values['format']}, {values['pictures']} pictures {values['begin_s']}…{values['end_s']} s, "
            f"step {values['step_s']}, {values['interlaced']} interlaced, {values['errors']} errors {values['words']}"
        )
        yield f"   {name}: {values['shapes']} {list(values['colours'])[:2]} {values['side'] or ''}"
    sounds = [f"{one['begin_s']} + {one['length_s']} s" for one in values["sounds"]]
    yield f"   {name}: {' | '.join(values['tracks'])}; sound {', '.join(sounds)}; {values['chapters']} chapters"


def summary(entries: list[Json]) -> Iterator[str]:
    """Yield the lines at the end."""
    differ = [entry for entry in entries if entry["differences"]]
    refused = sum(bool(entry["refusal"]) for entry in entries)
    passed = [entry for entry in differ if entry["verdict"] == "pass"]
    yield (
        f"{len(entries)} files: {len(entries) - refused} encoded, {refused} refused; "
        f"{len(differ)} differ from FFmpeg, {len(passed)} of them with the verdict pass"
    )
    for entry in differ:
        yield f"   {entry['file']}: {entry['differences'][0]}"
