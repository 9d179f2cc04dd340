"""Captions of pictures that are left out go on with the next ones."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from encoderd.encode.closed_captions import MOST_WAITING, CarriedCaptions, triplets

pytestmark = pytest.mark.usefixtures("frozen_heap")

FIELD_1, FIELD_2, PACKET, PADDING = b"\xfc\x80\x80", b"\xfd\x80\x80", b"\xff\x01\x02", b"\xfa\x00\x00"


class Entry:
    """Side data as PyAV shows it: bytes to read, and where they are."""

    def __init__(self, data: bytes) -> None:
        self._memory = ctypes.create_string_buffer(data, len(data))
        self.buffer_ptr, self.buffer_size = ctypes.addressof(self._memory), len(data)

    def __bytes__(self) -> bytes:
        return self._memory.raw


class Picture:
    """A picture with these triplets, or without captions."""

    def __init__(self, *data: bytes) -> None:
        self.side_data = {"A53_CC": Entry(b"".join(data))} if data else {}


def picture(*data: bytes) -> Any:
    return Picture(*data)


def test_what_waits_goes_before_the_picture_s_own_and_608_before_708() -> None:
    carried, shown = CarriedCaptions(), picture(FIELD_1, PACKET, PADDING, PADDING, PADDING)
    carried.take(picture(FIELD_2, PACKET, PADDING))
    carried.give(shown)

    assert [FIELD_2, FIELD_1, PACKET, PACKET] == triplets(shown)
    assert (0, 0) == (carried.waiting, carried.lost)


def test_what_finds_no_place_waits() -> None:
    """A picture without captions has none; a full one passes its last ones on."""
    carried, full, free = CarriedCaptions(), picture(FIELD_1), picture(PADDING, PADDING)
    carried.take(picture(FIELD_2))
    carried.give(picture())
    carried.give(full)

    assert ([FIELD_2], 1) == (triplets(full), carried.waiting)

    carried.give(free)

    assert ([FIELD_1], 0) == (triplets(free), carried.waiting)


def test_what_waits_is_bounded_and_what_is_lost_is_counted() -> None:
    carried = CarriedCaptions()
    for _ in range(MOST_WAITING + 3):
        carried.take(picture(FIELD_1))

    assert (MOST_WAITING, 3) == (carried.waiting, carried.lost)


def test_damaged_captions_are_no_error() -> None:
    """Cut off within a triplet."""
    shown = picture(FIELD_1 + b"\xfc\x01")
    carried = CarriedCaptions()
    carried.take(shown)
    carried.give(shown)

    assert [FIELD_1] == triplets(shown)
