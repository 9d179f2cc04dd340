"""The eyes and ears of the broadcast tests, tested: what they measure is there, and what is wrong they notice."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.broadcast import making, sights, transport
from tests.broadcast.judgement import faults
from tests.broadcast.making import NTSC, PAL, Part
from tests.broadcast.studio import AUDIO_PID, audio, service, steady, video
from tests.broadcast.transport import HZ, Elementary, Packetizer, Unit
from tests.broadcast.truth import Track, Truth, truth_of
from tests.encoding import packets_of

PLAIN = Part(frames=150, rate=PAL)
TRUTH = truth_of([PLAIN])


def made(path: Path, *, sound_late_s: Fraction = Fraction(0), keep: Callable[[Unit], bool] = lambda _: True) -> Path:
    """An undistorted recording of 6 s, or one whose sound is late, or whose units are not all there."""
    picture, sound = video([PLAIN], "libx264"), audio([PLAIN])
    late = round(sound_late_s * HZ)
    units = [replace(unit, pts=unit.pts + late, dts=unit.dts + late) for unit in sound.units]
    streams = (picture, replace(sound, units=[unit for unit in units if keep(unit)]))
    path.write_bytes(transport.multiplexed(service(*streams), clock=steady(0)))
    return path


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In a container whose times begin at zero; nothing is encoded again."""
    folder = tmp_path_factory.mktemp("plain")
    return remuxed(made(folder / "x.ts"), folder / "x.mp4")


def remuxed(source: Path, target: Path) -> Path:
    with av.open(str(source)) as before, av.open(str(target), "w") as after:
        streams = [after.add_stream_from_template(stream) for stream in before.streams]
        streams[1].metadata["language"] = "jpn"
        for packet in before.demux():
            if packet.size and packet.dts is not None:
                packet.stream = streams[packet.stream_index]
                after.mux(packet)
    return target


@pytest.mark.parametrize("size", [(256, 144), (160, 96), (1440, 1080)])
def test_numbers_drawn_are_numbers_read(size: tuple[int, int]) -> None:
    for number in [0, 1, 2**16 - 1, *random.Random(1).sample(range(2**16), 20)]:
        luma = making.drawn(number, number % 2 == 0, size, number)

        assert number == sights.number_in(luma)
        assert number == sights.number_in((luma * 0.8 + 20).astype(np.uint8)), "paler"


def test_a_number_that_is_spoilt_is_not_read() -> None:
    luma = making.drawn(1234, False, (256, 144), 0)
    luma[:, 60:200] = 120

    assert sights.number_in(luma) is None


def test_bars_are_found() -> None:
    framed = np.full((200, 400), 16, np.uint8)
    framed[20:164, 60:316] = making.drawn(777, False, (256, 144), 3)

    assert (60, 20, 316, 164) == sights._box(framed)


def test_flashes_and_bursts_are_where_they_were_made(plain: Path) -> None:
    """Flashes to the tick, bursts within 3 ms; each with its second."""
    pictures, heard = sights.seen(plain), sights.beeps(plain)

    assert list(range(150)) == [picture.number for picture in pictures]
    assert [event.at_s for event in TRUTH.events] == sights.flashes_in(pictures)
    assert [event.mark for event in TRUTH.events] == [burst.mark for burst in heard]
    for event, burst in zip(TRUTH.events, heard, strict=True):
        assert abs(event.at_s - burst.at_s) <= Fraction(3, 1000)


def test_bursts_of_interlaced_ntsc_are_at_pictures() -> None:
    """A second that falls between two pictures is marked at the later one, in both."""
    events = truth_of([Part(frames=90, rate=NTSC, scan="tff")]).events

    assert [Fraction(1001, 1000), Fraction(2002, 1000), Fraction(90090, 30000)][:2] == [one.at_s for one in events]


@pytest.mark.parametrize("late_s", [Fraction(40, 1000), Fraction(-40, 1000)])
def test_forty_milliseconds_are_seen(tmp_path: Path, late_s: Fraction) -> None:
    """Of a shift of the sound, in either direction, nearly nothing is lost in measuring."""
    source = made(tmp_path / "x.ts", sound_late_s=late_s)

    assert abs(sights.skew(source) - abs(late_s)) <= Fraction(3, 1000)
    found = faults(remuxed(source, tmp_path / "x.mp4"), TRUTH)
    assert len(TRUTH.events) == sum("the burst of" in fault and "away" in fault for fault in found), found


def test_without_a_shift_there_is_no_skew(plain: Path) -> None:
    assert sights.skew(plain) <= Fraction(3, 1000)


def test_voices_are_told_apart(tmp_path: Path) -> None:
    streams = video([PLAIN], "libx264"), audio([PLAIN], voice=1)
    source = tmp_path / "x.ts"
    source.write_bytes(transport.multiplexed(service(*streams), clock=steady()))

    assert {1} == {burst.voice for burst in sights.beeps(source)}


def test_an_undistorted_encode_has_no_fault(plain: Path) -> None:
    assert [] == faults(plain, TRUTH)


PIECE = TRUTH.pieces[0]


@pytest.mark.parametrize(
    ("truth", "words"),
    [
        (replace(TRUTH, tracks=(Track(language="eng"),)), "the sound's tracks are"),
        (replace(TRUTH, tracks=(Track(), Track())), "the sound's tracks are"),
        (replace(TRUTH, tracks=(Track(voice=1),)), "bursts that nobody made"),
        (replace(TRUTH, size=(256, 160)), "the geometry is"),
        (replace(TRUTH, sample_aspect_ratio=Fraction(4, 3)), "the geometry is"),
        (replace(TRUTH, colours=making.BT470BG), "the colours are"),
        (replace(TRUTH, shapes=(Fraction(4, 3),)), "the picture is 1.778 : 1"),
        (replace(TRUTH, pieces=(replace(PIECE, frames=151),)), "1 pictures are missing: [150]"),
        (replace(TRUTH, pieces=(replace(PIECE, frames=140),)), "10 pictures cannot be read or are of another"),
        (replace(TRUTH, pieces=(replace(PIECE, frames=200),)), "pictures end at 6.000 s, not 8.000"),
        (replace(TRUTH, pieces=(replace(PIECE, rate=Fraction(26)),)), "from its time"),
        (replace(TRUTH, pieces=(replace(PIECE, rate=Fraction(60)),)), "a hole of 0.040 s"),
        (replace(TRUTH, pieces=(replace(PIECE, at_s=Fraction(1, 10)),)), "no flash at"),
    ],
)
def test_what_differs_from_the_truth_is_a_fault(plain: Path, truth: Truth, words: str) -> None:
    found = faults(plain, truth)

    assert any(words in fault for fault in found), found


def test_a_hole_in_the_sound_is_a_fault(tmp_path: Path) -> None:
    """One packet is missing: 21 ms are no fault, two packets are."""
    for packets, wanted in ((1, 0), (2, 1)):
        begin = 100 * 1024 * HZ // 48_000
        end = begin + packets * 1024 * HZ // 48_000
        source = made(tmp_path / f"{packets}.ts", keep=lambda unit, begin=begin, end=end: not begin <= unit.pts < end)
        found = faults(remuxed(source, tmp_path / f"{packets}.mkv"), TRUTH)

        assert wanted == sum("nothing from" in fault for fault in found), found


# --- the multiplexer


@pytest.mark.parametrize("size", [0, 1, 100, 175, 176, 177, 182, 183, 184, 185, 367, 368, 369, 5000])
@pytest.mark.parametrize("clock", [None, 12345])
def test_every_length_fits_into_packets(size: int, clock: int | None) -> None:
    """188 bytes each, counted, and together the unit again."""
    data = random.Random(size).randbytes(size) + b"!"
    packets = list(Packetizer().payload(0x123, data, clock))
    whole = b""
    for number, (pid, packet) in enumerate(packets_of(b"".join(packets))):
        assert (0x123, 0x47, number % 16) == (pid, packet[0], packet[3] & 15)
        begin = 4 + (1 + packet[4] if packet[3] & 0x20 else 0)
        whole += bytes(packet[begin:])

    assert data == whole
    assert clock == transport.clock_of(packets[0])
    assert {188} == {len(packet) for packet in packets}


def test_ffmpeg_reads_what_is_multiplexed(tmp_path: Path) -> None:
    """Each unit is a packet again, with its times, and no packet is missed."""
    sound = audio([PLAIN])
    source = tmp_path / "x.ts"
    source.write_bytes(transport.multiplexed(service(video([PLAIN], "libx264"), sound), clock=steady(2**33 - HZ)))
    with av.open(str(source)) as container:
        streams = [(stream.id, stream.metadata.get("language")) for stream in container.streams]
        packets = [packet for packet in container.demux() if packet.size]

    assert [(0x100, None), (AUDIO_PID, "jpn")] == streams
    assert [unit.data for unit in sound.units] == [bytes(packet) for packet in packets if packet.stream_index == 1]
    assert 150 == sum(packet.stream_index == 0 for packet in packets)
    assert not any(packet.is_corrupt for packet in packets)


def test_a_table_changes_its_version_with_its_content() -> None:
    late = Elementary(pid=AUDIO_PID, stream_type=transport.ADTS, units=[], announced=2 * HZ)
    data = transport.multiplexed(service(video([PLAIN], "libx264"), late), clock=steady())
    sections = [bytes(packet[5:]) for pid, packet in packets_of(data) if pid == 0x1F0]
    versions = [(entry[5] >> 1 & 31, entry[2]) for entry in sections]

    assert [(0, 18), (1, 23)] == sorted(set(versions))
    assert versions == sorted(versions)
