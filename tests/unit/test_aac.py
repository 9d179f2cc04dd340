"""AAC at bit level, against bytes that FFmpeg wrote and against noise."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoderd.encode.aac import (
    DUAL_MONO,
    AacConfiguration,
    Bits,
    BitWriter,
    Program,
    adts,
    adts_configuration,
    adts_header,
    join_mono,
    program_bytes,
    program_of,
    read_program,
    same_frame,
    silent_block,
)
from tests.dual_mono import dual_mono_adts

STEREO = AacConfiguration(object_type=2, rate_index=3, channels=2)
DUAL = AacConfiguration(object_type=2, rate_index=3, channels=0, program=DUAL_MONO)
FORMS = st.builds(
    AacConfiguration, object_type=st.integers(1, 4), rate_index=st.integers(0, 12), channels=st.integers(1, 7)
)
TAGS = st.integers(0, 15)
GROUPS = st.lists(st.tuples(st.integers(0, 1), TAGS), max_size=3).map(tuple)
PROGRAMS = st.builds(
    Program, front=GROUPS, side=GROUPS, back=GROUPS, lfe=st.lists(TAGS, max_size=2).map(tuple)
)  # fmt: skip


@given(FORMS, st.binary(min_size=1, max_size=8000), st.booleans())
def test_what_is_written_is_read_again(form: AacConfiguration, block: bytes, other: bool) -> None:
    frame = adts(form, block)
    header = adts_header(frame)

    assert header is not None
    assert (header.size, header.header_size, header.blocks) == (len(frame), 7, 1)
    assert frame[header.header_size :] == block
    assert adts_configuration(frame) == form
    assert same_frame(frame, form)
    assert not same_frame(frame[:-1], form) and not same_frame(frame + b"\0", form)
    wrong = AacConfiguration(object_type=form.object_type, rate_index=form.rate_index, channels=form.channels % 7 + 1)
    assert not same_frame(frame, wrong)


@given(PROGRAMS, st.integers(1, 4), st.integers(0, 12), st.binary(max_size=40))
def test_a_program_is_written_and_read_in_whole_bytes(
    program: Program, object_type: int, rate_index: int, block: bytes
) -> None:
    form = AacConfiguration(object_type=object_type, rate_index=rate_index, channels=0, program=program)
    written = program_bytes(form)

    assert program_of(written + block) == program
    assert adts_configuration(adts(form, written + block)) == form


def test_a_program_is_put_before_a_block_once() -> None:
    block = b"\0\1\2"
    frame = adts(DUAL, block)

    assert frame[7:] == program_bytes(DUAL) + block
    assert adts(DUAL, frame[7:]) == frame


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        # tag, type, rate, counts, three mixdowns with their values, two front elements, no comment
        ("0000 01 0011 0010 0000 0000 00 000 0000 1 0101 1 0110 1 011 0 0000 0 0001", DUAL_MONO),
        # one pair in front, LFE 3, a data stream and a coupling channel that are skipped, a comment of 2 bytes
        ("0000 01 0011 0001 0000 0000 01 001 0001 0 0 0 1 0000 0011 1111 11111", Program(front=((1, 0),), lfe=(3,))),
    ],
)
def test_what_a_program_may_hold_besides(bits: str, expected: Program) -> None:
    digits = bits.replace(" ", "")
    digits += "0" * (-(3 + len(digits)) % 8)
    block = int("101" + digits + "00000010" + "1" * 16, 2)
    size = (3 + len(digits) + 24) // 8

    reader = Bits(block.to_bytes(size, "big"))
    assert reader.read(3) == 5
    assert read_program(reader) == expected
    assert reader.position == 8 * size


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (DUAL_MONO, True),
        (Program(front=((0, 3), (0, 7))), True),
        (Program(front=((1, 0),)), False),
        (Program(front=((0, 0), (1, 0))), False),
        (Program(front=((0, 0), (0, 1)), lfe=(0,)), False),
        (Program(front=((0, 0),), back=((0, 1),)), False),
        (Program(), False),
    ],
)
def test_two_single_channels_in_front_and_nothing_else_are_dual_mono(program: Program, expected: bool) -> None:
    assert program.dual_mono is expected


@pytest.mark.parametrize("program", [False, True])
def test_dual_mono_is_known_with_and_without_its_program(program: bool) -> None:
    mono = silent_block(AacConfiguration(object_type=2, rate_index=3, channels=1))
    (frame,) = dual_mono_adts([mono], [mono], program=program)

    assert adts_configuration(frame) == DUAL


@given(st.integers(0, 2**200), st.integers(0, 2**150), st.integers(0, 3))
def test_mono_blocks_are_joined_bit_by_bit(main: int, sub: int, names: int) -> None:
    """Compared with a second implementation on strings of digits; fill elements and their bytes are gone."""
    blocks = []
    for inside in (main, sub):
        bits = BitWriter()
        for _ in range(names):
            bits.write(6 << 4 | 2, 7)  # a fill element of two bytes
            bits.write(0xABCD, 16)
        bits.write(0, 7)
        bits.write(inside, 201)
        bits.write(7, 3)
        blocks.append(bits.to_bytes())

    (expected,) = dual_mono_adts([blocks[0]], [blocks[1]])

    assert join_mono(*blocks) == expected[7:]


@pytest.mark.parametrize("block", [b"", b"\0", b"\x20" * 9, bytes(9), b"\xff" * 5, b"\xc0"])
def test_what_is_no_mono_block_is_not_joined(block: bytes) -> None:
    with pytest.raises(ValueError):
        join_mono(block, block)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        adts(STEREO, b"123")[:6],
        b"\xfe" + adts(STEREO, b"123")[1:],
        adts(STEREO, b"123")[:-1],
        adts(STEREO, b"123") + b"4",
        adts(STEREO, b"123")[:6] + b"\xfd123",  # two blocks
        adts(STEREO, b"123")[:2] + b"\x7c\x80" + adts(STEREO, b"123")[4:],  # sampling frequency index 15
        adts(STEREO, b"123")[:1] + b"\xf0" + adts(STEREO, b"12")[2:7],  # a checksum beyond the end
        adts(DUAL, program_bytes(DUAL))[:5] + b"\x1f\xfc" + b"\xa0",  # a program that breaks off
    ],
)
def test_broken_frames_have_no_configuration(frame: bytes) -> None:
    assert adts_configuration(frame) is None


def test_what_adts_cannot_say_is_refused() -> None:
    with pytest.raises(ValueError, match="object type 5"):
        adts(AacConfiguration(object_type=5, rate_index=3, channels=2), b"1")
    with pytest.raises(ValueError, match="8192 bytes"):
        adts(STEREO, bytes(8185))
    with pytest.raises(ValueError, match="no channels"):
        silent_block(AacConfiguration(object_type=2, rate_index=3, channels=0))


@given(st.binary(max_size=60), st.booleans())
def test_noise_is_never_an_error(data: bytes, sync: bool) -> None:
    noise = b"\xff\xf1\x4c\x00" + data if sync else data
    adts_header(noise)
    adts_configuration(noise)
    same_frame(noise, STEREO)
    for attempt in (lambda: program_of(noise), lambda: join_mono(noise, noise)):
        with contextlib.suppress(ValueError):
            attempt()


@given(st.integers(0, 16), st.sampled_from([0xF0, 0xF1]))
def test_a_frame_without_a_block_is_no_frame(size: int, second: int) -> None:
    """With a checksum the header has 9 bytes, without 7."""
    frame = bytearray(adts(STEREO, bytes(16))[:size])
    if size > 5:
        frame[1], frame[4], frame[5] = second, size >> 3, (size & 7) << 5 | 0x1F

    assert same_frame(bytes(frame), STEREO) is (size > (9 if second == 0xF0 else 7))


def test_bits_end_with_an_error_and_not_with_zeros() -> None:
    bits = Bits(b"\x12")

    assert (bits.read(4), bits.read(4)) == (1, 2)
    with pytest.raises(ValueError):
        bits.read(1)
