"""Compare an output with the truth of its recording: everything that a viewer would notice, in words."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from tests.broadcast import sights
from tests.broadcast.sights import Seen, Sound
from tests.broadcast.truth import Track, Truth

#: Sound may be this far from its picture: 20 ms as the timeline promises, and 5 ms for finding the onset of a burst.
SKEW_S = Fraction(25, 1000)
#: Bars and pictures are even numbers of pixels, and edges are found within one: so much of an aspect ratio.
SHAPE_TOLERANCE = Fraction(1, 20)
#: Containers round times.
ROUNDING_S = Fraction(1, 1000)
#: A file's duration is its longest stream; audio comes in packets and may end a little after the pictures or before.
DURATION_S = Fraction(1, 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewed:
    """An output as seen: its pictures, and where the recording's first moment lies on its clock."""

    path: Path
    pictures: list[Seen]
    origin_s: Fraction

    @classmethod
    def of(cls, path: Path, truth: Truth) -> Viewed:
        """The origin is the median of what the pictures say: one of them may be misread, or misplaced."""
        pictures = sights.seen(path)
        says = [
            picture.at_s - due_s
            for picture in pictures
            if picture.number is not None and (due_s := truth.shown_at(picture.number)) is not None
        ]
        return cls(path=path, pictures=pictures, origin_s=median(says) if says else Fraction(0))


def faults(path: Path, truth: Truth) -> list[str]:
    """Return all that is wrong with an output, [] when nothing is."""
    viewed = Viewed.of(path, truth)
    tracks = [stream for stream in sights.tracks(path) if stream.kind == "audio"]
    sounds = [sights.sound(path, number) for number in range(len(tracks))]
    found = [*_properties(path, tracks, truth), *_beginning(viewed, sounds, truth), *_said(viewed, tracks, truth)]
    found += [*_pictures(viewed, truth), *_steps(viewed, truth), *_flashes(viewed, truth), *_shapes(viewed, truth)]
    for number, (sound, track) in enumerate(zip(sounds, truth.tracks, strict=False)):
        found += [*_bursts(viewed, truth, number, sound, track), *_silence(number, sound)]
    return found


def _ms(seconds: Fraction) -> str:
    return f"{float(seconds) * 1000:+.1f} ms"


def _properties(path: Path, tracks: list[sights.Track], truth: Truth) -> Iterator[str]:
    found = [(track.codec, track.language, track.channels) for track in tracks]
    wanted = [(track.codec, track.language, track.channels) for track in truth.tracks]
    if found != wanted:
        yield f"the sound's tracks are {found}, not {wanted}"
    geometry = (*truth.size, truth.sample_aspect_ratio)
    if (shown := sights.geometry(path)) != geometry:
        yield f"the geometry is {shown[0]}×{shown[1]} {shown[2]}, not {geometry[0]}×{geometry[1]} {geometry[2]}"
    if (told := sights.colours(path)) != truth.colours:
        yield f"the colours are {told}, not {truth.colours}"


def _said(viewed: Viewed, tracks: list[sights.Track], truth: Truth) -> Iterator[str]:
    """What the file says of its tracks and of itself."""
    for number, (track, wanted) in enumerate(zip(tracks, truth.tracks, strict=False)):
        if (track.title, track.dispositions) != (wanted.title, wanted.dispositions):
            said = f"{track.title!r}, {track.dispositions}"
            yield f"track {number} says it is {said}, not {wanted.title!r}, {wanted.dispositions}"
    first = [number for number, track in enumerate(tracks) if track.default]
    if tracks and first != [truth.first_track]:
        yield f"the tracks {first} are to be played first, not {truth.first_track}"
    chapters = sights.chapters(viewed.path)
    if chapters is not None:
        found = [(at_s - viewed.origin_s, title) for at_s, title in chapters]
        same = [title for _, title in found] == [title for _, title in truth.chapters]
        pairs = zip(found, truth.chapters, strict=False)
        if not same or any(abs(at_s - due_s) > 1 / _rate_at(truth, due_s) for (at_s, _), (due_s, _) in pairs):
            yield f"the chapters are {[(round(float(at_s), 3), title) for at_s, title in found]}"
    words = sights.words(viewed.path)
    wrong = [name for name, text in truth.words if text not in words.get(name, "").splitlines()]
    if wrong:
        yield f"the head says {[(name, words.get(name)) for name in wrong]}"


def _beginning(viewed: Viewed, sounds: list[Sound], truth: Truth) -> Iterator[str]:
    """The file begins at zero, with picture or sound; the last picture is where the recording ends."""
    if not viewed.pictures:
        yield "there is no picture"
        return
    starts = [viewed.pictures[0].at_s, *(sound.covered[0][0] for sound in sounds if sound.covered)]
    # A decoder drops what an AAC encoder put before the first sample.
    if not -ROUNDING_S <= min(starts) <= Fraction(25, 1000):
        yield f"it begins at {float(min(starts)):.3f} s"
    if viewed.pictures[0].at_s > truth.late_picture_s:
        yield f"the first picture is at {float(viewed.pictures[0].at_s):.3f} s"
    end_s = viewed.pictures[-1].at_s - viewed.origin_s + 1 / truth.pieces[-1].rate
    lost_s = sum((end - begin for begin, end in truth.lost if end > truth.pieces[-1].end_s), Fraction(0))
    slack_s = DURATION_S + truth.missing / truth.pieces[-1].rate
    if not -slack_s - lost_s <= end_s - truth.pieces[-1].end_s <= DURATION_S + (1 if lost_s else 0):
        yield f"pictures end at {float(end_s):.3f} s, not {float(truth.pieces[-1].end_s):.3f}"


def _pictures(viewed: Viewed, truth: Truth) -> Iterator[str]:
    """Each picture once, in order, at its time."""
    if any(picture.interlaced for picture in viewed.pictures):
        yield "pictures are flagged interlaced"
    unread = unknown = 0
    seen: Counter[int] = Counter()
    for picture in viewed.pictures:
        at_s = picture.at_s - viewed.origin_s
        due_s = None if picture.number is None else truth.shown_at(picture.number)
        if due_s is None:
            unread += picture.number is None and not truth.may_be_lost(at_s)
            unknown += picture.number is not None and not truth.may_be_lost(at_s)
            continue
        assert picture.number is not None
        seen[picture.number] += 1
        allowed_s = truth.tolerance_frames / _rate_at(truth, due_s) + ROUNDING_S
        if abs(at_s - due_s) > allowed_s and not truth.may_be_lost(at_s):
            if unread < truth.unread:  # damage also changes numbers
                unread += 1
                continue
            yield f"picture {picture.number} is at {float(at_s):.3f} s, {_ms(at_s - due_s)} from its time"
    if unread + unknown > truth.unread:
        yield f"{unread + unknown} pictures cannot be read or are of another recording"
    doubled = [number for number, count in seen.items() if count > 1 and not truth.may_be_lost(_due(truth, number))]
    if len(doubled) > truth.unread:
        yield f"{len(doubled)} pictures are there twice: {doubled[:8]}"
    wanted = {number for piece in truth.pieces for number in range(piece.number, piece.number + piece.frames)}
    missing = sorted(number for number in wanted - set(seen) if not truth.may_be_lost(_due(truth, number)))
    if len(missing) > truth.missing:
        yield f"{len(missing)} pictures are missing: {missing[:8]}"


def _due(truth: Truth, number: int) -> Fraction:
    due_s = truth.shown_at(number)
    assert due_s is not None
    return due_s


def _rate_at(truth: Truth, at_s: Fraction) -> Fraction:
    return next((piece.rate for piece in truth.pieces if piece.at_s <= at_s < piece.end_s), truth.pieces[-1].rate)


def _steps(viewed: Viewed, truth: Truth) -> Iterator[str]:
    """Times grow, and there is no hole but where pictures were lost."""
    holes = 0
    for before, after in pairwise(viewed.pictures):
        begin_s, step_s = before.at_s - viewed.origin_s, after.at_s - before.at_s
        if step_s <= 0:
            yield f"after {float(before.at_s):.3f} s comes {float(after.at_s):.3f} s"
        most_s = (1 + truth.tolerance_frames) / _rate_at(truth, begin_s) + ROUNDING_S
        if step_s > most_s and not (truth.may_be_lost(begin_s) or truth.may_be_lost(begin_s + step_s / 2)):
            holes += 1
            if holes > truth.missing:
                yield f"a hole of {float(step_s):.3f} s at {float(begin_s):.3f} s"


def _flashes(viewed: Viewed, truth: Truth) -> Iterator[str]:
    found = [at_s - viewed.origin_s for at_s in sights.flashes_in(viewed.pictures)]
    missing = 0
    for event in truth.events:
        if truth.may_be_lost(event.at_s):
            continue
        near_s = min((at_s - event.at_s for at_s in found), key=abs, default=Fraction(9999))
        if abs(near_s) > truth.tolerance_frames / _rate_at(truth, event.at_s) + ROUNDING_S:
            missing += 1
            if missing > truth.silent:
                yield f"no flash at {float(event.at_s):.3f} s, the nearest is {_ms(near_s)} away"


def _bursts(viewed: Viewed, truth: Truth, number: int, sound: Sound, track: Track) -> Iterator[str]:
    """Each full second is heard where it is seen, in its own pitch and nowhere else."""
    heard = sights.beeps_in(sound)
    missing, used = 0, set[int]()
    for event in truth.events:
        near = [
            (abs(burst.at_s - viewed.origin_s - event.at_s), index)
            for index, burst in enumerate(heard)
            if burst.mark == event.mark and burst.voice == track.voice
        ]
        apart_s, index = min(near, default=(Fraction(9999), -1))
        if apart_s < 4:
            used.add(index)
        if event.at_s < track.since_s or truth.may_be_lost(event.at_s) or apart_s <= SKEW_S:
            continue
        missing += 1
        if missing > truth.silent:
            off = "missing" if apart_s > 3 else _ms(heard[index].at_s - viewed.origin_s - event.at_s) + " away"
            yield f"track {number}: the burst of {float(event.at_s):.3f} s is {off}"
    strange = [burst for index, burst in enumerate(heard) if index not in used]
    strange = [burst for burst in strange if not truth.may_be_lost(burst.at_s - viewed.origin_s)]
    if len(strange) > truth.silent:
        yield f"track {number}: bursts that nobody made, at {[round(float(burst.at_s), 3) for burst in strange[:5]]}"


def _silence(number: int, sound: Sound) -> Iterator[str]:
    """Where nothing was received there is silence, not nothing: no player may close the gap."""
    for (_, end_s), (begin_s, _) in pairwise(sound.covered):
        if begin_s - end_s > SKEW_S:
            yield f"track {number}: nothing from {float(end_s):.3f} to {float(begin_s):.3f} s"


def _shapes(viewed: Viewed, truth: Truth) -> Iterator[str]:
    """Each piece keeps its aspect ratio, whatever the output's is; what is left over is bars."""
    width, height, aspect = sights.geometry(viewed.path)
    for piece, shape in zip(truth.pieces, truth.shapes, strict=False):
        boxes = [
            picture.box
            for picture in viewed.pictures
            if picture.number is not None and piece.number + 2 <= picture.number < piece.number + piece.frames - 2
        ]
        if not boxes:
            continue
        left, top, right, bottom = boxes[len(boxes) // 2]
        found = Fraction(right - left, max(1, bottom - top)) * aspect
        if abs(found / shape - 1) > SHAPE_TOLERANCE:
            yield f"from {float(piece.at_s):.1f} s on the picture is {float(found):.3f} : 1, not {float(shape):.3f}"
        full = right - left >= width - 4 or bottom - top >= height - 4
        if not full:
            yield f"from {float(piece.at_s):.1f} s on there are bars on all sides: {right - left}×{bottom - top}"


def untold(receipt: dict[str, Any], truth: Truth) -> list[str]:
    """What the receipt should have told and did not, or told and should not have."""
    facts = receipt["facts"]
    found = [f"the receipt tells no {name}" for name in truth.tells if not facts.get(name)]
    told = json.dumps(receipt)
    found += [f"the receipt does not name {name}" for name in truth.names if name not in told]
    if truth.doubts is not None:
        doubts = {one["check"] for one in receipt["findings"] if one["verdict"] != "pass"}
        if doubts != set(truth.doubts):
            found.append(f"the findings with a doubt are {sorted(doubts)}, not {sorted(truth.doubts)}")
    findings = [f"{finding['check']}: {finding['evidence']}" for finding in receipt["findings"]]
    found += [f"no finding says {words!r}: {findings}" for words in truth.says if words not in "; ".join(findings)]
    sound = not (truth.lost or truth.missing)
    found += [f"the receipt tells of {name}: {facts[name]}"
              for name in ("gaps",) if sound and name not in truth.tells and facts.get(name)]  # fmt: skip
    return found
