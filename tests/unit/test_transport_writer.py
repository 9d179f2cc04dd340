"""A transport stream of captions at byte level; that FFmpeg reads it is shown in tests/integration/test_captions.py."""

from __future__ import annotations

import random

import pytest

from encoderd.encode.transport_writer import LONGEST_PAYLOAD, CaptionStream, TransportWriter

ARIB = CaptionStream(pid=0x130, codec="arib_caption", language="jpn")
TELETEXT = CaptionStream(pid=0x131, codec="dvb_teletext", language="deu,eng")


def packets(data: bytes) -> list[tuple[int, int, bytes]]:
    """(PID, continuity counter, payload) of each packet with payload."""
    found = []
    for at in range(0, len(data), 188):
        packet = data[at : at + 188]
        assert (188, 0x47) == (len(packet), packet[0])
        begin = 4 + (1 + packet[4] if packet[3] & 0x20 else 0)
        if packet[3] & 0x10:
            found.append(((packet[1] & 0x1F) << 8 | packet[2], packet[3] & 0x0F, packet[begin:]))
    return found


def programme_map(streams: list[CaptionStream]) -> dict[int, bytes]:
    """Return {PID: descriptors} as the first PMT has them."""
    written = packets(TransportWriter(streams).write(0, b"\x80\xff\xf0", 0))
    pmt_pid = int.from_bytes(written[0][2][11:13], "big") & 0x1FFF
    section = b"".join(payload for pid, _, payload in written if pid == pmt_pid)[1:]
    end = 3 + (int.from_bytes(section[1:3], "big") & 0xFFF) - 4
    found, at = {}, 12
    while at < end:
        length = int.from_bytes(section[at + 3 : at + 5], "big") & 0xFFF
        found[int.from_bytes(section[at + 1 : at + 3], "big") & 0x1FFF] = section[at + 5 : at + 5 + length]
        at += 5 + length
    return found


@pytest.mark.parametrize("size", [0, 1, 168, 169, 170, 171, 352, 353, 354, 5_000, LONGEST_PAYLOAD])
def test_any_length_fills_whole_packets(size: int) -> None:
    """The last packet is stuffed, whatever is missing; no counter is skipped."""
    payload = random.Random(size).randbytes(size)
    writer = TransportWriter([ARIB])
    written = packets(writer.write(0, payload, 90_000) + writer.write(0, payload, 180_000))
    mine = [(counter, data) for pid, counter, data in written if pid == 0x130]
    whole = b"".join(data for _, data in mine)

    assert [number % 16 for number in range(len(mine))] == [counter for counter, _ in mine]
    assert payload == whole[14 : 14 + size] == whole[-size:] if size else len(whole) == 28


def test_one_byte_more_is_refused() -> None:
    with pytest.raises(ValueError, match="a caption of"):
        TransportWriter([ARIB]).write(0, bytes(LONGEST_PAYLOAD + 1), 0)


def test_what_no_transport_stream_of_ours_holds_is_refused() -> None:
    with pytest.raises(ValueError, match="mov_text"):
        TransportWriter([CaptionStream(pid=1, codec="mov_text")])
    with pytest.raises(ValueError, match="more caption streams"):
        TransportWriter([CaptionStream(pid=0x100 + n, codec="arib_caption", language="jpn") for n in range(100)])


def test_descriptors_that_say_what_a_stream_is() -> None:
    found = programme_map([ARIB, TELETEXT, CaptionStream(pid=0x132, codec="arib_caption")])

    assert bytes.fromhex("520130 fd0300083d 0a046a706e00") == found[0x130]
    assert bytes.fromhex("560a 6465750900 656e670900") == found[0x131]
    assert bytes.fromhex("520131 fd0300083d") == found[0x132]


@pytest.mark.parametrize(
    ("own", "kept"),
    [
        (bytes.fromhex("520187 fd0300120d"), True),
        (bytes.fromhex("520187"), False),
        (bytes.fromhex("520187 fd0300120d 0a"), False),
        (bytes.fromhex("520187 fd0900120d"), False),
        (bytes(300), False),
    ],
)
def test_the_broadcast_s_own_descriptors_win_where_they_tell(own: bytes, kept: bool) -> None:
    """One-segment captions are profile C, which no guess would give; what is broken or says nothing is not taken."""
    made = programme_map([CaptionStream(pid=0x130, codec="arib_caption", language="jpn", descriptors=own)])[0x130]

    assert (own if kept else bytes.fromhex("520130 fd0300083d")) + bytes.fromhex("0a046a706e00") == made


@pytest.mark.parametrize("pids", [(0x130, 0x130), (0, 1), (0x1F00, 0x1F01), (0x1FFE, 0x1FFE), (0x1FFF, -1)])
def test_every_stream_has_a_pid_of_its_own(pids: tuple[int, int]) -> None:
    """Also against the tables' and the clock's."""
    streams = [CaptionStream(pid=pid, codec="arib_caption") for pid in pids]
    found = programme_map(streams)

    assert 2 == len(found)
    assert all(0x20 <= pid < 0x1FFF for pid in found)


def test_each_codec_s_frame_around_the_payload() -> None:
    """A subtitle's identifiers and end marker (EN 300 743, 6); teletext's header of 45 bytes (EN 300 472, 4.2)."""
    streams = [TELETEXT, CaptionStream(pid=0x132, codec="dvb_subtitle", language="dan"), ARIB]
    writer = TransportWriter(streams)
    pes = [
        next(payload for pid, _, payload in packets(writer.write(number, b"words", 90_000)) if pid == stream.pid)
        for number, stream in enumerate(streams)
    ]

    assert bytes.fromhex("000001bd 002c 848024 2100 05bf21") + b"\xff" * 31 + b"words" == pes[0]
    assert bytes.fromhex("000001bd 0010 848005 2100 05bf21 2000") + b"words\xff" == pes[1]
    assert bytes.fromhex("000001bd 000d 848005 2100 05bf21") + b"words" == pes[2]
