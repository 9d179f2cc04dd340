"""What tracks are for: descriptors in, FFmpeg's words out; which containers keep which; which track is played first."""

from __future__ import annotations

import pytest

from encoderd.encode.dispositions import (
    DESCRIPTION,
    Flagged,
    arib_audio,
    bits_of,
    comparable,
    default_track,
    kept,
    lost,
    named,
    title_for,
    told_by,
)

MIXED = (*DESCRIPTION, "dependent")


@pytest.mark.parametrize(
    ("tag", "body", "told"),
    [
        (0x0A, b"deu\0", ()),
        (0x0A, b"deu\1", ("clean_effects",)),
        (0x0A, b"deu\2", ("hearing_impaired",)),
        (0x0A, b"deu\3", DESCRIPTION),
        (0x0A, b"deu\3eng\0", ()),  # one of two sounds alone
        (0x0A, b"deu", ()),
        (0x7F, b"\x06\x84", DESCRIPTION),  # broadcaster's mix
        (0x7F, b"\x06\x05eng", MIXED),
        (0x7F, b"\x06\x88", ("hearing_impaired",)),
        (0x7F, b"\x06\x8c", ("visual_impaired",)),
        (0x7F, b"\x06\x80", ()),
        (0x7F, b"\x15\x04", ()),  # another extension
        (0x59, b"deu\x10\0\1\0\1", ()),
        (0x59, b"deu\x20\0\1\0\1", ("hearing_impaired",)),
        (0x59, b"deu\x24\0\1\0\1deu\x10\0\1\0\1", ()),
        (0x56, b"deu\x09\x00deu\x29\x50", ("hearing_impaired",)),  # the initial page, then subtitles
        (0x56, b"deu\x11\x50deu\x29\x51", ()),
        (0x6A, b"\x80\x52", (*DESCRIPTION,)),  # full service, for who does not see well
        (0x6A, b"\x80\x12", MIXED),
        (0x6A, b"\x80\x5a", ("hearing_impaired",)),
        (0x6A, b"\x80\x2a", ("comment", "dependent")),
        (0x6A, b"\x80\x7a", ("karaoke",)),
        (0x6A, b"\x40\x52", ()),  # no component_type
        (0x7A, b"\x80\xd2", (*DESCRIPTION,)),
        (0x7C, b"\x51\x80\x42", MIXED),
        (0x7C, b"\x51", ()),
        (0x81, b"\x08\x38\x45", (*DESCRIPTION,)),
        (0x81, b"\x08\x38\x44", MIXED),
        (0x81, b"\x08\x38\x05", ()),
        (0xCC, b"\xc0\xd2", (*DESCRIPTION,)),
        (0xCC, b"\xc0\x92", MIXED),
        (0xCC, b"\xc0", ()),
    ],
)
def test_what_descriptors_say(tag: int, body: bytes, told: tuple[str, ...]) -> None:
    assert set(told) == set(told_by(tag, body))


def test_what_arib_says() -> None:
    """Types 0x40 and 0x41 of old, the two bits of today; and the main component."""
    assert ((*DESCRIPTION,), ("hearing_impaired",)) == (arib_audio(0x40, main=False), arib_audio(0x41, main=False))
    assert (*DESCRIPTION,) == arib_audio(0x23, main=False)
    assert ("default",) == arib_audio(0x03, main=True)


@pytest.mark.parametrize("bits", [0x1, 0x108, 0x20100, 0x3FFFFF])
def test_bits_are_names(bits: int) -> None:
    known = bits & 0x3F1FFF

    assert known & ~1 == bits_of(named(bits))


def test_what_containers_keep() -> None:
    assert ("comment",) == kept("mp4", "audio", ("comment", "original", "dependent"))
    assert ("original", "comment") == kept("matroska", "audio", ("comment", "original", "dependent"))
    assert ("original", "dependent") == lost("mp4", "audio", ("comment", "original", "dependent"))
    assert () == lost("mp4", "audio", DESCRIPTION)
    assert () == lost("matroska", "audio", DESCRIPTION)
    assert ("captions",) == lost("matroska", "audio", ("captions",))
    assert ("visual_impaired",) == comparable("mp4", DESCRIPTION)


def test_a_title_says_what_no_flag_can() -> None:
    assert "to be mixed with the main sound" == title_for(MIXED)
    assert "" == title_for(DESCRIPTION)


@pytest.mark.parametrize(
    ("tracks", "first"),
    [
        ([], -1),
        ([(False, ()), (False, ())], 0),
        ([(False, DESCRIPTION), (False, ())], 1),
        ([(True, DESCRIPTION), (False, ())], 1),  # whatever the source says
        ([(False, ()), (True, ())], 1),
        ([(True, ("comment",)), (False, ("hearing_impaired",))], 1),
        ([(False, ("comment",)), (True, MIXED)], 1),  # nothing else is there
    ],
)
def test_which_track_is_played_first(tracks: list[tuple[bool, tuple[str, ...]]], first: int) -> None:
    assert first == default_track([Flagged(default=default, dispositions=names) for default, names in tracks])
