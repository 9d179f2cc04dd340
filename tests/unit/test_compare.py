"""`make compare` sees what is wrong with an output: made facts on both sides, one thing changed at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.compare import differences
from tests.compare.facts import SOUND_HZ, THUMB, Media, Ours, Pictures, Shape, Sound

RATE = 25
SECONDS = 8
NOISE = np.random.default_rng(1)
#: A scene that moves: each thumbnail is a window on a wide smooth landscape, a column further than the one before.
LANDSCAPE = np.repeat(np.repeat(NOISE.integers(20, 230, (6, 80)), 3, axis=0), 4, axis=1).astype(np.uint8)
SOUNDS = [NOISE.normal(0, 0.1, SECONDS * SOUND_HZ).astype(np.float32) for _ in range(2)]


def scene(numbers: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.stack([LANDSCAPE[:, number : number + THUMB[0]].reshape(-1) for number in numbers.tolist()])


def pictures(begin_s: float = 0.0) -> Pictures:
    numbers = np.arange(SECONDS * RATE)
    return Pictures(
        at_s=begin_s + numbers / RATE,
        luma=scene(numbers),
        shapes={Shape(width=720, height=576, aspect=1.778): len(numbers)},
        colours={"range:tv space:smpte170m primaries:bt470bg trc:bt709": len(numbers)},
    )


def track(index: int, language: str, **more: Any) -> dict[str, Any]:
    return {
        "index": index, "codec_type": "audio", "codec_name": "aac", "channels": 2, "nb_read_packets": "300",
        "tags": {"language": language}, "disposition": {"default": int(index == 1)}, **more,
    }  # fmt: skip


def media(begin_s: float) -> Media:
    video = {"index": 0, "codec_type": "video", "codec_name": "h264", "nb_read_packets": "200", "disposition": {}}
    return Media(
        streams=[video, track(1, "jpn"), track(2, "eng")],
        format={"format_name": "matroska", "tags": {"title": "A film"}},
        chapters=[{"start_time": str(begin_s + 1), "tags": {"title": "One"}}],
        video=0,
        pictures=pictures(begin_s),
        sounds={index: Sound(pieces=[(begin_s + 0.01, samples)]) for index, samples in enumerate(SOUNDS, start=1)},
    )


THERE, HERE = media(100.0), media(0.0)
#: The second half comes 0.1 s late.
LATER = np.where(np.arange(SECONDS * RATE) < 100, 0, 0.1)
RECEIPT = {
    "programme": 0, "duration_s": 8.0, "verdict": "pass", "findings": [], "captions": {}, "continuity": [],
    "damage": {"ratio": 0.0, "text": ""}, "video": {"deinterlace": "off", "pid": 0},
    "source": {"audio": [{"index": 1, "pid": 1}, {"index": 2, "pid": 2}], "video": [{"index": 0, "pid": 0}]},
    "plan": {"audio": [{"index": 1}, {"index": 2}]},
}  # fmt: skip


def found(here: Media, there: Media = THERE, **receipt: Any) -> list[str]:
    return differences.found(there, Ours(receipt={**RECEIPT, **receipt}), here)


def shown(**changes: Any) -> Media:
    return replace(HERE, pictures=replace(HERE.pictures, **changes))


def heard(pieces: list[Any]) -> Media:
    return replace(HERE, sounds={**HERE.sounds, 1: Sound(pieces=pieces)})


def test_what_is_right_differs_in_nothing() -> None:
    """The whole file may begin elsewhere on its clock."""
    assert found(HERE) == []


def test_sound_off_its_middle_is_the_same_sound() -> None:
    there = replace(THERE, sounds={**THERE.sounds, 1: Sound(pieces=[(100.01, SOUNDS[0] + 0.7)])})

    assert found(heard([(0.01, SOUNDS[0] + 0.7)]), there) == []


def test_two_pictures_for_each_are_right_where_fields_became_pictures() -> None:
    numbers = np.repeat(np.arange(SECONDS * RATE), 2)
    doubled = shown(at_s=np.arange(len(numbers)) / (2 * RATE), luma=scene(numbers))

    assert found(doubled, video={"deinterlace": "field", "pid": 0}) == []
    assert "400 here (off: 200 are due)" in " ".join(found(doubled))


def frozen() -> Media:
    numbers = np.arange(SECONDS * RATE)
    numbers[50:75] = 50
    return shown(luma=scene(numbers))


def without(first: int, last: int) -> Media:
    kept = np.delete(np.arange(SECONDS * RATE), np.s_[first:last])
    return shown(at_s=kept / RATE, luma=scene(kept))


def swapped() -> Media:
    numbers = np.arange(SECONDS * RATE)
    numbers[50:70] = numbers[130:150]
    return shown(luma=scene(numbers))


def with_streams(*streams: dict[str, Any]) -> Media:
    return replace(HERE, streams=[HERE.streams[0], *streams])


def silent() -> Media:
    samples = SOUNDS[0].copy()
    samples[2 * SOUND_HZ : 6 * SOUND_HZ] = 0
    return heard([(0.01, samples)])


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        (frozen(), "stand still while theirs move"),
        (without(50, 75), "25 of 200 pictures have none of ours within half a frame"),
        (without(190, 200), "190 here (off: 200 are due)"),
        (shown(at_s=np.arange(SECONDS * RATE) / 24), "shown at another's time"),
        (shown(at_s=np.arange(SECONDS * RATE) / RATE + LATER), "within half"),
        (swapped(), "20 pictures are not like theirs of the same time: at 102.000"),
        (shown(luma=255 - HERE.pictures.luma), "are not like theirs"),  # type: ignore[union-attr]
        (shown(luma=HERE.pictures.luma // 2), "brightness"),  # type: ignore[union-attr]
        (shown(shapes={Shape(width=720, height=576, aspect=1.333): 200}), "shown 720×576 as 1.778 : 1 there"),
        (shown(shapes={Shape(width=576, height=720, aspect=0.5625): 200}), "576×720 as 0.562 : 1 here"),
        (shown(colours={"range:tv space:bt709 primaries:bt709 trc:bt709": 200}), "colours space:smpte170m"),
        (shown(interlaced=3), "flagged interlaced"),
        (shown(errors=1, words="[h264] error"), "our output has errors"),
        (heard([(0.11, SOUNDS[0])]), "track 0: sound is +100 ms from its picture"),
        (heard([(0.01, SOUNDS[0][: 4 * SOUND_HZ]), (4.09, SOUNDS[0][4 * SOUND_HZ :])]), "track 0: sound moves in"),
        (heard([(0.01, SOUNDS[0][: 6 * SOUND_HZ])]), "track 0: 8.000 s of sound there, 6.000 s here"),
        (heard([(0.01, SOUNDS[1])]), "track 0: another sound in"),
        (silent(), "track 0: silent in"),
        (with_streams(track(1, ""), track(2, "eng")), "audio 1 (aac, jpn): language jpn there, untold here"),
        (with_streams(track(1, "jpn"), track(2, "eng", channels=6)), "audio 2 (aac, eng): 2 channels there, 6 here"),
        (with_streams(track(1, "jpn", disposition={"default": 0}), track(2, "eng")), "default 1 there, 0 here"),
        (with_streams(track(1, "jpn", disposition={"default": 1, "dub": 1}), track(2, "eng")), "['dub'] here"),
        (replace(HERE, chapters=[]), "1 chapters there, 0 here"),
        (replace(HERE, chapters=[{"start_time": "1.5", "tags": {"title": "One"}}]), "chapters moved or renamed"),
        (replace(HERE, format={"tags": {}}), "title “A film” there, “” here"),
        (replace(HERE, pictures=None), "sees no pictures here"),
    ],
)  # fmt: skip
def test_what_was_changed_is_seen(changed: Media, word: str) -> None:
    differing = found(changed)

    assert [line for line in differing if word in line], differing


def test_tones_may_be_mapped_and_pictures_may_not_be_others() -> None:
    """High dynamic range becomes BT.709: every luma is another, light stays lighter than dark."""
    assert THERE.pictures is not None
    there = replace(THERE, pictures=replace(THERE.pictures, colours={"range:tv trc:smpte2084": 200}))
    luma = (255 * (HERE.pictures.luma / 255.0) ** 3).astype(np.uint8)  # type: ignore[union-attr]
    mapped = {"range:tv space:bt709 primaries:bt709 trc:bt709": 200}

    assert found(shown(luma=luma, colours=mapped), there) == []
    assert "are not like theirs" in " ".join(found(shown(luma=255 - luma, colours=mapped), there))


def test_a_track_and_captions_that_are_gone_are_named() -> None:
    subtitle = {"index": 3, "codec_type": "subtitle", "codec_name": "dvb_subtitle", "nb_read_packets": "9"}
    there = replace(THERE, streams=[*THERE.streams, subtitle])
    one = {**RECEIPT["plan"], "audio": [{"index": 1}]}  # type: ignore[dict-item]
    gone = found(replace(HERE, sounds={1: HERE.sounds[1]}, streams=HERE.streams[:2]), there, plan=one)

    assert gone == [
        "audio 2 (aac, eng): not in the output",
        "subtitle 3 (dvb_subtitle, no language): neither in the output nor beside",
    ]


def test_a_jump_of_the_clock_that_ours_closes_is_right() -> None:
    """4 s, then the clock is an hour further; sound goes with it."""
    assert THERE.pictures is not None
    later = np.where(np.arange(SECONDS * RATE) < 4 * RATE, 0.0, 3600.0)
    pieces = [(100.01, SOUNDS[0][: 4 * SOUND_HZ]), (3704.01, SOUNDS[0][4 * SOUND_HZ :])]
    there = replace(
        THERE,
        pictures=replace(THERE.pictures, at_s=THERE.pictures.at_s + later),
        sounds={**THERE.sounds, 1: Sound(pieces=pieces)},
    )
    only = {"audio": [{"index": 1}]}

    assert found(replace(HERE, sounds={1: HERE.sounds[1]}), there, plan=only) == [
        "audio 2 (aac, eng): not in the output"
    ]


def test_a_refusal_differs_only_where_there_is_something_to_see() -> None:
    refused = Ours(refusal="It is scrambled.", kind="recording")
    dark = replace(THERE, pictures=replace(pictures(), at_s=np.zeros(0), luma=np.zeros((0, 576), np.uint8)))

    assert differences.found(dark, refused, None) == []
    assert differences.found(THERE, refused, None) == ["refused, and FFmpeg decodes 200 pictures with 0 errors"]
    assert differences.found(dark, replace(refused, kind="crash"), None) == ["failed as crash"]


def test_damage_that_nobody_else_sees_is_a_difference() -> None:
    told = {"ratio": 0.0, "text": "1 packet not decodable"}
    lossy = [{"pid": 256, "packets": 100, "lost": 1, "errors": 0, "scrambled": 0}]

    assert found(HERE, damage=told) == ["damage is told (1 packet not decodable) and FFmpeg has no error"]
    assert found(HERE, damage=told, continuity=lossy) == []
