"""All that differs between what we made of a recording and what FFmpeg sees in it, as sentences. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.compare import pictures, sounds, tracks
from tests.compare.facts import Media, Ours
from tests.compare.pictures import Matching

#: Sound may move by so much against the picture: 20 ms as the engine promises, and what a window's place is off by.
SKEW_S = 0.025
#: A file of theirs of which so many pictures can be decoded should not be refused.
PLAYABLE = 10
#: Lengths may differ by so much: sound comes in packets.
LENGTH_S = 0.25
#: Mean luma may differ by so much of 255.
BRIGHT = 6.0


def found(theirs: Media, ours: Ours, output: Media | None) -> list[str]:
    """Return what differs, [] when nothing does."""
    crash = ["a traceback is in the log"] if "Traceback" in ours.log else []
    if output is None:
        return [*crash, *_refused(theirs, ours)]
    return [*crash, *_encoded(theirs, ours, output)]


def _refused(theirs: Media, ours: Ours) -> Iterator[str]:
    seen = theirs.pictures
    if ours.kind not in {"recording", "FailureKind.RECORDING"}:
        yield f"failed as {ours.kind}"
    if seen is not None and len(seen.at_s) >= PLAYABLE:
        yield f"refused, and FFmpeg decodes {len(seen.at_s)} pictures with {seen.errors} errors"


def _encoded(theirs: Media, ours: Ours, output: Media) -> Iterator[str]:
    receipt = ours.receipt
    if theirs.pictures is None or output.pictures is None:
        yield "encoded, and FFmpeg sees no pictures " + ("there" if theirs.pictures is None else "here")
        return
    damage = receipt["damage"]
    lost_s = damage["ratio"] * receipt["duration_s"]
    method = receipt["video"]["deinterlace"]
    mapped = tracks.is_hdr(theirs.pictures) and not tracks.is_hdr(output.pictures)
    matching = pictures.compare(theirs.pictures, output.pictures, method, lost_s, mapped)
    yield from matching.differences
    yield from _brightness(theirs, output, matching)
    yield from tracks.looks(theirs.pictures, output.pictures)
    programme = tracks.programme_of(theirs, receipt["programme"]) if receipt["programme"] else None
    yield from tracks.tracks(theirs, output, ours, programme)
    yield from tracks.container(theirs, output, matching.stretches[0].offset_s if matching.stretches else 0.0)
    yield from _lengths(theirs, output, matching, lost_s)
    yield from _sounds(theirs, ours, output, matching, lost_s)
    yield from _claims(theirs, ours, output)


def _claims(theirs: Media, ours: Ours, output: Media) -> Iterator[str]:
    text = ours.receipt["damage"]["text"]
    errors = sum(sound.errors for sound in theirs.sounds.values())
    errors += theirs.pictures.errors if theirs.pictures else 0
    lost = sum(one["lost"] + one["errors"] + one["scrambled"] for one in ours.receipt["continuity"])
    holes_s = sum(sound.end_s - sound.begin_s - sound.length_s for sound in theirs.sounds.values() if sound.pieces)
    # FFmpeg says nothing of packets that are missing, nor of holes in the sound's times.
    if text and not errors and not lost and holes_s < 0.01:
        yield f"damage is told ({text}) and FFmpeg has no error"
    if output.pictures and output.pictures.errors:
        yield f"our output has errors: {output.pictures.words}"
    for index, sound in output.sounds.items():
        if sound.errors:
            yield f"our track {index} has errors: {sound.words}"


def _brightness(theirs: Media, output: Media, matching: Matching) -> Iterator[str]:
    assert theirs.pictures is not None and output.pictures is not None
    if tracks.is_hdr(theirs.pictures) or not matching.stretches:
        return
    there, here = (float(np.median(side.luma.mean(1))) for side in (theirs.pictures, output.pictures))
    if abs(there - here) > BRIGHT:
        yield f"brightness {there:.0f} of 255 there, {here:.0f} here"


def _lengths(theirs: Media, output: Media, matching: Matching, lost_s: float) -> Iterator[str]:
    assert theirs.pictures is not None and output.pictures is not None
    if not matching.stretches:
        return
    times, step_s = theirs.pictures.at_s, theirs.pictures.step_s
    there = sum(float(np.nanmax(times[one.first : one.last]) - np.nanmin(times[one.first : one.last])) + step_s
                for one in matching.stretches)  # fmt: skip
    here = float(output.pictures.at_s[-1] - output.pictures.at_s[0]) + output.pictures.step_s
    if len(matching.stretches) == 1 and abs(there - here) > LENGTH_S + lost_s:
        yield f"pictures last {there:.3f} s there, {here:.3f} s here"


def _sounds(theirs: Media, ours: Ours, output: Media, matching: Matching, lost_s: float) -> Iterator[str]:
    """Each track against its own, measured from the pictures: what a viewer notices is the distance."""
    assert theirs.pictures is not None
    times = theirs.pictures.at_s
    here = list(output.sounds.items())
    for number, index in enumerate(tracks.pairs(theirs, ours.receipt)):
        if index is None or number >= len(here) or index not in theirs.sounds:
            continue
        there, sound = theirs.sounds[index], here[number][1]
        name = f"track {number}"
        if not there.pieces:
            continue
        if sound.length_s < there.length_s - LENGTH_S - lost_s:
            yield f"{name}: {there.length_s:.3f} s of sound there, {sound.length_s:.3f} s here"
        heard = sounds.compare(there, sound, lambda at_s: matching.offset_at(at_s, times))
        late = np.array(heard.late_s)
        far = np.abs(late) > SKEW_S
        if min(far.sum(), (~far).sum()) > 1:
            places = [f"{heard.at_s[at]:.1f} s {late[at] * 1000:+.0f} ms" for at in np.flatnonzero(far)[:4]]
            yield f"{name}: sound moves in {int(far.sum())} of {len(late)} windows: {', '.join(places)}"
        elif len(late) and abs(median := float(np.median(late))) > SKEW_S:
            yield f"{name}: sound is {median * 1000:+.0f} ms from its picture"
        windows = len(late) + len(heard.other_s)
        if len(heard.silent_s) > 1 + lost_s:
            silent = heard.silent_s
            yield f"{name}: silent in {len(silent)} of {windows} windows with sound, from {silent[0]:.1f} s on"
        elif len(heard.other_s) > max(1 + lost_s, windows / 20):
            other = heard.other_s
            yield f"{name}: another sound in {len(other)} of {windows} windows, from {other[0]:.1f} s on"
