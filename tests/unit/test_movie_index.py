"""The index of an MP4 put together from those of its segments: tables by hand, and nonsense."""

from __future__ import annotations

import random
import struct
from itertools import accumulate

import pytest

from encoderd.encode.movie_boxes import (
    BitRates,
    Offsets,
    box,
    boxes,
    children,
    duration_of,
    longer_edit_list,
    with_bit_rates,
    with_duration,
)
from encoderd.encode.movie_index import UNREADABLE, MovieIndex, Segment, TrackTimes

SCALE = 90_000
STEP = 3003


def counted(form: str, rows: list[tuple[int, ...]]) -> bytes:
    return struct.pack(">II", 0, len(rows)) + b"".join(struct.pack(form, *row) for row in rows)


def track(
    number: int,
    sizes: list[int],
    chunks: list[int],
    keys: list[int] | None = None,
    shifts: list[tuple[int, ...]] | None = None,
    dependencies: bytes = b"",
) -> bytes:
    """A "trak" box of samples that are STEP apart, one in each chunk; `keys` count from 1."""
    ticks = STEP * len(sizes)
    tables = [
        box(b"stsd", b"codec"),
        box(b"stts", counted(">II", [(len(sizes), STEP)])),
        *([box(b"stss", counted(">I", [(key,) for key in keys]))] if keys is not None else []),
        *([box(b"sdtp", bytes(4) + dependencies)] if dependencies else []),
        *([box(b"ctts", counted(">II", shifts))] if shifts is not None else []),
        box(b"stsc", counted(">III", [(1, 1, 1)])),
        box(b"stsz", struct.pack(">III", 0, 0, len(sizes)) + struct.pack(f">{len(sizes)}I", *sizes)),
        box(b"stco", counted(">I", [(chunk,) for chunk in chunks])),
    ]
    mdhd = struct.pack(">IIIIIHH", 0, 0, 0, SCALE, ticks, 0, 0)
    mdia = box(b"mdia", box(b"mdhd", mdhd), box(b"minf", box(b"stbl", *tables)))
    elst = struct.pack(">II", 0, 1) + struct.pack(">IiI", ticks, 0, 65536)
    tkhd = struct.pack(">IIIIII", 7, 0, 0, number, 0, ticks) + bytes(60)
    return box(b"trak", box(b"tkhd", tkhd), box(b"edts", box(b"elst", elst)), mdia)


def segment(tracks: list[bytes], times: dict[int, TrackTimes], first: int, payload: int) -> Segment:
    mvhd = struct.pack(">IIIII", 0, 0, 0, SCALE, 0) + bytes(80)
    moov = box(b"mvhd", mvhd) + b"".join(tracks) + box(b"udta", b"words")
    return Segment(moov=moov, times=times, first=first, end=first + payload)


def times(first_dts: int, count: int, keys: int | None) -> TrackTimes:
    return TrackTimes(first_dts=first_dts, first_pts=first_dts, end_pts=first_dts + STEP * count, keys=keys)


def rendered(index: MovieIndex, payload_at: int = 0, *, wide: bool = False) -> bytes:
    pieces = index.render(wide=wide)
    return b"".join(piece.placed(payload_at) if isinstance(piece, Offsets) else piece for piece in pieces)


def tables_of(moov: bytes, number: int) -> dict[bytes, bytes]:
    trak = [payload for kind, payload in boxes(children(moov)[b"moov"]) if kind == b"trak"][number - 1]
    return children(children(children(children(trak)[b"mdia"])[b"minf"])[b"stbl"])


def numbers(table: bytes, skip: int = 8, size: int = 4) -> list[int]:
    return [int.from_bytes(table[at : at + size], "big") for at in range(skip, len(table), size)]


def two_segments(gap: int = 0) -> MovieIndex:
    """Three samples from byte 40 on, then two from byte 100 of the next segment on, `gap` ticks later than expected."""
    index = MovieIndex()
    one = track(1, [10, 20, 30], [40, 50, 70], keys=[1])
    two = track(1, [5, 6], [100, 105], keys=[2])
    index.add(segment([one], {1: times(0, 3, 1)}, 40, 60))
    assert index.add(segment([two], {1: times(3 * STEP + gap, 2, 1)}, 100, 11)) == 60
    return index


def test_samples_of_all_segments_stand_in_their_order() -> None:
    """Sizes and key frames follow each other, and chunks lie where the samples will be."""
    tables = tables_of(rendered(two_segments(), 1000, wide=False), 1)

    assert [10, 20, 30, 5, 6] == numbers(tables[b"stsz"], 12)
    assert [1000, 1010, 1030, 1060, 1065] == numbers(tables[b"stco"])
    assert [1, 5] == numbers(tables[b"stss"])
    assert [5, STEP] == numbers(tables[b"stts"])
    assert [1, 1, 1] == numbers(tables[b"stsc"])


def test_a_gap_between_segments_is_in_the_sample_before_it() -> None:
    tables = tables_of(rendered(two_segments(gap=700), 0, wide=False), 1)

    assert [2, STEP, 1, STEP + 700, 2, STEP] == numbers(tables[b"stts"])


def test_all_durations_are_those_of_the_whole() -> None:
    moov = children(children(rendered(two_segments(gap=700), 0, wide=False))[b"moov"])
    trak = children(moov[b"trak"])

    expected = 5 * STEP + 700
    assert expected == duration_of(moov[b"mvhd"], before=1)
    assert expected == duration_of(trak[b"tkhd"], before=2)
    assert expected == duration_of(children(trak[b"mdia"])[b"mdhd"], before=1)
    assert (expected, 0) == struct.unpack_from(">Ii", children(trak[b"edts"])[b"elst"], 8)
    assert b"words" == moov[b"udta"]


def test_offsets_beyond_4_gib_are_wide() -> None:
    """The box is longer by four bytes for each chunk, and nothing else depends on where the samples are."""
    far = rendered(two_segments(), 2**33, wide=True)
    tables = tables_of(far, 1)

    assert [2**33 + at for at in (0, 10, 30, 60, 65)] == numbers(tables[b"co64"], size=8)
    assert b"stco" not in tables
    assert len(far) == len(rendered(two_segments(), 0, wide=False)) + 5 * 4


def test_a_track_that_begins_in_a_later_segment_is_there() -> None:
    index = MovieIndex()
    index.add(segment([track(1, [1], [8])], {1: times(0, 1, 1)}, 8, 1))
    late = track(2, [7], [9])
    index.add(segment([track(1, [2], [8]), late], {1: times(STEP, 1, 1), 2: times(STEP, 1, 1)}, 8, 8))
    moov = rendered(index, 0, wide=False)

    assert [1, 2] == numbers(tables_of(moov, 1)[b"stsz"], 12)
    assert [2] == numbers(tables_of(moov, 2)[b"stco"])
    assert 3 == int.from_bytes(children(children(moov)[b"moov"])[b"mvhd"][-4:], "big"), "the next track's number"


def test_a_track_of_the_muxer_s_own_is_taken_once() -> None:
    """Chapters: each segment has all of them."""
    index = MovieIndex()
    for start in (0, STEP):
        chapters = track(2, [9], [8])
        index.add(segment([track(1, [1], [17]), chapters], {1: times(start, 1, 1)}, 8, 10))

    tables = tables_of(rendered(index, 0, wide=False), 2)
    assert (0, 9, 1) == struct.unpack(">III", tables[b"stsz"]), "one sample of 9 bytes"
    assert [0] == numbers(tables[b"stco"])


@pytest.mark.parametrize(
    ("keys", "count", "expected"),
    [
        ((None, None), (2, 2), None),
        ((None, None), (2, 0), [1, 2]),
        ((None, [1]), (0, 1), [3]),
        (([2], None), (1, 2), [2, 3, 4]),
        ((None, None), (None, None), None),
    ],
)
def test_a_segment_without_a_list_of_key_frames_has_all_or_none(
    keys: tuple[list[int] | None, list[int] | None], count: tuple[int | None, int | None], expected: list[int] | None
) -> None:
    """libavformat writes none in either case; what was muxed tells which."""
    index = MovieIndex()
    for number in range(2):
        samples = track(1, [1, 2], [8, 9], keys=keys[number])
        index.add(segment([samples], {1: times(2 * STEP * number, 2, count[number])}, 8, 3))
    tables = tables_of(rendered(index, 0, wide=False), 1)

    assert expected == (numbers(tables[b"stss"]) if b"stss" in tables else None)


def test_what_one_segment_has_and_another_has_not_is_filled_in() -> None:
    """Composition offsets of a segment without B-frames, and what depends on what."""
    index = MovieIndex()
    index.add(segment([track(1, [1, 2], [8, 9], keys=[1])], {1: times(0, 2, 1)}, 8, 3))
    second = track(1, [3, 4], [8, 11], keys=[1], shifts=[(1, 0), (1, 90)], dependencies=b"\x20\x18")
    index.add(segment([second], {1: times(2 * STEP, 2, 1)}, 8, 7))
    tables = tables_of(rendered(index, 0, wide=False), 1)

    assert [3, 0, 1, 90] == numbers(tables[b"ctts"])
    assert b"\x20\x10\x20\x18" == tables[b"sdtp"][4:]


@pytest.mark.parametrize("duration", [0, 2**31 - 2, 2**31 - 1, 2**40])
def test_durations_find_their_form(duration: int) -> None:
    """And come back from the wide one; what stands before and behind stays."""
    head = struct.pack(">IIIII", 7, 1, 2, SCALE, 5) + b"rest"
    changed = with_duration(with_duration(head, duration, before=1), duration, before=1)

    assert duration == duration_of(changed, before=1)
    assert (duration >= 2**31 - 1) == bool(changed[0])
    assert (SCALE, b"rest") == (struct.unpack_from(">I", changed, 20 if changed[0] else 12)[0], changed[-4:])
    assert head == with_duration(changed, 5, before=1)


@pytest.mark.parametrize(("longer", "wide"), [(1000, False), (2**31, True)])
def test_the_last_edit_grows(longer: int, wide: bool) -> None:
    """An empty edit before it (media time -1) keeps its length."""
    edits = struct.pack(">II", 0, 2) + struct.pack(">IiIIiI", 500, -1, 65536, 9000, 1024, 65536)
    changed = longer_edit_list(edits, longer)
    form = ">QqI" if wide else ">IiI"

    assert wide == bool(changed[0])
    assert [(500, -1, 65536), (9000 + longer, 1024, 65536)] == list(struct.iter_unpack(form, changed[8:]))


@pytest.mark.parametrize(
    ("written", "encoder_bps", "expected"),
    [
        ((100, 100), 0, (140, 140)),  # the samples' own
        ((0, 100), 0, (0, 140)),  # the encoder's buffer model has no largest
        ((100, 0), 0, (140, 0)),  # FFmpeg 8: nor an average
        ((128, 100), 128, (140, 140)),
        ((160, 100), 160, (160, 140)),
        ((900, 500), 0, (900, 500)),
    ],
)
def test_bit_rates_are_of_all_samples_where_they_were_of_samples(
    written: tuple[int, int], encoder_bps: int, expected: tuple[int, int]
) -> None:
    rates = BitRates(encoder_bps=encoder_bps, first_bps=100, average_bps=140)
    entry = b"avc1" + box(b"btrt", struct.pack(">III", 7, *written)) + b"more"
    configuration = b"\4\x80\x80\x80\x14\x40\x15" + bytes(3)
    sound = b"mp4a" + box(b"esds", bytes(4), b"\3\x80\x80\x80\x22\0\2\0", configuration, struct.pack(">II", *written))

    assert expected == struct.unpack(">II", with_bit_rates(entry, rates)[16:24])
    assert expected == struct.unpack(">II", with_bit_rates(sound, rates)[-8:])


def test_nonsense_is_refused_in_the_words_that_are_documented() -> None:
    """Bytes changed, cut off, or all noise: an index, or one of the documented errors."""
    noise = random.Random(5)
    whole = segment([track(1, [10, 20, 30], [40, 50, 70], keys=[1])], {1: times(0, 3, 1)}, 40, 60)
    refused = 0
    for _ in range(3000):
        data = bytearray(whole.moov)
        for _ in range(noise.choice((1, 2, 8))):
            data[noise.randrange(len(data))] = noise.randrange(256)
        damaged = noise.choice((bytes(data), bytes(data[: noise.randrange(len(data))]), noise.randbytes(60)))
        index = MovieIndex()
        try:
            index.add(Segment(moov=damaged, times=whole.times, first=40, end=100))
            rendered(index, 0, wide=False)
        except UNREADABLE:
            refused += 1

    assert refused > 1000


def test_boxes_fill_what_they_are_in() -> None:
    data = box(b"aaaa", b"1") + box(b"bbbb") + box(b"cccc", b"22", b"3")

    assert [(b"aaaa", b"1"), (b"bbbb", b""), (b"cccc", b"223")] == list(boxes(data))
    for length in range(1, len(data)):
        if length in accumulate((9, 8)):
            continue
        with pytest.raises(ValueError, match="box"):
            list(boxes(data[:length]))
