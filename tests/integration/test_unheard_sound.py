"""Tracks of sound that nobody can decode: never the end of the picture, nor of the other tracks."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from pathlib import Path

import av
import pytest

from encoderd.encode.failures import EncodeFailed
from encoderd.jobs import FailureKind
from tests.broadcast import sights, transport
from tests.broadcast.catalogue.sounds import noise_in_frames, sent_as
from tests.broadcast.containers import Head, Said, remuxed
from tests.broadcast.making import Part
from tests.broadcast.studio import audio, service, steady, video
from tests.broadcast.transport import Elementary, Unit
from tests.encoding import encode, try_encode
from tests.sections import descriptor

PARTS = [Part(frames=60)]
NOISE = random.Random(1)

#: Stream type, descriptors and payload of each; what the receipt calls it.
UNHEARD: dict[str, tuple[int, bytes, Callable[[], bytes]]] = {
    "AC-4": (0x06, descriptor(0x7F, b"\x15\x00"), lambda: b"\xac\x40" + NOISE.randbytes(200)),
    "MPEG-H 3D Audio": (0x2D, b"", lambda: NOISE.randbytes(200)),
    "DTS-UHD": (0x06, descriptor(0x7F, b"\x21\x00"), lambda: NOISE.randbytes(200)),
    "AAC": (0x0F, b"", lambda: NOISE.randbytes(200)),  # without any sync
    "AC-3": (0x81, descriptor(0x05, b"AC-3"), lambda: b"\x0b\x77" + bytes(200)),
    "MPEG audio": (0x03, b"", lambda: bytes(200)),
    "AAC (LATM)": (0x11, b"", lambda: NOISE.randbytes(200)),  # no StreamMuxConfig
}


def unheard(name: str, pid: int) -> Elementary:
    stream_type, told, payload = UNHEARD[name]
    units = [Unit(pts=number * 1920, dts=number * 1920, data=payload()) for number in range(90)]
    return Elementary(pid=pid, stream_type=stream_type, units=units, descriptors=told)


def recording(path: Path, *sounds: Elementary) -> Path:
    path.write_bytes(transport.multiplexed(service(video(PARTS), *sounds), clock=steady()))
    return path


def test_what_can_be_heard_is_published_beside_what_cannot(tmp_path: Path) -> None:
    """Each is named with its PID, warned of and counted as damage of its own; the verdict keeps the source."""
    bad = {0x120 + number: name for number, name in enumerate(UNHEARD)}
    path = recording(tmp_path / "x.ts", audio(PARTS), *[unheard(name, pid) for pid, name in bad.items()])

    done = encode(path)
    (evidence,) = [one["evidence"] for one in done.receipt["findings"] if one["check"] == "sound"]
    (damaged,) = [one for one in done.receipt["damage"]["kinds"] if one["kind"] == "undecodable"]

    assert done.receipt["verdict"] == "warn"
    assert [pid for pid, name in bad.items() if f"{name} on PID {pid:#x}" not in evidence] == []
    assert (damaged["pids"], done.receipt["damage"]["ratio"]) == (list(bad), 0)
    assert [(track.kind, track.codec) for track in sights.tracks(done.path)] == [("video", "h264"), ("audio", "aac")]
    assert len(sights.beeps(done.path)) == 2 - 1


@pytest.mark.parametrize("name", ["AC-4", "AAC"])
def test_a_recording_whose_sound_is_lost_is_refused_by_name(tmp_path: Path, name: str) -> None:
    """Once: the same again would give the same."""
    outcome = try_encode(recording(tmp_path / "x.ts", unheard(name, 0x112)), tmp_path / "x.mp4")

    assert isinstance(outcome, EncodeFailed)
    assert f"the only sound is {name} on PID 0x112" in outcome.message
    assert outcome.kind is FailureKind.RECORDING
    assert "--accept-damage" in outcome.remedy


@pytest.mark.parametrize(("codec", "name", "good"), [("aac", "AAC", 0), ("ac3", "AC-3", 1)])
def test_noise_in_valid_frames_is_no_sound(tmp_path: Path, codec: str, name: str, good: int) -> None:
    """Although every header is right, and although one frame of it can be decoded."""
    units = noise_in_frames(codec, lambda number: number >= good)
    outcome = try_encode(recording(tmp_path / "x.ts", sent_as(codec, units, 0x112)), tmp_path / "x.mp4")
    share = f"{good} of {len(units)} packets" if good else "nothing"

    assert isinstance(outcome, EncodeFailed)
    assert f"the only sound is {name} on PID 0x112, of which {share} can be decoded" in outcome.message
    assert outcome.kind is FailureKind.RECORDING


def test_aac_without_its_configuration_is_heard_as_ffmpeg_hears_it(tmp_path: Path) -> None:
    """MP4 that lost its esds: rate and channels are told elsewhere."""
    made = transport.multiplexed(service(video(PARTS, "libx264"), audio(PARTS)), clock=steady())
    path = tmp_path / "x.mp4"
    path.write_bytes(remuxed(made, "mp4", [Said(), Said()], Head()).replace(b"esds", b"free"))

    done = encode(path)

    assert done.doubts == {}
    assert len(sights.beeps(done.path)) == 2 - 1


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_a_track_that_never_comes_costs_nothing_else(tmp_path: Path, container: str) -> None:
    """Matroska announces it in its head; a muxer may keep no track of it, or an empty one."""
    sounds = audio(PARTS), audio(PARTS, pid=0x121, voice=1, codes=("eng",))
    made = io.BytesIO()
    with (
        av.open(io.BytesIO(transport.multiplexed(service(video(PARTS), *sounds), clock=steady()))) as source,
        av.open(made, "w", format="matroska") as target,
    ):
        streams = [target.add_stream_from_template(stream) for stream in source.streams]
        target.add_stream("aac", rate=48_000, layout="stereo")
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream_index]
                target.mux(packet)
    path = tmp_path / "x.mkv"
    path.write_bytes(made.getvalue())
    done = encode(path, container=container)

    assert done.verdicts["streams"] == done.verdicts["sound"] == "pass"
    assert [len(sights.beeps(done.path, number)) for number in (0, 1)] == [1, 1]
