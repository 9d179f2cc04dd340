"""
Chapters inside of chapters, as Matroska has them: FFmpeg lists the outermost alone.

Source: RFC 9559, 5.1.7 (Chapters). libavformat's matroskadec.c skips an atom in an atom.
"""

from __future__ import annotations

from collections.abc import Iterator

from encoderd.encode.ebml import element, elements
from encoderd.encode.media import Chapter

_CHAPTERS, _EDITION, _ATOM, _DISPLAY = b"\x10\x43\xa7\x70", b"\x45\xb9", b"\xb6", b"\x80"
_START, _END, _HIDDEN, _ENABLED, _TEXT = b"\x91", b"\x92", b"\x98", b"\x45\x98", b"\x85"
_NANOSECONDS_IN_MS = 1_000_000
#: More atoms than these, or deeper ones, are noise.
_MOST_ATOMS, _DEEPEST = 10_000, 8


def inner_chapters(piece: bytes) -> list[Chapter]:
    """
    Return the chapters inside of others, on the file's clock; `piece` is a part of the file with all of them, or none.

    Hidden ones and those that are switched off are left out, as players do. Never raises.
    """
    at = piece.find(_CHAPTERS)
    while at >= 0:
        found = element(piece, at, len(piece))
        if found is not None and found[2] <= len(piece):
            atoms = [
                inner
                for name, begin, end in elements(piece, found[1], found[2])
                if name == _EDITION
                for outer, first, last in elements(piece, begin, end)
                if outer == _ATOM
                for inner in _inside(piece, first, last, 1)
            ]
            if atoms:
                return atoms[:_MOST_ATOMS]
        at = piece.find(_CHAPTERS, at + 1)  # what was found is the entry of a table of contents
    return []


def _inside(piece: bytes, begin: int, end: int, depth: int) -> Iterator[Chapter]:
    """Yield the chapters in one atom, and in those."""
    for name, first, last in elements(piece, begin, end):
        if name == _ATOM and depth < _DEEPEST:
            chapter = _chapter(piece, first, last)
            if chapter is not None:
                yield chapter
            yield from _inside(piece, first, last, depth + 1)


def _chapter(piece: bytes, begin: int, end: int) -> Chapter | None:
    told = {name: piece[first:last] for name, first, last in reversed([*elements(piece, begin, end)])}
    if _START not in told or any(told.get(_HIDDEN, b"")) or not any(told.get(_ENABLED, b"\1")):
        return None
    start_ms, end_ms = (
        round(int.from_bytes(told[name], "big") / _NANOSECONDS_IN_MS) if name in told else None
        for name in (_START, _END)
    )
    display = told.get(_DISPLAY, b"")
    text = next((display[first:last] for name, first, last in elements(display, 0, len(display)) if name == _TEXT), b"")
    title = text.partition(b"\0")[0].decode("utf-8", "replace")
    assert start_ms is not None
    return Chapter(start_ms=start_ms, end_ms=end_ms, title=title)
