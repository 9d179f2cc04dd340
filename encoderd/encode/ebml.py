"""Elements of EBML, of which Matroska and WebM are made. Source: RFC 8794, 4 to 6. Positions are bytes."""

from __future__ import annotations

from collections.abc import Iterator


def elements(piece: bytes, begin: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield (identifier, begin, end of the content) of the elements in a piece, as far as they are whole."""
    while begin < end:
        found = element(piece, begin, end)
        if found is None or found[2] > end:
            return
        yield found
        begin = found[2]


def element(piece: bytes, at: int, end: int) -> tuple[bytes, int, int] | None:
    """
    Return identifier, begin and end of the content of the element at byte `at`, whose head is whole before `end`.

    None where there is none, or its size is not known yet (RFC 8794, 6.2).
    """
    name_length = 9 - piece[at].bit_length() if at < end else 9
    size_at = at + name_length
    length = 9 - piece[size_at].bit_length() if size_at < end else 9
    if name_length > 4 or length > 8 or size_at + length > end:
        return None
    mask = (1 << 7 * length) - 1
    size = int.from_bytes(piece[size_at : size_at + length], "big") & mask
    return None if size == mask else (piece[at:size_at], size_at + length, size_at + length + size)
