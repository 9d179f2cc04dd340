"""What is not in an output: each with its reason, and what nobody can name counts as missed."""

from __future__ import annotations

import pytest

from encoderd.encode.left_out import LEAST_STARTS, arrived, of_stream, of_table_entry, of_unnamed, unnamed_pids
from encoderd.encode.media import LeftOut
from tests.sections import descriptor


@pytest.mark.parametrize(
    ("stream_type", "loop", "name", "matters"),
    [
        (0x0D, b"", "DSM-CC carousel", False),
        (0x05, b"", "private sections", False),
        (0x05, descriptor(0x6F, b"\0\x10\xe1"), "HbbTV applications", False),
        (0x86, b"", "SCTE 35 marks", False),
        (0x06, descriptor(0x05, b"CUEI"), "SCTE 35 marks", False),
        (0x15, descriptor(0x05, b"ID3 "), "ID3 metadata", False),
        (0x15, descriptor(0x05, b"KLVA"), "KLV metadata", True),
        (0x15, descriptor(0x26, b"\xff\xffID3 \xffID3 \0\x0f"), "ID3 metadata", False),
        (0x15, descriptor(0x26, b"\x01\0\xffKLVA\0\x0f"), "KLV metadata", True),
        (0x15, descriptor(0x26, b"\xff\xffABCD\x10\0\x0f"), "data of type 0x15", True),
        (0x15, descriptor(0x26, b"\xff\xffKL"), "data of type 0x15", True),
        (0x06, descriptor(0x7F, b"\x20eng\0"), "TTML subtitles", True),
        (0x06, descriptor(0x45, b"\x04\x01\xe7\x05\x01\xf7"), "VBI data", False),  # programme marks, picture's shape
        (0x06, descriptor(0x45, b"\x04\x01\xe7\x06\x01\xf5"), "VBI data", True),  # and closed captions
        (0x06, descriptor(0xFD, b"\x00\x0d"), "data component 0x000d", True),
        (0x06, b"", "data of type 0x06", True),
        (0x7B, b"\x45", "data of type 0x7b", True),
    ],
)
def test_data_of_the_tables(stream_type: int, loop: bytes, name: str, matters: bool) -> None:
    found = of_table_entry(0x140, stream_type, loop)

    assert (f"{name} (PID 0x140)", matters, 0x140) == (found.what, found.matters, found.pid)
    assert found.reason


@pytest.mark.parametrize(
    ("kind", "name", "what", "matters"),
    [
        ("data", "timecode", "timecode (stream 3)", False),
        ("data", "chapters", "chapters (stream 3)", False),
        ("data", "epg", "epg (stream 3)", False),
        ("data", "GoPro MET", "GoPro MET (stream 3)", True),
        ("data", "", "unknown data (stream 3)", True),
        ("video", "mjpeg", "mjpeg (stream 3)", True),
        ("attachment", "ttf", "ttf (stream 3)", True),
        ("attachment", "cover.jpg", "cover.jpg (stream 3)", True),
    ],
)
def test_streams_of_other_containers(kind: str, name: str, what: str, matters: bool) -> None:
    found = of_stream(kind, name, 3)

    assert (what, matters, 0) == (found.what, found.matters, found.pid)
    assert found.reason


def test_a_time_code_is_missed_that_tells_a_time() -> None:
    told = [of_stream("data", "timecode", 3, code) for code in ("01:02:03;04", "00:00:00:00", "")]

    assert [True, False, False] == [one.matters for one in told]
    assert "timecode 01:02:03;04 (stream 3)" == told[0].what


def test_noise_is_no_stream() -> None:
    """A PID that no table names counts from a few PES packets on."""
    starts = {0x100: 90, 0x150: LEAST_STARTS, 0x1234: LEAST_STARTS - 1}

    assert (0x150,) == unnamed_pids(starts, {0x100})
    assert of_unnamed(0x150).matters


def test_what_nobody_sent_is_not_missed() -> None:
    """Where packets were counted; where they were not, nobody knows."""
    data = LeftOut(what="data", reason="unknown", matters=True, pid=0x140)
    file = LeftOut(what="file", reason="unknown", matters=True)

    assert [False, True] == [one.matters for one in arrived([data, file], {0x100})]
    assert (data, file) == arrived([data, file], {0x140})
    assert (data, file) == arrived([data, file], {})
