"""Programmes, packet sizes and scrambling, from the bytes of a transport stream."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoderd.encode.dispositions import DESCRIPTION
from encoderd.encode.elementary_streams import Kind
from encoderd.encode.transport_stream import (
    Programme,
    SectionReader,
    crc32,
    packet_places,
    packet_shape,
    sample,
    sections_of,
)
from tests.sections import (
    AUDIO_ADTS,
    PRIVATE,
    TS,
    VIDEO_H264,
    VIDEO_MPEG2,
    Es,
    component_tag,
    descriptor,
    language,
    packet,
    packets_of_section,
    pat,
    pmt,
    section,
)

SEVEN = [Es(VIDEO_MPEG2, 0x100), Es(AUDIO_ADTS, 0x110)]
ONE = (packets_of_section(0, pat({0: 0x10, 7: 0x1000})), packets_of_section(0x1000, pmt(7, 0x100, SEVEN)))


def stream(*tables: list[bytes], payload: int = 40, scrambled: int = 0) -> list[bytes]:
    """The tables, then `payload` clear packets of PID 0x100 and `scrambled` encrypted ones."""
    clear = [packet(0x100, bytes([n % 200]) * 184) for n in range(payload)]
    return [*(one for table in tables for one in table), *clear, *[packet(0x100, b"x", scrambled=True)] * scrambled]


def numbers(found: tuple[Programme, ...]) -> list[tuple[int, tuple[int, ...]]]:
    return [(programme.number, programme.pids) for programme in found]


@pytest.mark.parametrize(
    ("size", "before", "after"), [(188, b"", b""), (192, b"\0\1\2\3", b""), (204, b"", b"\x11" * 16)]
)
@pytest.mark.parametrize("cut", [0, 1, 100, 187])
def test_all_packet_sizes_are_known_wherever_the_piece_begins(size: int, before: bytes, after: bytes, cut: int) -> None:
    data = b"".join(before + one + after for one in stream(*ONE, *ONE))[cut:]
    shape, found = packet_shape(data), sample(data)

    assert shape is not None and found is not None
    assert (size, len(before)) == (shape[0], shape[2])
    assert [(7, (0x100, 0x110))] == numbers(found.programmes)


def test_tables_may_spread_over_packets() -> None:
    """A PMT with long descriptors takes several packets, and adaptation fields make them shorter still."""
    streams = [Es(VIDEO_MPEG2, 0x100, descriptor(0x09, b"D" * 48))]
    streams += [Es(AUDIO_ADTS, 0x110 + n, descriptor(0x09, b"D" * 48)) for n in range(8)]
    table = packets_of_section(0x1000, pmt(7, 0x100, streams), room=164)
    found = sample(b"".join(stream(packets_of_section(0, pat({7: 0x1000})), table)))

    assert len(table) > 2
    assert found is not None
    assert [(7, tuple(one.pid for one in streams))] == numbers(found.programmes)


def test_a_table_that_lost_a_packet_is_left_out() -> None:
    """The rest of it, glued to the beginning of the next, would be nonsense; the CRC and the counters say so."""
    streams = [Es(AUDIO_ADTS, 0x110 + n, descriptor(0x09, b"D" * 48)) for n in range(9)]
    table = packets_of_section(0x1000, pmt(7, 0x100, streams))
    found = sample(b"".join(stream(packets_of_section(0, pat({7: 0x1000})), [table[0], *table[2:]])))

    assert found is not None
    assert found.programmes == ()


def test_a_damaged_table_is_left_out() -> None:
    whole = bytearray(pmt(7, 0x100, SEVEN))
    whole[14] ^= 1  # another PID
    found = sample(b"".join(stream(packets_of_section(0, pat({7: 0x1000})), packets_of_section(0x1000, bytes(whole)))))

    assert found is not None
    assert found.programmes == ()


def test_a_table_of_the_future_does_not_hold_yet() -> None:
    """current_next_indicator 0: sent ahead."""
    later = packets_of_section(0x1000, pmt(7, 0x200, [Es(VIDEO_H264, 0x200)], 1, current=False), 1)
    found = sample(b"".join(stream(*ONE, later)))

    assert found is not None
    assert [(7, (0x100, 0x110))] == numbers(found.programmes)


def test_several_sections_share_a_packet() -> None:
    """Behind the pointer field the end of one section, then two whole ones, then stuffing."""
    one, two = (section(0x42, number, 0, bytes([number]) * 40) for number in (1, 2))
    long = section(0x42, 3, 0, b"L" * 200)
    reader = SectionReader()
    head = packet(0x11, b"\0" + long[:183], start=True)
    rest = packet(0x11, bytes([len(long) - 183]) + long[183:] + one + two, start=True, counter=1)

    assert [] == reader.read(head)
    assert [long, one, two] == reader.read(rest)


def test_a_packet_that_is_sent_twice_counts_once() -> None:
    table = packets_of_section(0x11, section(0x42, 1, 0, b"L" * 400))
    reader = SectionReader()

    assert [1] == [n for n in (len(reader.read(one)) for pair in table for one in (pair, pair)) if n]


def test_programmes_come_in_the_order_of_the_association_table() -> None:
    """Programme number 0 is the network's table and no programme; one without a PMT is not there."""
    tables = [
        packets_of_section(0, pat({0: 0x10, 9: 0x1002, 3: 0x1001, 5: 0x1003})),
        packets_of_section(0x1001, pmt(3, 0x200, [Es(VIDEO_MPEG2, 0x200)])),
        packets_of_section(0x1002, pmt(9, 0x300, [Es(AUDIO_ADTS, 0x300)])),
    ]
    found = sample(b"".join(stream(*tables)))

    assert found is not None
    assert [(9, (0x300,)), (3, (0x200,))] == numbers(found.programmes)


def test_the_last_table_holds_and_all_are_told() -> None:
    """Two PMTs of one programme in a piece: the later one is the programme's, `tables` has both in their order."""
    other = pmt(7, 0x200, [Es(VIDEO_H264, 0x200)], 1)
    tables = [*ONE, packets_of_section(0x1000, other, 1), packets_of_section(0x1000, other, 2)]
    found = sample(b"".join(stream(*tables)))

    assert found is not None
    assert [(7, (0x200,))] == numbers(found.programmes)
    assert [(7, (0x100, 0x110)), (7, (0x200,))] == numbers(found.tables)
    assert [0, 1] == [table.version for table in found.tables]
    assert (0x200, 0x1000, other) == (
        found.programmes[0].pcr_pid,
        found.programmes[0].pmt_pid,
        found.programmes[0].section,
    )


@pytest.mark.parametrize(("clear", "scrambled", "ratio"), [(100, 0, 0.0), (50, 50, 0.5), (0, 100, 1.0)])
def test_scrambling_is_the_share_of_packets_with_payload(clear: int, scrambled: int, ratio: float) -> None:
    """Null packets, and those that are only an adaptation field, do not count."""
    fillers = [packet(0x1FFF, b"x")] * 50 + [packet(0x100, adaptation=b"\0")] * 50
    found = sample(b"".join(stream(payload=clear, scrambled=scrambled) + fillers))

    assert found is not None
    assert ratio == found.scrambled_ratio
    assert clear + scrambled + 100 == found.packets
    assert clear * TS == found.bytes_by_pid.get(0x100, 0)
    assert scrambled * TS == found.scrambled_by_pid.get(0x100, 0)


#: ATSC A/52, table A4.1, up to the flags of the languages: stereo for who does not see well, with a text; dual mono.
ATSC_AC3, ATSC_DUAL_MONO = b"\x08\x38\x44\xff\x02\x0bCaf\xe9!", b"\x08\x38\x01\xff\xff\x0f\0"


@pytest.mark.parametrize(
    ("stream_type", "descriptors", "expected"),
    [
        (0x02, b"", (Kind.VIDEO, "mpeg2video", ())),
        (0x1B, b"", (Kind.VIDEO, "h264", ())),
        (0x24, b"", (Kind.VIDEO, "hevc", ())),
        (0x03, language("eng"), (Kind.AUDIO, "mp2", ("eng",))),
        (0x0F, language("JPN", "eng"), (Kind.AUDIO, "aac", ("jpn", "eng"))),
        (0x11, b"", (Kind.AUDIO, "aac_latm", ())),
        (0x81, b"", (Kind.AUDIO, "ac3", ())),
        (PRIVATE, descriptor(0x6A, b"\0"), (Kind.AUDIO, "ac3", ())),
        (PRIVATE, descriptor(0x7A, b"\0") + language("deu"), (Kind.AUDIO, "eac3", ("deu",))),
        (PRIVATE, descriptor(0x05, b"AC-3"), (Kind.AUDIO, "ac3", ())),
        (PRIVATE, descriptor(0x05, b"HEVC"), (Kind.VIDEO, "hevc", ())),
        (PRIVATE, descriptor(0x7B, b"\0"), (Kind.AUDIO, "dca", ())),
        (
            PRIVATE,
            descriptor(0x59, b"deu\x10\0\1\0\1fra\x20\0\1\0\1"),
            (Kind.CAPTIONS, "dvb_subtitle", ("deu", "fra")),
        ),
        (PRIVATE, descriptor(0x56, b"deu\x09\0deu\x10\x50"), (Kind.CAPTIONS, "dvb_teletext", ("deu",))),
        (PRIVATE, component_tag(0x30) + descriptor(0xFD, b"\0\x08\x3d"), (Kind.CAPTIONS, "arib_caption", ())),
        (PRIVATE, component_tag(0x38) + descriptor(0xFD, b"\0\x08\x3c"), (Kind.CAPTIONS, "arib_caption", ())),
        (PRIVATE, component_tag(0x87) + descriptor(0xFD, b"\0\x12\xad"), (Kind.CAPTIONS, "arib_caption", ())),
        (PRIVATE, b"", (Kind.DATA, "", ())),
        (0x0D, descriptor(0xFD, b"\0\x0c"), (Kind.DATA, "", ())),
        (0x0F, b"\x0a\xffjp", (Kind.AUDIO, "aac", ())),
        # a supplementary audio descriptor's language is the first, wherever it stands
        (0x0F, language("fra") + descriptor(0x7F, b"\x06\x87qad"), (Kind.AUDIO, "aac", ("qad", "fra"))),
        (0x0F, descriptor(0x7F, b"\x06\x87fra") + language("qad"), (Kind.AUDIO, "aac", ("fra", "qad"))),
        (0x0F, language("fra") + descriptor(0x7F, b"\x06\x86qad"), (Kind.AUDIO, "aac", ("fra",))),
        (0x0F, descriptor(0x7F, b"\x06\x87fr"), (Kind.AUDIO, "aac", ())),
        # ATSC's, where there is no other; elsewhere their tags are private
        (0x81, descriptor(0x81, ATSC_AC3 + b"\x3fspa"), (Kind.AUDIO, "ac3", ())),
        (0x81, descriptor(0x81, ATSC_AC3 + b"\xbfspa"), (Kind.AUDIO, "ac3", ("spa",))),
        (0x81, descriptor(0x81, ATSC_DUAL_MONO + b"\xffengspa"), (Kind.AUDIO, "ac3", ("eng", "spa"))),
        (0x81, descriptor(0x81, ATSC_AC3 + b"\xbfspa") + language("eng"), (Kind.AUDIO, "ac3", ("eng", "spa"))),
        (0x81, descriptor(0x81, ATSC_AC3[:5]), (Kind.AUDIO, "ac3", ())),
        (0x87, descriptor(0xCC, b"\xc0\xc2\x90spa"), (Kind.AUDIO, "eac3", ("spa",))),
        (0x87, descriptor(0xCC, b"\xfd\xd2\xd0\xe0\x01\x02\x03engspafra"), (Kind.AUDIO, "eac3", ("eng", "spa"))),
        (0x87, descriptor(0xCC, b"\xc0"), (Kind.AUDIO, "eac3", ())),
        (0x0F, descriptor(0x81, ATSC_AC3 + b"\xbfspa"), (Kind.AUDIO, "aac", ())),
        (0x0F, language("\x01\x02!"), (Kind.AUDIO, "aac", ())),
    ],
)
def test_descriptors_tell_what_a_stream_is(
    stream_type: int, descriptors: bytes, expected: tuple[Kind, str, tuple[str, ...]]
) -> None:
    tables = (
        packets_of_section(0, pat({1: 0x1000})),
        packets_of_section(0x1000, pmt(1, 0x100, [Es(stream_type, 0x100, descriptors)])),
    )
    found = sample(b"".join(stream(*tables)))

    assert found is not None
    (one,) = found.programmes[0].streams
    assert expected == (one.kind, one.codec, one.languages)


def test_atsc_describes_sound() -> None:
    """What a track is for and its title; a private descriptor with the same tag in another stream says nothing."""
    loop = descriptor(0x81, ATSC_AC3)
    table = pmt(
        1, 0x110, [Es(0x81, 0x110, loop), Es(0x0F, 0x111, loop), Es(0x87, 0x112, descriptor(0xCC, b"\xc0\xd2"))]
    )
    found = sample(b"".join(stream(packets_of_section(0, pat({1: 0x1000})), packets_of_section(0x1000, table))))

    assert found is not None
    ac3, aac, eac3 = found.programmes[0].streams
    assert ({*DESCRIPTION, "dependent"}, "Café!") == (set(ac3.dispositions), ac3.title)
    assert ((), "") == (aac.dispositions, aac.title)
    assert (set(DESCRIPTION), "") == (set(eac3.dispositions), eac3.title)


def test_registered_programmes_have_types_of_their_own() -> None:
    """HDMV (Blu-ray, cameras): type 0x80 is PCM, not the video of others."""
    table = pmt(1, 0x100, [Es(0x80, 0x101), Es(0x90, 0x102), Es(0x1B, 0x103)], 0, descriptor(0x05, b"HDMV"))
    found = sample(b"".join(stream(packets_of_section(0, pat({1: 0x1000})), packets_of_section(0x1000, table))))

    assert found is not None
    assert ["pcm_bluray", "hdmv_pgs_subtitle", "h264"] == [one.codec for one in found.programmes[0].streams]


def test_dual_mono_is_told_by_the_audio_component() -> None:
    """ARIB STD-B10: component_type 2 is dual mono, the flag in front of the languages says that there are two."""
    told = descriptor(0xC4, b"\xf2\x02\x10\x0f\xff\xc7jpneng")
    one = Es(AUDIO_ADTS, 0x110, component_tag(0x10) + told)
    other = Es(AUDIO_ADTS, 0x111, descriptor(0xC4, b"\xf2\x03\x11\x0f\xff\x47jpneng"))
    table = packets_of_section(0x1000, pmt(1, 0x110, [one, other]))
    found = sample(b"".join(stream(packets_of_section(0, pat({1: 0x1000})), table)))

    assert found is not None
    dual, plain = found.programmes[0].streams
    assert (True, ("jpn", "eng"), 0x10) == (dual.dual_mono, dual.languages, dual.component_tag)
    assert (False, ("jpn",), -1) == (plain.dual_mono, plain.languages, plain.component_tag)


@pytest.mark.parametrize("data", [b"", b"\x47", b"\x47" * 700, b"text\n" * 1000, bytes(4096), bytes(range(256)) * 64])
def test_other_bytes_are_no_transport_stream_or_an_empty_one(data: bytes) -> None:
    found = sample(data)

    assert found is None or found.programmes == ()


def test_bad_reception_does_not_hide_the_stream() -> None:
    """Garbage in the first half, and every 15th sync byte wrong: the tables are still found."""
    packets = stream(*ONE * 20, payload=400)
    damaged = [b"\0" + one[1:] if n % 15 == 3 else one for n, one in enumerate(packets)]
    clean, behind_garbage = sample(b"".join(damaged)), sample(bytes(range(256)) * 250 + b"".join(damaged))

    assert clean is not None and behind_garbage is not None
    assert [7] == [programme.number for programme in clean.programmes]


def test_bytes_that_are_missing_do_not_end_the_stream() -> None:
    """Behind a hole, packets begin elsewhere: they are found again."""
    data = b"".join(stream(payload=100))
    torn = data[: TS * 50 + 77] + data[TS * 60 :]
    places = packet_places(np.frombuffer(torn, np.uint8), TS, 0)

    # the torn packet still has its sync byte
    assert [*range(0, TS * 51, TS), *range(TS * 50 + 77, len(torn), TS)] == places.tolist()


def test_the_checksum_is_mpeg_s() -> None:
    """The check value of CRC-32/MPEG-2 in the catalogue of parametrised CRC algorithms."""
    assert 0x0376E6E7 == crc32(b"123456789")
    assert 0 == crc32(pat({1: 0x100}))


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=3000))
def test_no_bytes_make_it_raise(data: bytes) -> None:
    sample(data)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.sampled_from([0, 0x1000, 0x100]), st.booleans(), st.binary(max_size=184)), min_size=5))
def test_no_packets_make_it_raise(pieces: list[tuple[int, bool, bytes]]) -> None:
    """Well-formed packets whose sections are anything."""
    packets = [packet(pid, body, start=start, counter=n) for n, (pid, start, body) in enumerate(pieces)]

    assert sample(b"".join([*packets_of_section(0, pat({7: 0x1000}), 15), *packets])) is not None


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 255), st.binary(max_size=400))
def test_no_tables_make_it_raise(table: int, body: bytes) -> None:
    """Sections with a true CRC that hold anything, also as PAT and as PMT."""
    tables = [packets_of_section(pid, section(kind, 7, 0, body)) for pid, kind in ((0, 0), (0x1000, 2), (0x11, table))]
    data = b"".join(stream(packets_of_section(0, pat({7: 0x1000})), *tables))
    shape = packet_shape(data)

    assert sample(data) is not None and shape is not None
    assert all(crc32(one) == 0 for _, _, one in sections_of(data, shape, [0, 0x1000, 0x11]))


def test_a_look_at_two_places_takes_no_time() -> None:
    """2 × 2 MiB in less than 30 ms of this thread, the best of five."""
    data = b"".join(stream(*ONE, payload=11_000))[: 2 * 1024 * 1024]
    times_s = []
    for _ in range(5):
        begin_s = time.thread_time()
        for _ in range(2):
            assert sample(data) is not None
        times_s.append(time.thread_time() - begin_s)

    assert min(times_s) < 0.03
