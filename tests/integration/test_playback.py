"""Reading a written file back: what a player would stumble over is found."""

from __future__ import annotations

import random
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import pytest

from encoderd.encode.playback import QUICK_FRAMES, _Counted, read_back
from encoderd.encode.written import OutputFacts, ProofFacts
from tests.encoding import encode, streams_of


@pytest.fixture(scope="module", params=["mp4", "mkv"])
def output(request: pytest.FixtureRequest, recording: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("playback") / "x.ts"
    source.write_bytes(recording.read_bytes())
    return encode(source, container=request.param, quality=12).path


def read(path: Path, *, full: bool = False) -> OutputFacts:
    muxer = "mp4" if "mp4" in path.name else "matroska"
    return read_back(str(path), muxer, full, lambda share: None)


def spoilt(output: Path, folder: Path, first: float, last: float) -> Path:
    """A copy with noise from `first` to `last` of the file (0…1)."""
    data = bytearray(output.read_bytes())
    begin, end = (int(len(data) * share) for share in (first, last))
    data[begin:end] = random.Random(5).randbytes(end - begin)
    copy = folder / output.name
    copy.write_bytes(data)
    return copy


def test_all_packets_are_counted(output: Path) -> None:
    found, streams = read(output), streams_of(output)

    assert [(stream.codec, stream.packets) for stream in found.streams] == [
        (stream.codec, len(stream.pts)) for stream in streams
    ]
    assert found.streams[0].start_s == streams[0].pts[0]
    assert found.streams[0].end_s is not None
    assert abs(found.streams[0].end_s - streams[0].pts[-1] - Fraction(1001, 30_000)) <= Fraction(1, 1000)
    assert (found.width, found.height, found.size_bytes) == (320, 240, output.stat().st_size)


def test_a_quick_look_decodes_at_three_places(output: Path) -> None:
    spots = read(output).spots

    assert [(spot.place, spot.error) for spot in spots] == [("start", ""), ("middle", ""), ("end", "")]
    assert [spot.frames for spot in spots[:2]] == [QUICK_FRAMES, QUICK_FRAMES]


def test_a_full_look_decodes_all_of_it(output: Path) -> None:
    spots = read(output, full=True).spots

    assert [(spot.place, spot.frames, spot.error) for spot in spots] == [("all", 30, "")]


def test_what_a_player_is_told(output: Path) -> None:
    """Shape and colours, times that are all different, packets in their order; no checksum unless it is asked for."""
    found = read(output)

    assert found.tags is not None
    assert (found.tags.sample_aspect_ratio, found.repeated_pts, found.video_crc) == (1, 0, None)
    assert [stream.backward for stream in found.streams] == [0, 0]


def test_pictures_at_one_time_and_packets_that_run_back(recording: Path, tmp_path: Path) -> None:
    """A muxer would not write it; a file that another one wrote, or a disk spoilt, may have it."""
    path = tmp_path / "mkv"
    with av.open(str(recording)) as source, av.open(str(path), "w", format="matroska") as target:
        stream = target.add_stream("libx264", rate=30, options={"bf": "0"})
        stream.width, stream.height = 320, 240  # type: ignore[attr-defined]  # PyAV's stubs: any stream
        for number, frame in enumerate(source.decode(video=0)):
            frame.pts, frame.time_base, frame.pict_type = number, Fraction(1, 2000), 0  # two in each millisecond
            target.mux(stream.encode(frame))  # type: ignore[arg-type,attr-defined]
        target.mux(stream.encode(None))  # type: ignore[attr-defined]
    found = read(path)

    assert found.repeated_pts >= 10


@pytest.mark.parametrize(("times", "expected"), [([0, 3, 6], 0), ([0, 3, 3, 6], 1), ([6, 3, 0], 2), ([0, None, 3], 0)])
def test_packets_that_run_back_are_counted(times: list[int | None], expected: int) -> None:
    """DTS are later each time, in every container that players can seek in."""
    counted = _Counted()
    for dts in times:
        packet: av.Packet[Any] = av.Packet(b"picture")
        packet.pts, packet.dts = 7, dts
        counted.count(packet)

    assert expected == counted.backward


def test_a_proof_of_the_same_packets_spares_the_full_look(output: Path) -> None:
    """The checksum and the number of packets must both be those of the file."""
    packets = len(streams_of(output)[0].pts)
    muxer = "mp4" if "mp4" in output.name else "matroska"

    def look(proof: ProofFacts) -> OutputFacts:
        return read_back(str(output), muxer, True, lambda share: None, proof)

    crc = look(ProofFacts(frames=0, packets=0, error="", crc=0)).video_crc
    assert crc is not None

    def looked(proof: ProofFacts) -> list[str]:
        return [spot.place for spot in look(proof).spots]

    proof = ProofFacts(frames=packets, packets=packets, error="", crc=crc)
    assert looked(proof) == ["start", "middle", "end", "beside"]
    assert looked(replace(proof, crc=crc ^ 1)) == ["all"]
    assert looked(replace(proof, packets=packets - 1)) == ["all"]


@pytest.mark.parametrize("full", [False, True])
def test_damage_in_the_pictures_is_found(output: Path, tmp_path: Path, full: bool) -> None:
    """Noise over most of the file: at least one place does not decode, or the packets no longer add up."""
    found = read(spoilt(output, tmp_path, 0.3, 0.9), full=full)

    assert any(spot.error for spot in found.spots) or found.streams[0].packets < 30


def test_a_few_spoilt_bytes_are_found_by_the_full_look(output: Path, tmp_path: Path) -> None:
    """
    That is what it is for. Noise that makes sense to a decoder exists, and each FFmpeg falls for another: so of nine
    places that are spoilt, one after the other, it may miss two.
    """
    looks = [read(spoilt(output, tmp_path, at, at + 0.02), full=True) for at in (0.05 + 0.1 * n for n in range(9))]
    found = [any(spot.error for spot in look.spots) or look.streams[0].packets < 30 for look in looks]

    assert sum(found) >= 7, found


def test_a_file_that_is_cut_off_is_found(output: Path, tmp_path: Path) -> None:
    copy = tmp_path / output.name
    copy.write_bytes(output.read_bytes()[: output.stat().st_size * 2 // 3])
    found = read(copy)

    assert found.streams[0].packets < 30 or any(spot.error for spot in found.spots)


@pytest.mark.parametrize("data", [b"", b"no film", bytes(5000)])
def test_what_is_no_film_at_all_is_an_error(output: Path, tmp_path: Path, data: bytes) -> None:
    copy = tmp_path / output.name
    copy.write_bytes(data)

    with pytest.raises((av.error.FFmpegError, OSError)):
        read(copy)
