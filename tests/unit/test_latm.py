"""LATM of every form that DVB allows, written bit by bit here, and noise."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoderd.encode.aac import DUAL_MONO, AacConfiguration, adts, program_bytes
from encoderd.encode.latm import LatmReader, audio_specific_config

LC = AacConfiguration(object_type=2, rate_index=3, channels=2)
#: AudioSpecificConfigs as digits.
PLAIN = "00010 0011 0010 000"
SBR = "00101 0110 0010 0011 00010 000"  # explicit: 24 kHz, and 48 kHz behind it
PS = "11101 0110 0001 0011 00010 000"
ESCAPED_RATE = "00010 1111" + f"{44_100:024b}" + "0010 000"


def digits(value: int, count: int) -> str:
    return f"{value:0{count}b}"


def latm_value(value: int) -> str:
    count = max(1, (value.bit_length() + 7) // 8)
    return digits(count - 1, 2) + digits(value, 8 * count)


def mux_config(asc: str, *, version: int = 0, more: int = 0, other: int = 0, crc: bool = False, **odd: str) -> str:
    """StreamMuxConfig; `odd` replaces one of its fields."""
    asc = asc.replace(" ", "")
    fields = {
        "mux_version": "0" if not version else "10" + latm_value(255),
        "same_timing": "1",
        "more": digits(more, 6),
        "programs": "0000",
        "layers": "000",
        "asc": asc if not version else latm_value(len(asc) + 5) + asc + "10110",
        "frame_length_type": "000",
        "fullness": "11111111",
        "other": "0",
        "crc": "1" + digits(0x5A, 8) if crc else "0",
    }
    if other:
        fields["other"] = "1" + (latm_value(other) if version else "1" + digits(1, 8) + "0" + digits(other, 8))
    fields |= odd
    return "".join(fields.values())


def loas(config: str | None, payloads: list[bytes], tail: str = "") -> bytes:
    bits = "1" if config is None else "0" + config
    for payload in payloads:
        bits += "1" * (8 * (len(payload) // 255)) + digits(len(payload) % 255, 8)
        bits += "".join(digits(byte, 8) for byte in payload)
    bits += tail
    bits += "0" * (-len(bits) % 8)
    size = len(bits) // 8
    return (0x2B7 << 13 | size).to_bytes(3, "big") + int(bits, 2).to_bytes(size, "big")


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize("more", [0, 3])
@pytest.mark.parametrize("other", [0, 17])
@pytest.mark.parametrize("crc", [False, True])
@pytest.mark.parametrize("size", [1, 254, 255, 256, 510, 1000])
def test_payloads_come_out_as_they_went_in(version: int, more: int, other: int, crc: bool, size: int) -> None:
    payloads = [bytes((number + at) % 256 for at in range(size)) for number in range(more + 1)]
    config = mux_config(PLAIN, version=version, more=more, other=other, crc=crc)
    reader = LatmReader()

    first = reader.frames(loas(config, payloads, "1" * 17 if other else ""))
    again = reader.frames(loas(None, payloads))

    assert first == again == [adts(LC, payload) for payload in payloads]
    assert (reader.configuration, reader.reason) == (LC, "")


@pytest.mark.parametrize(
    ("asc", "expected"),
    [
        (PLAIN, LC),
        (SBR, AacConfiguration(object_type=2, rate_index=6, channels=2)),
        (PS, AacConfiguration(object_type=2, rate_index=6, channels=1)),
        (ESCAPED_RATE, AacConfiguration(object_type=2, rate_index=4, channels=2)),
        ("00001 0011 0110 000", AacConfiguration(object_type=1, rate_index=3, channels=6)),
        ("00010 0011 0010 0 1 00000000000000 0", LC),  # dependsOnCoreCoder
        ("00010 0011 0010 0 0 1 0", LC),  # extensionFlag
    ],
)
def test_sbr_and_ps_leave_the_core_s_configuration(asc: str, expected: AacConfiguration) -> None:
    """What is above the core is found again by every decoder: ADTS has no words for it."""
    reader = LatmReader()

    assert reader.frames(loas(mux_config(asc), [b"abc"])) == [adts(expected, b"abc")]
    data = asc.replace(" ", "")
    data += "0" * (-len(data) % 8)
    assert audio_specific_config(int(data, 2).to_bytes(len(data) // 8, "big")) == expected


def test_a_program_goes_before_the_block() -> None:
    form = AacConfiguration(object_type=2, rate_index=3, channels=0, program=DUAL_MONO)
    # the element's bytes are aligned to the AudioSpecificConfig, 16 bits before it
    element = "0000 01 0011 0010 0000 0000 00 000 0000 0 0 0 00000 00001".replace(" ", "")
    element += "0" * (-len(element) % 8) + "0" * 8
    asc = "00010 0011 0000 000".replace(" ", "") + element

    assert LatmReader().frames(loas(mux_config(asc), [b"\0ab"])) == [adts(form, program_bytes(form) + b"\0ab")]


@pytest.mark.parametrize(
    ("asc", "odd", "reason"),
    [
        ("00010 0011 0010 100", {}, "frames of 960 samples"),
        ("00010 0011 1011 000", {}, "channel configuration 11"),
        ("10111 0011 0010 000", {}, "audio object type 23"),
        ("11111 001010 0011 0010 000", {}, "audio object type 42"),
        ("00010 1111" + f"{12_345:024b}" + "0010 000", {}, "12345 Hz"),
        (PLAIN, {"mux_version": "11"}, "audioMuxVersionA 1"),
        (PLAIN, {"same_timing": "0"}, "streams with times of their own in one LATM"),
        (PLAIN, {"layers": "001"}, "several programmes or layers in one LATM"),
        (PLAIN, {"frame_length_type": "001"}, "frames of a fixed length, or not of AAC"),
    ],
)
def test_what_adts_cannot_express_says_why(asc: str, odd: dict[str, Any], reason: str) -> None:
    reader = LatmReader()

    assert reader.frames(loas(mux_config(asc, **odd), [b"abc"] * 2)) == []
    assert (reader.reason, reader.configuration) == (reason, None)
    assert reader.frames(loas(None, [b"abc"])) == []


def test_nothing_comes_out_before_the_first_configuration() -> None:
    reader = LatmReader()

    assert reader.frames(loas(None, [b"abc"])) == []
    assert reader.frames(loas(mux_config(PLAIN), [b"abc"])) == [adts(LC, b"abc")]


def test_a_packet_that_breaks_off_costs_itself() -> None:
    whole = loas(mux_config(PLAIN), [bytes(range(200))])
    for size in range(len(whole)):
        reader = LatmReader()
        assert reader.frames(whole) and reader.frames(whole[:size]) == []
        assert reader.frames(loas(None, [b"abc"])) == [adts(LC, b"abc")]
    reader = LatmReader()
    assert reader.frames(loas(mux_config(PLAIN), [b""])) == []


@given(st.lists(st.binary(max_size=80), max_size=4), st.booleans())
def test_noise_is_never_an_error(packets: list[bytes], framed: bool) -> None:
    reader = LatmReader()
    reader.frames(loas(mux_config(PLAIN), [b"abc"]))
    for data in packets:
        packet = (0x2B7 << 13 | len(data)).to_bytes(3, "big") + data if framed else data
        for frame in reader.frames(packet):
            assert frame[:2] == b"\xff\xf1"
        audio_specific_config(data)


@given(st.integers(0, 2**16), st.integers(0, 7))
def test_one_wrong_bit_is_never_an_error(at: int, bit: int) -> None:
    packet = bytearray(loas(mux_config(SBR, version=1, more=1), [bytes(60), bytes(300)]))
    packet[at % len(packet)] ^= 1 << bit
    LatmReader().frames(bytes(packet))
