"""Which Dolby Vision has a picture for other screens, and where that is told."""

from __future__ import annotations

import pytest

from encoderd.encode.dolby_vision import Configuration, in_descriptors, in_tracks
from encoderd.encode.elementary_streams import descriptors
from tests.dolby_vision import descriptor, record


@pytest.mark.parametrize(
    ("profile", "compatibility", "wanted"),
    [(5, 0, False), (10, 0, False), (20, 0, False), (10, 1, True), (10, 4, True), (8, 1, True), (8, 2, True),
     (8, 4, True), (7, 6, True), (7, 0, True), (4, 2, True), (9, 2, True)],
)  # fmt: skip
def test_profiles_without_a_base_layer(profile: int, compatibility: int, wanted: bool) -> None:
    """Profile 5 never has one, AV1 and multiview HEVC where it is told; old records of others tell nothing."""
    found = Configuration(profile=profile, compatibility=compatibility)

    assert wanted is found.has_base


@pytest.mark.parametrize("kind", [b"dvcC", b"dvvC", b"dvwC"])
def test_the_record_is_found_in_both_containers(kind: bytes) -> None:
    """In MP4 a box of 32 bytes; in Matroska a mapping whose elements may be in either order."""
    wanted = Configuration(profile=10, compatibility=4)
    data = record(10, 4)
    value, extra = b"\x41\xe7\x84" + kind, b"\x41\xed\x98" + data

    assert wanted == in_tracks(b"hev1" + bytes(70) + b"\0\0\0\x20" + kind + data + b"\0\0\0\x10pasp")
    assert wanted == in_tracks(bytes(30) + value + extra + bytes(9))
    assert wanted == in_tracks(bytes(30) + extra + value)
    assert in_tracks(bytes(30) + value) is None
    assert in_tracks(b"\0\0\0\x20" + kind + record(10, 4, version=9)) is None


def test_the_descriptor_is_a_private_one() -> None:
    """It counts with a version that exists; with the base layer in another PID, that PID stands before the rest."""
    other = bytes([0xB0, 7, 1, 0]) + (7 << 9 | 6 << 3 | 0b110).to_bytes(2, "big") + b"\x08\x8f" + bytes([6 << 4])

    assert Configuration(profile=5, compatibility=0) == in_descriptors(descriptors(b"\x05\x04HEVC" + descriptor(5)))
    assert Configuration(profile=8, compatibility=4) == in_descriptors(descriptors(descriptor(8, 4)))
    assert Configuration(profile=7, compatibility=6) == in_descriptors(descriptors(other))
    assert in_descriptors(descriptors(descriptor(5, version=0x4A))) is None
    assert in_descriptors(descriptors(bytes([0xB0, 2, 1, 0]))) is None
