"""
Text of broadcast tables: ARIB's 8-unit coding of Japan, and DVB's many tables of characters.

Titles come as broadcasters typed them and as reception left them: nothing here raises, what makes no sense is left out.
Sources: ARIB STD-B24 volume 1 part 2, 7.1 (8-unit coding; its state at the beginning of a text of SI: ARIB STD-B10
part 2, annex A) and table 7-20 (additional symbols, here in the words of Unicode 5.2); ETSI EN 300 468 annex A with
ISO/IEC 6937.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field

_MISSING = "〓"  # what printers in Japan set for a character they do not have


def dvb_text(data: bytes) -> str:
    """Return a DVB text: the first byte may name the table, line breaks become spaces, emphasis is left out."""
    if not data:
        return ""
    first, coding, body = data[0], "", data[1:]
    if first >= 0x20:
        return _clean(_iso6937(data))
    if first in _DVB_TABLES:
        coding = _DVB_TABLES[first]
    elif first == 0x10 and len(data) >= 3:
        coding, body = f"iso8859_{data[2]}", data[3:]
    if coding not in _KNOWN:
        return _clean(_iso6937(body))
    if coding.startswith("iso8859"):
        body = bytes(0x20 if byte == 0x8A else byte for byte in body if byte == 0x8A or not 0x80 <= byte < 0xA0)
    return _clean(body.decode(coding, "ignore").replace("\ue08a", " ").replace("\x8a", " "))


#: EN 300 468, table A.3. 8 is reserved; 0x14 is the traditional Chinese part of ISO 10646.
_DVB_TABLES = {
    **{number: f"iso8859_{number + 4}" for number in (1, 2, 3, 4, 5, 6, 7, 9, 10, 11)},
    0x11: "utf_16_be",
    0x12: "euc_kr",
    0x13: "gb2312",
    0x14: "utf_16_be",
    0x15: "utf_8",
}
_KNOWN = {*_DVB_TABLES.values(), *(f"iso8859_{part}" for part in range(1, 17) if part != 12)}
#: ISO/IEC 6937: what follows the ASCII half, with the euro sign where EN 300 468 puts it.
_ISO6937 = {
    **dict(enumerate("\u00a0¡¢£€¥\u0000§¤‘“«←↑→↓°±²³×µ¶·÷’”»¼½¾¿", 0xA0)),
    **dict(enumerate("―¹®©™♪¬¦", 0xD0)),
    **dict(enumerate("⅛⅜⅝⅞ΩÆĐªĦ\u0000ĲĿŁØŒºÞŦŊŉĸæđðħıĳŀłøœßþŧŋ\u00ad", 0xDC)),
}
#: A mark stands before its letter there, behind it in Unicode.
_MARKS = {
    0xC1 + number: mark
    for number, mark in enumerate(
        "\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u0308\u030a\u0327\u0332\u030b\u0328\u030c"
    )
}


def _iso6937(data: bytes) -> str:
    found: list[str] = []
    mark = ""
    for byte in data:
        if byte in _MARKS:
            mark = _MARKS[byte]
            continue
        one = " " if byte == 0x8A else chr(byte) if byte < 0x80 else _ISO6937.get(byte, "")
        found.append(one + mark if one else "")
        mark = ""
    return unicodedata.normalize("NFC", "".join(found))


def _clean(text: str) -> str:
    """Return the text without control and private characters, runs of spaces as one."""
    words = "".join(char if char.isspace() or unicodedata.category(char) not in _UNSHOWN else "" for char in text)
    return " ".join(words.split())


_UNSHOWN = {"Cc", "Cf", "Co", "Cs", "Cn"}


# --- ARIB


def arib_text(data: bytes) -> str:
    """Return a text in ARIB's 8-unit coding; line breaks become spaces, [新] and its like stay in brackets."""
    return _clean(_Arib().read(data))


_KANJI, _LETTERS, _HIRAGANA, _KATAKANA, _HALF_KATAKANA, _MACRO, _UNKNOWN, _UNKNOWN_WIDE = range(8)
#: Final byte of a designation → set.
_ONE_BYTE = {
    0x4A: _LETTERS, 0x36: _LETTERS, 0x30: _HIRAGANA, 0x37: _HIRAGANA, 0x31: _KATAKANA, 0x38: _KATAKANA,
    0x49: _HALF_KATAKANA,
}  # fmt: skip
_TWO_BYTES = {0x42: _KANJI, 0x39: _KANJI, 0x3A: _KANJI, 0x3B: _KANJI}
_WIDE = {_KANJI, _UNKNOWN_WIDE}
#: Control codes of C1 → bytes that belong to them.
_PARAMETERS = {0x16: 1, 0x1C: 2, 0x8B: 1, 0x90: 1, 0x91: 1, 0x93: 1, 0x94: 1, 0x97: 1, 0x98: 1, 0x92: 1, 0x9D: 2}
#: What both kana sets have behind their letters.
_KANA_SIGNS = "ー。「」、・"
#: The default macros that select sets for text; the others select mosaics and characters that come with the data.
_MACROS = {
    0x60: b"\x1b$B\x1b)J\x1b*0\x1b+ p\x0f\x1b}",
    0x61: b"\x1b$B\x1b)1\x1b*0\x1b+ p\x0f\x1b}",
    0x6E: b"\x1b(1\x1b)0\x1b*J\x1b+ p\x0f\x1b}",
}


@dataclass(slots=True)
class _Arib:
    """The state of the coding: four designated sets, and which of them the two halves of the byte table show."""

    sets: list[int] = field(default_factory=lambda: [_KANJI, _LETTERS, _HIRAGANA, _KATAKANA])
    left: int = 0
    right: int = 2

    def read(self, data: bytes, depth: int = 0) -> str:
        found: list[str] = []
        at, single = 0, -1
        while at < len(data):
            byte = data[at]
            if 0x21 <= byte <= 0x7E or 0xA1 <= byte <= 0xFE:
                place = single if single >= 0 else self.left if byte < 0x80 else self.right
                single = -1
                code = data[at : at + (2 if self.sets[place] in _WIDE else 1)]
                at += len(code)
                if self.sets[place] == _MACRO:
                    if depth == 0:
                        found.append(self.read(_MACROS.get(byte & 0x7F, b""), 1))
                else:
                    found.append(_character(self.sets[place], bytes(one & 0x7F for one in code)))
                continue
            at += 1
            if byte == 0x1B:
                at += self._escape(data[at : at + 4])
            elif byte in (0x19, 0x1D):
                single = 2 if byte == 0x19 else 3
            elif byte in (0x0E, 0x0F):
                self.left = 1 if byte == 0x0E else 0
            elif byte in (0x20, 0xA0, 0x0D, 0x0A, 0x09):
                found.append(" ")
            else:
                at += _parameters(byte, data[at:])
        return "".join(found)

    def _escape(self, rest: bytes) -> int:
        """Follow an escape sequence, without its first byte; return how long it is."""
        shifts = {0x6E: (2, None), 0x6F: (3, None), 0x7E: (None, 1), 0x7D: (None, 2), 0x7C: (None, 3)}
        if not rest:
            return 0
        if rest[0] in shifts:
            left, right = shifts[rest[0]]
            self.left = self.left if left is None else left
            self.right = self.right if right is None else right
            return 1
        wide = rest[0] == 0x24
        at = 1 if wide else 0
        place = 0
        if at < len(rest) and 0x28 <= rest[at] <= 0x2B:
            place = rest[at] - 0x28
            at += 1
        elif not wide:
            return 1
        loaded = at < len(rest) and rest[at] == 0x20  # characters that came with the data, and macros
        at += loaded
        if at < len(rest):
            if loaded:
                self.sets[place] = _UNKNOWN_WIDE if wide else _MACRO if rest[at] == 0x70 else _UNKNOWN
            elif wide:
                self.sets[place] = _TWO_BYTES.get(rest[at], _UNKNOWN_WIDE)
            else:
                self.sets[place] = _ONE_BYTE.get(rest[at], _UNKNOWN)
        return at + 1


def _parameters(code: int, rest: bytes) -> int:
    """Return how many bytes behind a control code belong to it."""
    if code == 0x9B:  # CSI: up to its final byte
        return next((at + 1 for at, byte in enumerate(rest) if 0x40 <= byte <= 0x7E), len(rest))
    if code == 0x95:  # a macro is defined: up to the code that ends it
        end = rest.find(b"\x95\x4f")
        return len(rest) if end < 0 else end + 2
    if code in (0x90, 0x92) and rest[:1] == b"\x20":
        return 2
    return _PARAMETERS.get(code, 0)


def _character(table: int, code: bytes) -> str:
    first = code[0]
    if table == _LETTERS:
        return {0x5C: "¥", 0x7E: "‾"}.get(first, chr(first))
    if table in (_HIRAGANA, _KATAKANA):
        if first >= 0x79:
            return _KANA_SIGNS[first - 0x79]
        if first >= 0x77:
            return ("ゝゞ" if table == _HIRAGANA else "ヽヾ")[first - 0x77]
        if table == _HIRAGANA:
            return chr(0x3041 + first - 0x21) if first <= 0x73 else ""
        return chr(0x30A1 + first - 0x21)
    if table == _HALF_KATAKANA:
        return chr(0xFF61 + first - 0x21) if first <= 0x5F else ""
    if table != _KANJI or len(code) < 2:
        return ""
    if first in _ADDITIONAL:
        begin, row = _ADDITIONAL[first]
        place = code[1] - begin
        return row[place] if 0 <= place < len(row) else _MISSING
    return bytes(byte | 0x80 for byte in code).decode("euc_jp", "ignore") or _MISSING


def _symbols(text: str) -> tuple[str, ...]:
    """Return the characters of a row, enclosed ones in plain letters: few fonts have them."""
    return tuple(_plain(char) for char in text)


def _plain(char: str) -> str:
    code = ord(char)
    if 0x1F130 <= code < 0x1F240 or code == 0x1F12D:
        return f"[{unicodedata.normalize('NFKC', char)}]"
    if 0x1F100 <= code < 0x1F300 or 0x2488 <= code <= 0x249B:
        return unicodedata.normalize("NFKC", char)
    return char


def _range(first: int, last: int) -> str:
    return "".join(map(chr, range(first, last + 1)))


#: First byte of a two-byte code → (the second byte that begins the row here, its characters).
_ADDITIONAL: dict[int, tuple[int, tuple[str, ...]]] = {
    0x75: (
        0x21,
        tuple(
            "㐂𠅘份仿侚俉傜儞冼㔟匇卡卬詹𠮷呍咖咜咩唎啊噲囤圳圴塚墀姤娣婕寬﨑㟢庬弴彅德怗恵愰昤曈曙曺曻桒鿄"
            "椑椻橅檑櫛𣏌𣏾𣗄毱泠洮海涿淊淸渚潞濹灤𤋮𤋮煇燁爀玟玨珉珖琛琡琢琦琪琬琹瑋㻚畵疁睲䂓磈磠祇禮鿆䄃"
        ),
    ),
    0x76: (0x21, tuple("鿅秚稞筿簱䉤綋羡脘脺舘芮葛蓜蓬蕙藎蝕蟬蠋裵角諶跎辻迶郝鄧鄭醲鈳銈錡鍈閒雞餃饀髙鯖鷗麴麵")),
    0x7A: (
        0x4D,
        _symbols(
            "⒑⒒⒓\U0001f14a\U0001f14c\U0001f13f\U0001f146\U0001f14b\U0001f210\U0001f211\U0001f212\U0001f213\U0001f142"
            "\U0001f214\U0001f215\U0001f216\U0001f14d\U0001f131\U0001f13d■●\U0001f217\U0001f218\U0001f219\U0001f21a"
            "\U0001f21b⚿" + _range(0x1F21C, 0x1F225) + "\U0001f14e㊙\U0001f200"
        ),
    ),
    0x7C: (
        0x21,
        _symbols(
            "→←↑↓●○年月日円㎡㎥㎝㎠㎤\U0001f100"
            + _range(0x2488, 0x2490)
            + "氏副元故前新"
            + _range(0x1F101, 0x1F10A)
            + "㈳㈶㈲㈱㈹㉄▶◀〖〗⟐²³\U0001f12d"
        ),
    ),
    0x7D: (
        0x21,
        _symbols(
            "㈪㈫㈬㈭㈮㈯㈰㈷㍾㍽㍼㍻№℡〶⚾" + _range(0x1F240, 0x1F248) + "\U0001f12a\U0001f227\U0001f228\U0001f229"
            "\U0001f214" + _range(0x1F22A, 0x1F231) + "ℓ㎏㎐㏊㎞㎢㍱〓〓½↉⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅑⅒"
            "☀☁☂⛄☖☗⛉⛊♦♥♣♠⛋⨀‼⁉⛅☔⛆☃⛇⚡⛈〓⚞⚟♬☎"
        ),
    ),
    0x7E: (
        0x21,
        _symbols(
            _range(0x2160, 0x216B)
            + _range(0x2470, 0x247F)
            + _range(0x3251, 0x3254)
            + _range(0x1F110, 0x1F129)
            + _range(0x3255, 0x325A)
            + _range(0x2460, 0x246F)
            + _range(0x2776, 0x277F)
            + "⓫⓬㉛"
        ),
    ),
}
