"""Captions of three kinds, built by hand: enough for a demuxer to know them, and to be compared byte by byte."""

from __future__ import annotations

from collections.abc import Iterable

from tests.broadcast.transport import HZ, Unit


def dvb_subtitle_units(seconds: Iterable[int]) -> list[Unit]:
    """
    One page of no regions each second, then its end of display set (ETSI EN 300 743, 7.2).

    Each PES packet: data_identifier 0x20, subtitle_stream_id 0, segments, end marker 0xFF.
    """
    units = []
    for second in seconds:
        page = bytes([0x0F, 0x10, 0, 1, 0, 2, 5, second % 16 << 4 | 0x04])
        end = bytes([0x0F, 0x80, 0, 1, 0, 0])
        units.append(Unit(pts=second * HZ, dts=second * HZ, data=b"\x20\x00" + page + end + b"\xff"))
    return units


#: Teletext bytes go least significant bit first; letters with odd parity.
def _teletext(text: str) -> bytes:
    coded = bytes(byte | (0x80 if byte.bit_count() % 2 == 0 else 0) for byte in text.encode("ascii"))
    return bytes(int(f"{byte:08b}"[::-1], 2) for byte in coded)


_HAMMING = (0x15, 0x02, 0x49, 0x5E, 0x64, 0x73, 0x38, 0x2F, 0xD0, 0xC7, 0x8C, 0x9B, 0xA1, 0xB6, 0xFD, 0xEA)


def teletext_units(seconds: Iterable[int]) -> list[Unit]:
    """
    A row of subtitle page 888 each second (ETSI EN 300 472, 4: units of 46 bytes; EN 300 706, 7.1 and 8.2).

    A PES packet is filled to 184 n − 45 bytes of payload, so three units follow the data_identifier.
    """
    units = []
    for second in seconds:
        rows = [_teletext_row(20 + number, f"SECOND {second}".ljust(40)) for number in range(3)]
        units.append(Unit(pts=second * HZ, dts=second * HZ, data=b"\x10" + b"".join(rows)))
    return units


def _teletext_row(row: int, text: str) -> bytes:
    magazine = 0  # of page 888: magazine 8 is sent as 0
    address = bytes(int(f"{_HAMMING[nibble]:08b}"[::-1], 2) for nibble in (magazine | (row & 1) << 3, row >> 1))
    return bytes([0x03, 0x2C, 0xC0 | 0x20 | 7, 0xE4]) + address + _teletext(text)


def arib_units(seconds: Iterable[int], words: str = "second ") -> list[Unit]:
    """
    A caption statement each second (ARIB STD-B24, volume 1 part 3, 9): data group of a PES packet with
    data_identifier 0x80 and private_stream_id 0xFF.
    """
    units = []
    for second in seconds:
        text = f"{words}{second}".encode("ascii")
        unit = b"\x1f\x20" + len(text).to_bytes(3, "big") + text
        body = b"\x3f" + len(unit).to_bytes(3, "big") + unit
        group = bytes([0x04, 0, 0]) + len(body).to_bytes(2, "big") + body
        data = b"\x80\xff\xf0" + group + _crc16(group).to_bytes(2, "big")
        units.append(Unit(pts=second * HZ, dts=second * HZ, data=data))
    return units


def _crc16(data: bytes) -> int:
    """ARIB STD-B24: x^16 + x^12 + x^5 + 1, zero at the start."""
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc


def dvb_display_set_units(seconds: Iterable[float]) -> list[Unit]:
    """
    A display set at each of the times, its five segments in PES packets of their own that share one PTS: page,
    region, CLUT, object, end (ETSI EN 300 743, 7.2; some multiplexers do so).

    The region is 8 × 2 pixels of one colour.
    """
    units = []
    for number, second in enumerate(seconds):
        version = number % 16 << 4
        page = bytes([5, version | 0x04 | 0x0B & 3, 1, 0xFF, 0, 8, 0, 8])
        region = bytes([1, version | 8, 0, 8, 0, 2, 0x24 | 3, 2, 0, 0x10 | 1, 0, 1, 0, 0, 0, 0])
        clut = bytes([1, version, 1, 0x41, 0xEB, 0x80, 0x80, 0])
        pixels = bytes([0x10, 0x08, 0x00])
        object_data = bytes([0, 1, version, 0, len(pixels), 0, 0]) + pixels + b"\0"
        segments = ((0x10, page), (0x11, region), (0x12, clut), (0x13, object_data), (0x80, b""))
        for kind, body in segments:
            segment = bytes([0x0F, kind, 0, 1]) + len(body).to_bytes(2, "big") + body
            pts = round(second * HZ)
            units.append(Unit(pts=pts, dts=pts, data=b"\x20\x00" + segment + b"\xff"))
    return units


def pgs_units(shown: Iterable[tuple[float, float]]) -> list[Unit]:
    """
    Captions of discs and cameras (HDMV PGS) from each time to the next: a set of segments that shows 8 × 2 pixels, and
    one that clears the screen, each segment in a PES packet of its own. Its PTS is when it has to be decoded, but the
    first one's, when the set is shown.
    """
    units = []
    for number, (begin_s, end_s) in enumerate(shown):
        place = bytes([0, 0, 0, 0, 0, 8, 0, 8])  # object and window 0, not cropped
        window = bytes([1, 0, 0, 8, 0, 8, 0, 8, 0, 2])
        pixels = bytes([0, 8, 0, 2]) + bytes([0, 0x80 | 8, 1, 0, 0]) * 2
        picture = bytes([0, 0, 0, 0xC0]) + len(pixels).to_bytes(3, "big") + pixels
        palette = bytes([0, 0, 1, 0xEB, 0x80, 0x80, 0xFF])
        head = bytes([1, 0, 0, 144, 0x10])
        show = head + (2 * number).to_bytes(2, "big") + bytes([0x80, 0, 0, 1]) + place
        clear = head + (2 * number + 1).to_bytes(2, "big") + bytes(4)
        for at_s, segments in (
            (
                begin_s,
                ((0x16, show, 0), (0x17, window, -1), (0x14, palette, -66), (0x15, picture, -65), (0x80, b"", -65)),
            ),
            (end_s, ((0x16, clear, 0), (0x17, window, -1), (0x80, b"", -1))),
        ):
            first = round((at_s - 0.066) * HZ)
            units += [
                Unit(
                    pts=first if after_ms == -66 else round((at_s + after_ms / 1000) * HZ),
                    dts=first,
                    data=bytes([kind]) + len(body).to_bytes(2, "big") + body,
                )
                for kind, body, after_ms in segments
            ]
    return units
