"""Text of broadcast tables, in ARIB's coding and in DVB's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoderd.encode.service_text import arib_text, dvb_text


def kanji(text: str) -> bytes:
    """Two-byte codes of JIS X 0208, as the left half of the table shows them."""
    return bytes(byte & 0x7F for byte in text.encode("euc_jp"))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", ""),
        # the state at the beginning: kanji on the left, hiragana on the right
        (kanji("番組"), "番組"),
        (kanji("番組").translate(bytes(range(256))) + b"\xce", "番組の"),
        # letters by locking shift, and back
        (b"\x0eNHK\x0f" + kanji("総合"), "NHK総合"),
        # single shifts: hiragana, katakana, one character each
        (b"\x19\x22\x1d\x22" + kanji("亜"), "あア亜"),
        # locking shifts of the right half, and of the left to G2 and G3
        (b"\x1b\x7c\xa2\xa4", "アイ"),
        (b"\x1b\x7e\xc1\xc2", "AB"),
        (b"\x1b\x6e\x22\x24\x1b\x6f\x22\x24", "あいアイ"),
        # designations: one byte, two bytes, proportional, half-width katakana
        (b"\x1b\x28\x4aABC", "ABC"),
        (b"\x1b\x28\x4a" + b"AB" + b"\x1b\x24\x42" + kanji("漢字"), "AB漢字"),
        (b"\x1b\x24\x29\x42\x0e" + kanji("漢字"), "漢字"),
        (b"\x1b\x2a\x36\xc1\xc2", "AB"),
        (b"\x1b\x29\x49\x0e\x31\x32", "ｱｲ"),
        (b"\x1b\x24\x3b" + b"\x7a\x6b", "[新]"),
        # signs of the kana sets
        (b"\xf9\xfa\xfd\xfe\x1b\x7c\xf7\xf9", "ー。、・ヽー"),
        (b"\x0e\x5c\x7e", "¥‾"),
        # additional symbols
        (b"\x7a\x6b" + kanji("番組") + b"\x7a\x56\x7a\x6d", "[新]番組[字][終]"),
        (b"\x7a\x50\x7a\x58\x7a\x5a\x7a\x5b\x7a\x5c\x7a\x5d\x7a\x6a", "[HV][デ][二][多][解][SS][再]"),
        (b"\x7e\x21\x7e\x61\x7d\x50\x75\x2f\x76\x49", "Ⅰ①½𠮷鷗"),
        # sizes, colours, times and positions say nothing about the text
        (b"\x89\x0eA\x8a\x88B\x87\x90\x20\x41C\x90\x48D\x9d\x20\x41E\x1c\x41\x42F\x9b7;5 WG", "ABCDEFG"),
        (b"\x0eA\x95\x40\x42\x43\x95\x4fB", "AB"),
        (b"\x0eA\x0dB\x20C\x20\x20D", "A B C D"),
        # a macro selects sets
        (b"\x1b\x2b\x20\x70\x1d\x61\x0e\x22", "ア"),
        # characters that come with the data are unknown here
        (b"\x1b\x28\x20\x41\x21\x22\x0eA", "A"),
        (b"\x1b\x24\x28\x20\x40\x21\x22\x0eA", "A"),
        # no such character; half a character; half an escape
        (b"\x29\x21" + kanji("字"), "〓字"),
        (kanji("字") + b"\x30", "字"),
        (kanji("字") + b"\x1b", "字"),
        (kanji("字") + b"\x1b\x24", "字"),
    ],
)
def test_arib_text(data: bytes, expected: str) -> None:
    assert expected == arib_text(data)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", ""),
        (b"Plain", "Plain"),
        (b"\x05D\xfc\xf0", "Düğ"),  # ISO 8859-9
        (b"\x01\xbf\xe0\xd8\xd2\xd5\xe2", "Привет"),  # ISO 8859-5
        (b"\x0b\xa4", "€"),  # ISO 8859-15
        (b"\x10\0\x02\xb1\xe6", "ąć"),  # ISO 8859-2
        (b"\x10\0\x0cAB", "AB"),  # there is no part 12
        (b"\x11\x04\x1f\x04\x40", "Пр"),
        (b"\x12\xc7\xd1\xb1\xdb", "한글"),
        (b"\x13\xd6\xd0\xce\xc4", "中文"),
        ("\x15Grüße ☂".encode(), "Grüße ☂"),
        # ISO 6937: the mark stands before the letter
        (b"M\xc8unchen \xc2etude \xcfs \xcb\x63", "München étude š ç"),
        (b"\xa4 5 \xfb \xe1 \xaa\xba", "€ 5 ß Æ “”"),
        (b"\xc8", ""),
        # emphasis and line breaks
        (b"The \x86News\x87\x8aat ten", "The News at ten"),
        (b"\x05The \x86News\x87\x8aat ten", "The News at ten"),
        ("\x15The \ue086News\ue087\ue08aat ten".encode(), "The News at ten"),
        (b"\x15broken \xff\xfe utf", "broken utf"),
        (b"\x1f\x01xy", "xy"),
        (b"\x08AB", "AB"),
    ],
)
def test_dvb_text(data: bytes, expected: str) -> None:
    assert expected == dvb_text(data)


@given(st.binary(max_size=300))
def test_no_bytes_make_it_raise(data: bytes) -> None:
    """And whatever comes out can be printed on one line."""
    for text in (arib_text(data), dvb_text(data)):
        assert text == text.strip()
        assert text.isprintable()
        text.encode("utf-8")
