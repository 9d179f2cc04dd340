"""Chapters inside of chapters are found in the bytes of a Matroska file, and noise is none."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from encoderd.encode.matroska_chapters import inner_chapters
from encoderd.encode.media import Chapter
from tests.broadcast.containers import element

CHAPTERS, EDITION, ATOM, HIDDEN, ENABLED = b"\x10\x43\xa7\x70", b"\x45\xb9", b"\xb6", b"\x98", b"\x45\x98"
TABLE_OF_CONTENTS = b"\x53\xab\x84" + CHAPTERS + b"\x53\xac\x81\x07"


def atom(begin_s: int, title: str, *inner: bytes) -> bytes:
    words = element(b"\x80", element(b"\x85", title.encode() + b"\0\0"))
    return element(ATOM, element(b"\x91", (begin_s * 10**9).to_bytes(5, "big")) + words + b"".join(inner))


def chapters(*atoms: bytes) -> bytes:
    return element(CHAPTERS, element(EDITION, b"".join(atoms)))


def test_those_inside_are_found_however_deep() -> None:
    """The outermost are FFmpeg's; hidden ones and those that are switched off are nobody's."""
    deep = atom(1, "scene", atom(2, "shot"), atom(3, "hidden", element(HIDDEN, b"\1")))
    off = atom(4, "off", element(ENABLED, b"\0"))
    piece = b"\x1a" * 100 + TABLE_OF_CONTENTS + chapters(atom(0, "part", deep, off), atom(9, "rest")) + b"\xec" * 50

    assert [Chapter(start_ms=1_000, title="scene"), Chapter(start_ms=2_000, title="shot")] == inner_chapters(piece)
    assert [] == inner_chapters(chapters(atom(0, "part"), atom(9, "rest")))


def test_a_piece_that_ends_in_them_has_none() -> None:
    """The other end of the file is asked then."""
    whole = chapters(atom(0, "part", atom(1, "scene")))

    assert 1 == len(inner_chapters(whole))
    assert [] == inner_chapters(whole[:-1])


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 200), st.binary(max_size=4))
def test_anything_may_stand_there(noise: bytes, at: int, changed: bytes) -> None:
    whole = chapters(atom(0, "part", atom(1, "scene", atom(2, "shot"))))

    inner_chapters(whole[:at] + changed + whole[at + len(changed) :] + noise)
    inner_chapters(CHAPTERS + noise)
