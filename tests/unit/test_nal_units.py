"""H.264 packets in the form that containers store, and a checksum that both forms share."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoderd.encode.nal_units import VideoCrc, has_start_codes, with_lengths


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        (b"", b""),
        (b"no start code", b""),
        (b"\0\0\1", b""),
        (b"\0\0\1abc", b"\0\0\0\3abc"),
        (b"\0\0\0\1abc\0\0\1de", b"\0\0\0\3abc\0\0\0\2de"),
        (b"\0\0\0\1abc\0\0\0\1de", b"\0\0\0\3abc\0\0\0\2de"),
        # The unit keeps what is before the start code's own zero; this is how libavformat divides it.
        (b"\0\0\1a\0\0\0\0\1b", b"\0\0\0\2a\0\0\0\0\1b"),
    ],
)
def test_start_codes_become_lengths(packet: bytes, expected: bytes) -> None:
    assert expected == b"".join(with_lengths(packet))


#: NAL units never hold 000000…000003 without an escape, nor end in zero (ISO/IEC 14496-10, 7.4.1).
UNIT = st.binary(min_size=1, max_size=50).map(lambda data: data.replace(b"\0\0", b"\0\3") + b"\x80")


@given(st.lists(st.tuples(UNIT, st.sampled_from([b"\0\0\1", b"\0\0\0\1"])), min_size=1, max_size=5))
def test_both_forms_have_the_same_checksum(units: list[tuple[bytes, bytes]]) -> None:
    """Whatever start codes an encoder writes: what the muxer makes of it is what was decoded."""
    coded, stored = VideoCrc(start_codes=True), VideoCrc(start_codes=False)
    coded.add(b"".join(start + unit for unit, start in units))
    for unit, _ in units:
        stored.add(len(unit).to_bytes(4, "big"))
        stored.add(unit)

    assert coded.value == stored.value


@given(st.lists(st.binary(max_size=200)))
def test_any_bytes_have_one(packets: list[bytes]) -> None:
    one, other = VideoCrc(start_codes=True), VideoCrc(start_codes=True)
    for packet in packets:
        one.add(packet)
        other.add(packet)

    assert one.value == other.value
    assert 0 <= one.value < 2**32


def test_a_byte_more_or_less_is_seen() -> None:
    checksums = set()
    for packets in ([b"\0\0\1abc"], [b"\0\0\1abd"], [b"\0\0\1ab"], [b"\0\0\1abc", b"\0\0\1abc"], []):
        crc = VideoCrc(start_codes=True)
        for packet in packets:
            crc.add(packet)
        checksums.add(crc.value)

    assert len(checksums) == 5


@pytest.mark.parametrize(
    ("extradata", "expected"), [(b"\1\x64\0\x28", False), (b"\0\0\0\1\x67", True), (b"\0\0\1\x67", True), (b"", True)]
)
def test_the_form_is_told_by_the_extradata(extradata: bytes, expected: bool) -> None:
    assert expected is has_start_codes(extradata)
