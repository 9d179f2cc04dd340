"""DVB subtitles in whole display sets, byte by byte; that FFmpeg shows them is seen in test_damage_truth.py."""

from __future__ import annotations

from fractions import Fraction

import pytest

from encoderd.encode.display_sets import LATE_S, DisplaySets, in_pieces, segments


def segment(kind: int, body: bytes = b"") -> bytes:
    return bytes([0x0F, kind, 0, 1]) + len(body).to_bytes(2, "big") + body


PAGE, REGION, END = segment(0x10, b"page"), segment(0x11, b"\x20\x00\xff"), segment(0x80)


def framed(*parts: bytes) -> bytes:
    return b"\x20\x00" + b"".join(parts) + b"\xff"


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        (framed(PAGE, REGION), [PAGE, REGION]),
        (PAGE + END, [PAGE, END]),
        (framed(PAGE) + b"\xff" * 9, [PAGE]),
        (framed(PAGE, REGION[:-1])[:-1], [PAGE]),
        (b"", []),
        (b"\x20\x00", []),
        (b"\x21\x00" + PAGE, []),
    ],
)
def test_segments_of_a_packet(packet: bytes, expected: list[bytes]) -> None:
    """Without frame and stuffing; a broken one is not there."""
    assert expected == segments(packet)


@pytest.mark.parametrize(
    ("packets", "expected"),
    [
        ([(1, framed(PAGE, END))], [(0, PAGE + END)]),
        ([(1, PAGE), (1, framed(REGION)), (1, framed(END))], [(0, PAGE + REGION + END)]),
        ([(1, PAGE), (None, framed(END))], [(0, PAGE + END)]),
        ([(1, PAGE), (2, PAGE + END)], [(0, PAGE), (1, PAGE + END)]),
        ([(1, PAGE + END), (1, framed(PAGE, END))], [(0, PAGE + END), (1, PAGE + END)]),
        ([(1, PAGE), (1, b"what is this"), (1, END)], [(0, PAGE), (1, b"what is this"), (2, END)]),
        ([(1, PAGE), (1, framed(REGION))], [(0, PAGE + REGION)]),
    ],
)
def test_what_shares_a_time_is_one_set(
    packets: list[tuple[int | None, bytes]], expected: list[tuple[int, bytes]]
) -> None:
    """Until its last segment, another time, or what is no segment. Each set comes with its first packet."""
    sets: DisplaySets[int] = DisplaySets()
    found = []
    for number, (at_s, data) in enumerate(packets):
        found += list(sets.add(number, None if at_s is None else Fraction(at_s), data))
    found += list(sets.finish())

    assert expected == found


def test_a_set_without_an_end_is_shown_in_time() -> None:
    sets: DisplaySets[int] = DisplaySets()
    held = list(sets.add(7, Fraction(3), PAGE))

    assert [] == held + list(sets.reached(Fraction(3 + LATE_S)))
    assert [(7, PAGE)] == list(sets.reached(3 + LATE_S + Fraction(1, 25)))
    assert [] == list(sets.finish())


def test_a_large_set_is_cut_between_segments() -> None:
    """A PES packet has 16 bits for its length, a display set of a large picture may be longer."""
    objects = [segment(0x13, bytes([number]) * 300) for number in range(5)]

    assert [b"".join(objects)] == in_pieces(b"".join(objects), 2000)
    assert [b"".join(objects[:2]), b"".join(objects[2:4]), objects[4]] == in_pieces(b"".join(objects), 700)
