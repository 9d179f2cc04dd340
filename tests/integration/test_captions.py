"""Captions packet by packet: what goes in comes out, in the output or beside it, on the output's timeline."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from encoderd.encode.captions import CaptionsFile, CaptionsWritten, add_captions
from encoderd.encode.media import CaptionInfo
from encoderd.encode.transport_writer import CaptionStream, TransportWriter

HZ = 90_000
LANGUAGES = {"dvb_subtitle": "dan", "dvb_teletext": "deu", "arib_caption": "jpn"}
#: (pts in 90 kHz, payload) in the order of a file.
Packets = list[tuple[int | None, bytes]]


def payload(codec: str, noise: random.Random) -> bytes:
    """Something of the form that a demuxer hands on whole."""
    match codec:
        case "dvb_teletext":  # EN 300 472: data_identifier, then units of 2 + 44 bytes
            return b"\x10" + b"".join(b"\x02\x2c" + noise.randbytes(44) for _ in range(7))
        case "dvb_subtitle":  # EN 300 743: segments
            kinds = (0x10, 0x11, 0x12, 0x80)
            parts = [(kind, noise.randbytes(noise.randrange(2, 60))) for kind in kinds]
            return b"".join(b"\x0f" + bytes([kind, 0, 1, 0, len(data)]) + data for kind, data in parts)
        case _:  # ARIB STD-B24: data_identifier, private_stream_id
            return b"\x80\xff\xf0" + noise.randbytes(noise.randrange(10, 400))


def made(path: Path, codecs: list[str], count: int = 20, descriptors: bytes = b"") -> list[Packets]:
    """Write a recording of captions alone, every 0.7 s from 10 s on; return what is in it by stream."""
    noise = random.Random(1)
    streams = [
        CaptionStream(pid=0x130 + number, codec=codec, language=LANGUAGES[codec], descriptors=descriptors)
        for number, codec in enumerate(codecs)
    ]
    writer, packets = TransportWriter(streams), [Packets() for _ in codecs]
    with path.open("wb") as file:
        for step in range(count):
            for number, codec in enumerate(codecs):
                pts, data = 10 * HZ + step * 63_000 + 1000 * number, payload(codec, noise)
                packets[number].append((pts, data))
                file.write(writer.write(number, data, pts))
    return packets


def infos(codecs: list[str]) -> list[CaptionInfo]:
    return [
        CaptionInfo(index=number, pid=0x130 + number, codec=codec, language=LANGUAGES[codec])
        for number, codec in enumerate(codecs)
    ]


@contextmanager
def demuxed(path: Path) -> Iterator[tuple[Any, Iterator[Any]]]:
    with av.open(str(path)) as container:
        yield container.streams, (packet for packet in container.demux() if packet.size)


def beside(source: Path, target: Path, codecs: list[str], shift: int = -10 * HZ) -> CaptionsWritten:
    """Send a recording's captions into the file beside, on a timeline that is `shift` ticks away."""
    with demuxed(source) as (streams, packets):
        file = CaptionsFile(str(target), [(info, streams[info.index]) for info in infos(codecs)])
        for packet in packets:
            packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
            file.write(packet.stream_index, packet)
        return file.close()


def read_back(path: Path, count: int) -> list[Packets]:
    found = [Packets() for _ in range(count)]
    with demuxed(path) as (streams, packets):
        for packet in packets:
            at = None if packet.pts is None else round(packet.pts * Fraction(packet.time_base) * HZ)
            found[packet.stream_index].append((at, bytes(packet)))
        assert len(streams) == count
    return found


def probed(path: Path) -> list[tuple[str, str]]:
    """What FFmpeg's own command line sees: codec and language of each stream."""
    done = subprocess.run(
        ["ffprobe", "-v", "error", "-show_streams", "-of", "json", path],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stderr == ""
    return [(stream["codec_name"], stream["tags"]["language"]) for stream in json.loads(done.stdout)["streams"]]


def moved(packets: list[Packets], shift: int) -> list[list[tuple[int, bytes]]]:
    return [[((pts or 0) + shift, data) for pts, data in stream] for stream in packets]


@pytest.mark.parametrize(
    ("codecs", "ending"),
    [
        (["dvb_subtitle"], "mks"),
        (["dvb_teletext"], "ts"),
        (["arib_caption"], "ts"),
        (["dvb_subtitle", "dvb_teletext", "arib_caption"], "ts"),
    ],
)
def test_nothing_is_lost_beside(tmp_path: Path, codecs: list[str], ending: str) -> None:
    """Every payload byte for byte, every time on the output's clock (Matroska's: to 1 ms), codec and language told."""
    source, target = tmp_path / "in.ts", tmp_path / ".x.partial"
    packets = made(source, codecs)
    written = beside(source, target, codecs)
    found = read_back(target, len(codecs))
    expected = moved(packets, -10 * HZ)

    assert (ending, ()) == (written.ending, written.notes)
    assert [20] * len(codecs) == [stream["packets"] for stream in written.streams]
    assert (target.stat().st_size, target.stat().st_mtime_ns) == (written.size_bytes, written.mtime_ns)
    assert [[data for _, data in stream] for stream in expected] == [[data for _, data in stream] for stream in found]
    steps = [
        abs(was - (now or 0))
        for pair in zip(expected, found, strict=True)
        for (was, _), (now, _) in zip(*pair, strict=True)
    ]
    assert max(steps) <= (45 if ending == "mks" else 1)


@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="there is no ffprobe here")
@pytest.mark.parametrize("codecs", [["dvb_subtitle"], ["arib_caption", "dvb_teletext"]])
def test_ffmpeg_s_command_line_knows_them(tmp_path: Path, codecs: list[str]) -> None:
    made(tmp_path / "in.ts", codecs)
    beside(tmp_path / "in.ts", tmp_path / "beside", codecs)

    assert [(codec, LANGUAGES[codec]) for codec in codecs] == probed(tmp_path / "beside")


def test_what_the_broadcast_says_of_a_stream_is_kept(tmp_path: Path) -> None:
    """A subtitle's pages tell a decoder which of the regions are for it (here composition 7, ancillary 9)."""
    own = b"\x59\x08dan\x10\x00\x07\x00\x09"
    made(tmp_path / "in.ts", ["dvb_subtitle"], descriptors=own)
    target = tmp_path / "beside"
    with demuxed(tmp_path / "in.ts") as (streams, packets):
        teletext = CaptionInfo(index=0, pid=0x130, codec="dvb_teletext", language="deu")
        subtitle = infos(["dvb_subtitle"])[0]
        file = CaptionsFile(str(target), [(subtitle, streams[0]), (teletext, streams[0])])
        for packet in packets:
            file.write(0, packet)
        assert file.close().ending == "ts"

    with demuxed(target) as (streams, _):
        assert b"\x00\x07\x00\x09\x10" == bytes(streams[0].codec_context.extradata)


def test_captions_that_never_come_leave_no_file(tmp_path: Path) -> None:
    made(tmp_path / "in.ts", ["arib_caption"], count=1)
    with demuxed(tmp_path / "in.ts") as (streams, _):
        written = CaptionsFile(str(tmp_path / "beside"), [(infos(["arib_caption"])[0], streams[0])]).close()

    assert ("", 0) == (written.ending, written.streams[0]["packets"])
    assert not (tmp_path / "beside").exists()


@pytest.mark.parametrize("codec", ["dvb_subtitle", "arib_caption"])
def test_times_that_no_file_takes(tmp_path: Path, codec: str) -> None:
    """Before the first picture, missing, backwards: all are kept, as early as they can be, and that is noted."""
    made(tmp_path / "in.ts", [codec], count=6)
    target = tmp_path / "beside"
    with demuxed(tmp_path / "in.ts") as (streams, packets):
        file = CaptionsFile(str(target), [(infos([codec])[0], streams[0])])
        for packet, pts in zip(packets, [-HZ, None, 2 * HZ, HZ, None, 3 * HZ], strict=True):
            packet.pts = packet.dts = pts
            file.write(0, packet)
        written = file.close()

    earliest = 0 if codec == "dvb_subtitle" else 1
    assert [earliest, earliest, *[2 * HZ] * 3, 3 * HZ] == [pts for pts, _ in read_back(target, 1)[0]]
    assert ("4 captions came without a time, or before the first picture",) == written.notes


def test_a_caption_that_is_too_long_costs_itself(tmp_path: Path) -> None:
    made(tmp_path / "in.ts", ["arib_caption"], count=2)
    with demuxed(tmp_path / "in.ts") as (streams, packets):
        file = CaptionsFile(str(tmp_path / "beside"), [(infos(["arib_caption"])[0], streams[0])])
        long: Any = av.Packet(b"\x80" * 70_000)
        long.pts = long.dts = 0
        long.time_base = Fraction(1, HZ)
        file.write(0, long)
        for packet in packets:
            file.write(0, packet)
        written = file.close()

    assert (2, ("1 captions could not be written",)) == (written.streams[0]["packets"], written.notes)
    assert len(read_back(tmp_path / "beside", 1)[0]) == 2


@pytest.mark.parametrize("codec", ["dvb_subtitle", "arib_caption"])
def test_a_folder_that_is_not_there_costs_the_captions_alone(tmp_path: Path, codec: str) -> None:
    made(tmp_path / "in.ts", [codec], count=2)
    written = beside(tmp_path / "in.ts", tmp_path / "gone" / "beside", [codec])

    assert ("", 0) == (written.ending, written.streams[0]["packets"])
    assert "the captions could not be kept: No such file or directory" in written.notes[0]


FULL = """
import resource, signal, sys
from pathlib import Path
from tests.integration.test_captions import beside
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
written = beside(Path(sys.argv[1]), Path(sys.argv[2]), [sys.argv[3]])
sys.stdout.write(f"{written.ending}|{written.streams[0]['packets']}|{written.notes[0]}")
"""


@pytest.mark.parametrize("codec", ["dvb_subtitle", "arib_caption"])
def test_a_disk_that_is_full_costs_the_captions_alone(tmp_path: Path, codec: str) -> None:
    """No file is larger than 2000 bytes here: what was written is removed, and said."""
    made(tmp_path / "in.ts", [codec], count=200)
    command = [sys.executable, "-c", FULL, str(tmp_path / "in.ts"), str(tmp_path / "beside"), codec]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.stdout == "|0|the captions could not be kept: File too large", done.stderr
    assert not (tmp_path / "beside").exists()


def test_matroska_takes_what_it_can_name(tmp_path: Path, recording: Path) -> None:
    """DVB subtitles go into the output with their language; teletext and ARIB captions never spoil its header."""
    codecs = ["dvb_subtitle", "dvb_teletext", "arib_caption"]
    packets = made(tmp_path / "in.ts", codecs)
    target = tmp_path / "out.mkv"
    with (
        av.open(str(recording)) as pictures,
        demuxed(tmp_path / "in.ts") as (streams, captions),
        av.open(str(target), "w", format="matroska") as output,
    ):
        video = output.add_stream_from_template(pictures.streams.video[0])
        added = add_captions(output, infos(codecs), streams)
        for packet in captions:
            if packet.stream_index in added:
                packet.stream = added[packet.stream_index]
                output.mux_one(packet)
        for picture in pictures.demux(video=0):
            if picture.dts is not None:
                picture.stream = video
                output.mux_one(picture)
        assert [0] == list(added)

    with demuxed(target) as (streams, again):
        assert ("dan", 0) == (streams[1].metadata["language"], int(streams[1].disposition.value) & 1)
        found = [bytes(packet) for packet in again if packet.stream_index == 1]
    assert [data for _, data in packets[0]] == found
