"""A long MP4 is written in segments and joined in the end: nobody can tell it from one that was written in one go."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest

from encoderd.encode.failures import EncodeFailed, Place
from encoderd.encode.finishing import Appended, WrittenSegment, finish_movie
from encoderd.encode.messages import to_line
from encoderd.encode.movie_index import TrackTimes
from encoderd.encode.pyav import disposition
from encoderd.encode.sample import SampleSpec, make_recording
from encoderd.encode.supervisor import Child
from encoderd.jobs import FailureKind, JobEvent
from tests.broadcast.catalogue import CATALOGUE
from tests.encoding import LIMITS, encode, request_for, wait_until
from tests.often import often

CHAPTERS = "CHAPTER01=00:00:00.200\nCHAPTER01NAME=本編\nCHAPTER02=00:00:01.500\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("finishing")


@pytest.fixture(scope="module")
def sounds(folder: Path) -> Path:
    """Interlaced MPEG-2 with AAC and AC-3, which are copied, and MP2, which becomes AAC."""
    spec = SampleSpec(width=320, height=240, bit_rate_bps=1_500_000, duration_s=4.0, audio=("aac", "mp2", "ac3"))
    return make_recording(folder / "sounds.ts", spec)


def shown(path: Path) -> dict[str, Any]:
    """All that a player can see of a file, packets as their own numbers and bytes."""
    packets: dict[int, list[Any]] = {}
    with av.open(str(path)) as container:
        streams = [
            (stream.type, stream.time_base, stream.start_time, stream.duration, stream.frames, dict(stream.metadata),
             disposition(stream), stream.codec_context.name, bytes(stream.codec_context.extradata or b""),
             stream.codec_context.bit_rate)
            for stream in container.streams if stream.codec_context is not None
        ]  # fmt: skip
        whole = (container.duration, container.start_time, dict(container.metadata))
        chapters = container.chapters() if hasattr(container, "chapters") else []
        for packet in container.demux():
            if packet.size:
                packets.setdefault(packet.stream_index, []).append(
                    (packet.pts, packet.dts, packet.duration, packet.is_keyframe, packet.is_disposable, bytes(packet))
                )
    return {"whole": whole, "streams": streams, "chapters": chapters, "packets": packets}


def boxes_of(path: Path) -> dict[str, tuple[int, int]]:
    """The file's own boxes: {kind: (first byte, size)}; a kind that is there twice fails, but for free space."""
    found: dict[str, tuple[int, int]] = {}
    with path.open("rb") as file:
        at, size = 0, path.stat().st_size
        while at < size:
            file.seek(at)
            head = file.read(16)
            length = int.from_bytes(head[:4], "big")
            length = int.from_bytes(head[8:], "big") if length == 1 else length
            kind = head[4:8].decode("ascii")
            assert kind == "free" or kind not in found
            found[kind] = at, length
            at += length
        assert at == size
    return found


def both(source: Path, segment_packets: int, **asked: Any) -> tuple[Path, Path]:
    """The same recording, as libavformat finishes it and as we do."""
    made = []
    for name, packets in (("theirs", 0), ("ours", segment_packets)):
        done = encode(source, segment_packets=packets, verify="full", **asked)
        assert set(done.doubts) <= {"damage"}, "the proof beside the encode is of the packets in the file, too"
        made.append(done.path.rename(source.with_name(f"{source.stem}.{name}.mp4")))
    return made[0], made[1]


def test_one_segment_is_what_libavformat_writes_to_the_byte(folder: Path, sounds: Path) -> None:
    """Its "faststart", chapters and all: a short recording's output is the same as ever."""
    chapters = folder / "chapters.txt"
    chapters.write_text(CHAPTERS, "utf-8")
    theirs, ours = both(sounds, 100_000, chapters=str(chapters))

    assert theirs.read_bytes() == ours.read_bytes()


@pytest.mark.parametrize("segment_packets", often(1, [40, 333]))
def test_segments_are_joined_without_a_seam(folder: Path, sounds: Path, segment_packets: int) -> None:
    """Packets with their times, flags and bytes, edit lists, configurations, words, languages, defaults, chapters."""
    chapters = folder / "chapters.txt"
    chapters.write_text(CHAPTERS, "utf-8")
    theirs, ours = both(sounds, segment_packets, chapters=str(chapters))

    assert shown(theirs) == shown(ours)
    found = boxes_of(ours)
    assert list(found) == ["ftyp", "moov", "free", "mdat"], "the index is in front, and there are no fragments"


@pytest.mark.parametrize("name", often(1, ["late_audio", "gap_2s"]))
def test_broadcasts_are_joined_without_a_seam(folder: Path, name: str) -> None:
    """Sound that begins in a later segment, and a gap between two."""
    source = folder / f"{name}.ts"
    source.write_bytes(CATALOGUE[name].make().data)
    theirs, ours = both(source, 60)

    assert shown(theirs) == shown(ours)


@pytest.mark.parametrize("asked", [{"rate_control": "vbr", "bitrate_bps": 400_000}])
def test_the_encoder_s_words_on_its_bit_rate_stay(sounds: Path, asked: dict[str, Any]) -> None:
    """ "btrt" has what the encoder's buffer model promises, whichever way it was asked."""
    theirs, ours = both(sounds, 200, **asked)
    marks = [path.read_bytes()[: boxes_of(path)["moov"][1] + 64].split(b"btrt")[1:] for path in (theirs, ours)]

    assert [mark[:12] for mark in marks[0]] == [mark[:12] for mark in marks[1]]
    assert shown(theirs) == shown(ours)


def test_the_child_says_that_it_finishes(sounds: Path) -> None:
    """In a phase of its own, between draining and verifying, with the share that is done."""
    request = request_for(sounds, sounds.with_name("said.mp4"), segment_packets=100)
    command = [sys.executable, "-P", "-m", "encoderd.encode.child"]
    run = subprocess.run(command, input=to_line(request), capture_output=True, text=True, timeout=60, check=True)
    said = [json.loads(line) for line in run.stdout.splitlines()]
    phases = list(dict.fromkeys(message["phase"] for message in said if message["type"] == "progress"))

    assert phases[-3:] == ["draining", "finishing", "verifying"]
    assert said[-1]["type"] == "encoded"


def test_a_child_that_is_killed_leaves_nothing_but_its_partial(tmp_path: Path, sounds: Path) -> None:
    """The segments are all in that one file, which is known by its name to whoever sweeps."""
    partial = tmp_path / ".x.encoderd-7.partial"
    child = Child(request_for(sounds, partial, segment_packets=20), LIMITS, now_s=time.monotonic())
    try:
        wait_until(lambda: partial.is_file() and partial.read_bytes().count(b"ftypisom") > 2, "no segments came")
        os.kill(child.pid, signal.SIGKILL)
    finally:
        child.kill()

    assert [partial] == list(tmp_path.iterdir())


# --- the joining itself, on segments made by hand


def segments(path: Path, sounds: Path) -> list[WrittenSegment]:
    """Copy the AC-3 of the recording into three segments."""
    made, begin = [], 0
    path.write_bytes(b"")
    with av.open(str(sounds)) as source:
        packets = [packet for packet in source.demux(audio=2) if packet.size]
        for part in (packets[:40], packets[40:90], packets[90:]):
            file = Appended(str(path), begin)
            with av.open(file, "w", format="mp4") as container:
                stream = container.add_stream_from_template(source.streams.audio[2])
                for packet in part:
                    packet.stream = stream
                    container.mux_one(packet)
                first, last = part[0], part[-1]
                times = TrackTimes(
                    first_dts=first.dts or 0,
                    first_pts=first.pts or 0,
                    end_pts=(last.pts or 0) + int(last.duration or 0),
                    keys=None,
                )
            file.done()
            made.append(WrittenSegment(first=begin, end=path.stat().st_size, times={1: times}))
            begin = path.stat().st_size
    return made


@pytest.fixture
def room_for() -> Iterator[Any]:
    """Limit the size of files that this process writes: what a full disk does, but to one file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size_bytes: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_segments_made_by_hand_become_one_movie(tmp_path: Path, sounds: Path) -> None:
    path = tmp_path / "x.mp4"
    shares: list[float] = []
    made = segments(path, sounds)
    before = path.stat().st_size
    finish_movie(str(path), made, shares.append)
    with av.open(str(sounds)) as source, av.open(str(path)) as container:
        expected = [bytes(packet) for packet in source.demux(audio=2) if packet.size]
        found = [bytes(packet) for packet in container.demux() if packet.size]

    assert expected == found
    assert sorted(shares) == shares
    assert shares[-1] == 1.0
    assert path.stat().st_size <= before + 16, "it needs no more room than its segments had"


def test_a_full_disk_is_told_as_one(tmp_path: Path, sounds: Path, room_for: Any) -> None:
    """The index takes the room of those that it replaces; where there is none all the same, the queue waits."""
    path = tmp_path / "x.mp4"
    made = segments(path, sounds)
    room_for(path.stat().st_size // 2)
    with pytest.raises(EncodeFailed) as caught:
        finish_movie(str(path), made, lambda share: None)

    assert (FailureKind.DEVICE, JobEvent.NO_SPACE, Place.FOLDER) == (
        caught.value.kind,
        caught.value.event,
        caught.value.place,
    )
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("at", [0.1, 0.5, 0.9])
def test_a_segment_that_is_not_what_it_should_be_is_a_crash(tmp_path: Path, sounds: Path, at: float) -> None:
    path = tmp_path / "x.mp4"
    made = segments(path, sounds)
    size = path.stat().st_size
    broken = [WrittenSegment(first=one.first, end=one.end, times=one.times) for one in made]
    with path.open("r+b") as file:
        for one in broken:
            file.seek(one.first)
            file.write(b"\0\0\0\7" if at < 0.5 else b"\x7f\xff\xff\xff" if at < 0.9 else b"\0\0\0\0")
    with pytest.raises(EncodeFailed) as caught:
        finish_movie(str(path), broken, lambda share: None)

    assert (FailureKind.CRASH, size) == (caught.value.kind, path.stat().st_size)
