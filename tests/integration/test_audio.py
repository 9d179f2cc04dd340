"""Audio tracks as a viewer hears them: every second's beep within 20 ms of where the recording had it."""

from __future__ import annotations

import io
import random
import tracemalloc
from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.audio.frame import AudioFrame
from av.packet import Packet
from numpy.typing import NDArray

from encoderd.encode.aac import AacConfiguration, adts_configuration, silent_block
from encoderd.encode.audio import AudioTrack, add_audio
from encoderd.encode.audio_configuration import Configuration, configuration_of, is_dual_mono
from encoderd.encode.audio_plan import AudioPlan, aac_bit_rate_bps
from encoderd.encode.facts import StreamFacts
from encoderd.encode.silence import silent_frame
from encoderd.encode.sound_clock import SoundClock, stretched
from tests.dual_mono import dual_mono_adts

Samples = NDArray[np.float32]

RATE = 48_000
TICKS = 90_000
#: What the issue promises.
NEAR_S = 0.020
TONES = (1000, 3000, 500, 700, 1300, 1700, 2100, 2500)
LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}


# --- recordings: a beep of 60 ms each second, a tone of its own in each channel


def beeps(seconds: float, tones: Iterable[int], rate: int = RATE) -> Samples:
    at = np.arange(round(seconds * rate)) / rate
    gate = (at % 1) < 0.06
    return np.stack([0.4 * np.sin(2 * np.pi * tone * at) * gate for tone in tones]).astype(np.float32)


def encoded(sound: Samples, codec: str = "aac", layout: str = "", rate: int = RATE, form: str = "fltp") -> list[bytes]:
    """The sound's packets; AAC without headers."""
    context: Any = av.CodecContext.create(codec, "w")
    context.sample_rate, context.layout, context.format = rate, layout or LAYOUTS[len(sound)], form
    context.bit_rate = 384_000 if len(sound) > 2 else 128_000
    if codec == "aac":
        context.options = {"aac_coder": "fast"}
    packets = []
    for at in range(0, sound.shape[1], 1024):
        frame = AudioFrame(format="fltp", layout=layout or LAYOUTS[len(sound)], samples=len(sound[0, at : at + 1024]))
        for plane, channel in zip(frame.planes, sound, strict=False):
            plane.update(channel[at : at + 1024].tobytes())
        frame.sample_rate, frame.pts, frame.time_base = rate, at, Fraction(1, rate)
        packets += context.encode(frame)
    return [bytes(packet) for packet in [*packets, *context.encode(None)]]


def adts(packets: list[bytes], channels: int, rate_index: int = 3) -> list[bytes]:
    """Headers by hand, not by the code under test."""
    found = []
    for packet in packets:
        head = 0xFFF_1 << 40 | 1 << 38 | rate_index << 34 | channels << 30 | (7 + len(packet)) << 13 | 0x7FF << 2
        found.append(head.to_bytes(7, "big") + packet)
    return found


@cache
def coded(codec: str, seconds: float, tones: tuple[int, ...], layout: str = "", rate: int = RATE) -> list[bytes]:
    """Packets of beeps in one of the other codecs."""
    return encoded(beeps(seconds, tones, rate), codec, layout, rate, "s16" if codec == "mp2" else "fltp")


@cache
def aac_beeps(seconds: float, tones: tuple[int, ...], rate: int = RATE, rate_index: int = 3) -> list[bytes]:
    """ADTS frames whose decoded sound begins with the first frame: the encoder's start-up is left out."""
    return adts(encoded(beeps(seconds, tones, rate), rate=rate), len(tones), rate_index)[1:]


@cache
def dual_beeps(seconds: float, *, program: bool = False) -> list[bytes]:
    main, sub = (encoded(beeps(seconds, (tone,))) for tone in TONES[:2])
    return dual_mono_adts(main, sub, program=program)[1:]


class Streams:
    """Streams as a demuxer has them, for packets that the tests place themselves."""

    def __init__(self) -> None:
        self._open: list[Any] = []

    def of(self, codec: str, packets: list[bytes], suffix: str = "") -> Any:
        """A stream of `codec`, opened by FFmpeg from its own packets."""
        container = av.open(io.BytesIO(b"".join(packets)), "r", format=suffix or codec)
        self._open.append(container)
        return container.streams.audio[0]

    def file(self, path: Path) -> Any:
        container = av.open(str(path))
        self._open.append(container)
        return container

    def close(self) -> None:
        for container in self._open:
            container.close()


@pytest.fixture
def streams() -> Iterator[Streams]:
    opened = Streams()
    yield opened
    opened.close()


def placed(stream: Any, packets: list[bytes], start_s: float = 0.0, samples: int = 1024, rate: int = RATE) -> Any:
    """The packets one behind the other, in ticks of 90 kHz."""
    for number, data in enumerate(packets):
        packet: Packet[Any] = Packet(data)
        packet.stream = stream
        packet.time_base = Fraction(1, TICKS)
        packet.pts = packet.dts = round(start_s * TICKS) + round(number * samples * TICKS / rate)
        packet.duration = round(samples * TICKS / rate)
        yield packet


def plan_for(**changes: Any) -> AudioPlan:
    values: dict[str, Any] = {
        "index": 0,
        "codec": "aac",
        "bit_rate_bps": 0,
        "sample_rate_hz": RATE,
        "layout": "stereo",
        "language": "",
        "title": "",
        "default": True,
    }
    return AudioPlan(**(values | changes))


class Heard:
    """A finished file: packets as the muxer gave them back, and its sound at its time."""

    def __init__(self, path: Path, facts: StreamFacts, pushed: list[Packet[Any]]) -> None:
        self.facts, self.pushed = facts, pushed
        with av.open(str(path)) as container:
            stream: Any = container.streams.audio[0]
            self.metadata = dict(stream.metadata)
            self.rate, self.layout = stream.codec_context.sample_rate, stream.codec_context.layout.name
            channels = stream.codec_context.layout.nb_channels
            parts, self.errors = [], 0
            for packet in container.demux(stream):
                try:
                    frames = packet.decode()
                except av.error.FFmpegError:
                    self.errors += 1
                    continue
                for frame in frames:
                    data = np.stack(
                        [np.frombuffer(frame.planes[n], np.float32, frame.samples) for n in range(channels)]
                    )
                    parts.append((round((frame.pts or 0) * Fraction(frame.time_base or 1) * frame.sample_rate), data))
        length = max(at + part.shape[1] for at, part in parts)
        self.sound = np.zeros((channels, length), np.float32)
        for at, part in parts:
            cut = max(0, -at)
            self.sound[:, at + cut : at + part.shape[1]] = part[:, cut:]

    @property
    def end_s(self) -> float:
        return self.sound.shape[1] / self.rate

    def beeps(self, channel: int | None = None) -> list[float]:
        """When beeps begin, in seconds, in one channel or in any."""
        sound = self.sound if channel is None else self.sound[channel : channel + 1]
        loud = np.flatnonzero(np.abs(sound).max(axis=0) > 0.1)
        first = np.flatnonzero(np.diff(loud, prepend=-self.rate) > self.rate // 4)
        return [float(loud[at]) / self.rate for at in first]

    def tones(self, channel: int, from_s: float, to_s: float, least: float = 0.05) -> list[int]:
        """The tones that are heard in a stretch: those of TONES whose share of the loudest possible is `least`."""
        part = self.sound[channel, round(from_s * self.rate) : round(to_s * self.rate)]
        at = np.arange(len(part)) / self.rate
        beeping = 0.4 * 0.06 * len(part) / 2
        return [tone for tone in TONES if abs(np.exp(-2j * np.pi * tone * at) @ part) > least * beeping]


def hear(
    plan: AudioPlan, packets: Iterable[Packet[Any]], sources: list[Any], path: Path, end_s: Fraction | None = None
) -> Heard:
    """Put packets through a track into a file, and listen."""
    facts, pushed = StreamFacts(codec=plan.codec), []
    with av.open(str(path), "w", format="mp4" if path.suffix == ".mp4" else "matroska") as container:
        output = add_audio(container, plan, sources)
        track = AudioTrack(plan, output, facts)

        def ready() -> Iterator[Packet[Any]]:
            for packet in packets:
                yield from track.push(packet)
            yield from track.finish(end_s)

        for packet in ready():
            assert packet.dts is not None and packet.pts == packet.dts
            assert not pushed or packet.dts > pushed[-1][0], "dts do not rise"
            pushed.append((packet.dts, packet.duration, bytes(packet)))  # type: ignore[arg-type]  # values are enough
            packet.stream = output
            container.mux_one(packet)
    return Heard(path, facts, pushed)


def assert_beeps(heard: Heard, expected_s: Iterable[float], channel: int | None = None) -> None:
    found, expected = heard.beeps(channel), list(expected_s)
    off = [round(1000 * (have - want), 1) for have, want in zip(found, expected, strict=False)]
    assert len(found) == len(expected) and max(map(abs, off), default=0) <= 1000 * NEAR_S, (found, off)


SUFFIXES = pytest.mark.parametrize("suffix", [".mp4", ".mkv"])


# --- copied


@SUFFIXES
def test_whole_packets_are_copied_byte_by_byte_at_their_own_time(tmp_path: Path, streams: Streams, suffix: str) -> None:
    packets = aac_beeps(4, TONES[:2])
    stream = streams.of("aac", packets)
    given = list(placed(stream, packets, 0.25))

    times = [packet.pts for packet in given]
    heard = hear(plan_for(language="jpn", title="Main"), given, [stream], tmp_path / f"x{suffix}")

    assert [data for _, _, data in heard.pushed] == packets
    assert [pts for pts, _, _ in heard.pushed] == times
    assert_beeps(heard, [0.25 + second for second in range(4)])
    assert (heard.facts.damaged, heard.facts.filled, heard.facts.cut, heard.facts.converted) == (0, 0, 0, 0)
    assert (heard.metadata["language"], heard.errors) == ("jpn", 0)


@SUFFIXES
@pytest.mark.parametrize("codec", ["aac", "ac3", "eac3"])
def test_a_gap_is_filled_with_silence_of_the_same_form(
    tmp_path: Path, streams: Streams, suffix: str, codec: str
) -> None:
    """Two gaps, of 3 frames and of 2.5 s and a bit; every real packet keeps its own time."""
    if codec == "aac":
        packets, samples, late_s = aac_beeps(4, TONES[:2]), 1024, 0.0
    else:
        packets, samples, late_s = coded(codec, 4, TONES[:2]), 1536, 256 / RATE
    stream = streams.of(codec, packets)
    first, second = round(1.5 * RATE / samples), round(2.5 * RATE / samples)
    parts = [
        (0.0, packets[:first]),
        (first * samples / RATE, packets[first + 3 : second]),
        (second * samples / RATE + 2.507, packets[second:]),
    ]
    parts[1] = ((first + 3) * samples / RATE, packets[first + 3 : second])
    given = [packet for start_s, part in parts for packet in placed(stream, part, start_s, samples)]

    heard = hear(plan_for(codec=codec), given, [stream], tmp_path / f"x{suffix}")

    missing_s = 3 * samples / RATE + 2.507
    assert heard.facts.filled == round(missing_s * RATE / samples)
    assert abs(float(heard.facts.filled_s) - missing_s) <= samples / RATE
    assert_beeps(heard, [late_s + at for at in (0, 1, 2, 3 + 2.507)])
    steps = np.diff([pts for pts, _, _ in heard.pushed]) / TICKS * RATE / samples
    assert steps.min() > 0.5 and steps.max() < 1.5
    assert heard.errors == 0


def test_ten_minutes_of_silence_take_no_memory(streams: Streams) -> None:
    packets = aac_beeps(1, TONES[:2])
    stream = streams.of("aac", packets)
    track = AudioTrack(plan_for(), None, StreamFacts(codec="aac"))
    given = [*placed(stream, packets[:10]), *placed(stream, packets[10:], 600)]

    tracemalloc.start()
    count = sum(1 for packet in given for _ in track.push(packet)) + sum(1 for _ in track.finish())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert count == round(600 * RATE / 1024) + len(packets) - 10
    assert peak < 1_000_000


def test_what_overlaps_by_more_than_half_a_frame_is_cut(tmp_path: Path, streams: Streams) -> None:
    """A second of sound that comes twice, and one frame a little early, which keeps its time."""
    packets = aac_beeps(4, TONES[:2])
    stream = streams.of("aac", packets)
    given = [
        *placed(stream, packets[:94]),
        *placed(stream, packets[47:94], 47 * 1024 / RATE),
        *placed(stream, packets[94:], 94 * 1024 / RATE - 0.008),
    ]

    heard = hear(plan_for(), given, [stream], tmp_path / "x.mp4")

    assert [data for _, _, data in heard.pushed] == packets
    assert (heard.facts.cut, heard.facts.filled) == (47, 0)
    assert_beeps(heard, range(4))


def test_many_small_overlaps_are_cut_in_time(tmp_path: Path, streams: Streams) -> None:
    """Packets that each come 5 ms early would carry sequential decoders away; every few of them one goes."""
    packets = aac_beeps(6, (0, 0))
    stream = streams.of("aac", packets)
    given = list(placed(stream, packets))
    for number, packet in enumerate(given):
        packet.pts = packet.dts = packet.pts - 450 * number
    end = given[-1].pts + 1920

    heard = hear(plan_for(), given, [stream], tmp_path / "x.mp4")

    assert abs(len(heard.pushed) * 1920 - end) <= 1920
    assert heard.facts.cut == len(packets) - len(heard.pushed)


def test_many_small_gaps_are_filled_in_time(tmp_path: Path, streams: Streams) -> None:
    packets = aac_beeps(6, (0, 0))
    stream = streams.of("aac", packets)
    given = list(placed(stream, packets))
    for number, packet in enumerate(given):
        packet.pts = packet.dts = packet.pts + 450 * number
    end = given[-1].pts + 1920

    heard = hear(plan_for(), given, [stream], tmp_path / "x.mp4")

    assert abs(len(heard.pushed) * 1920 - end) <= 1920
    assert heard.facts.filled == len(heard.pushed) - len(packets)


def test_a_clock_that_drifts_is_no_gap(tmp_path: Path, streams: Streams) -> None:
    """100 ppm are a frame in 213 s: nothing is filled or cut, however long it goes on."""
    packets = aac_beeps(1, (0, 0))
    stream = streams.of("aac", packets)
    track, facts = None, StreamFacts(codec="aac")
    track = AudioTrack(plan_for(), None, facts)
    count = 0
    for drift in (1, -1):
        track = AudioTrack(plan_for(), None, facts)
        for number in range(6_000):
            packet: Packet[Any] = Packet(packets[number % 40])
            packet.stream, packet.time_base = stream, Fraction(1, TICKS)
            packet.pts = packet.dts = round(number * 1920 * (1 + drift * Fraction(1, 10_000)))
            count += sum(1 for _ in track.push(packet))
        count += sum(1 for _ in track.finish())

    assert (count, facts.filled, facts.cut) == (12_000, 0, 0)


BREAKAGES = {
    "truncated": lambda data: data[: len(data) // 2],
    "no sync": lambda data: b"\0" + data[1:],
    "length": lambda data: data[:4] + bytes([data[4] ^ 0xFF]) + data[5:],
    "rate": lambda data: data[:2] + bytes([data[2] ^ 0x08]) + data[3:],
    "empty": lambda data: data[:7],
    "sound": lambda data: data[:12] + random.Random(5).randbytes(len(data) - 12),
}


@pytest.mark.parametrize("breakage", BREAKAGES)
@pytest.mark.parametrize("codec", ["aac", "ac3"])
def test_a_broken_packet_costs_silence_and_not_the_job(
    tmp_path: Path, streams: Streams, breakage: str, codec: str
) -> None:
    if codec == "aac":
        packets, samples, late_s = aac_beeps(4, TONES[:2]), 1024, 0.0
    else:
        packets, samples, late_s = coded("ac3", 4, TONES[:2]), 1536, 256 / RATE
    stream = streams.of(codec, packets)
    at = int(1.03 * RATE / samples)  # in a beep: what is there is no silence
    if breakage == "rate" and codec == "ac3":
        broken = packets[at][:4] + bytes([packets[at][4] ^ 0x80]) + packets[at][5:]
    else:
        broken = BREAKAGES[breakage](packets[at])

    given = list(placed(stream, [*packets[:at], broken, *packets[at + 1 :]], 0, samples))
    heard = hear(plan_for(codec=codec), given, [stream], tmp_path / "x.mp4")

    data = [data for _, _, data in heard.pushed]
    assert data[:at] + data[at + 1 :] == packets[:at] + packets[at + 1 :]
    assert data[at] not in (broken, packets[at])
    assert (heard.facts.damaged, heard.facts.filled, heard.facts.converted) == (1, 1, 0)
    assert heard.errors == 0
    assert_beeps(heard, [late_s + second for second in range(4)])


@pytest.mark.parametrize("good", [0, 1, 60])
def test_noise_in_valid_frames_is_not_copied(streams: Streams, good: int) -> None:
    """A packet of it that can be decoded is an accident; sound that goes on for a while begins a track."""
    packets = aac_beeps(3, TONES[:2])
    noise = random.Random(5)
    odd = [packet[:7] + noise.randbytes(len(packet) - 7) for packet in packets]
    given = [*odd[:70], *packets[70 : 70 + good], *odd[70 + good :]]
    facts = StreamFacts(codec="aac")
    track = AudioTrack(plan_for(), None, facts)

    out = [bytes(found) for packet in placed(streams.of("aac", packets), given) for found in track.push(packet)]
    out += [bytes(found) for found in track.finish()]

    assert out == (packets[70 : 70 + good] if good > 1 else [])
    assert (facts.heard, facts.damaged) == (good, len(packets) - good)


def test_checksums_that_an_encoder_does_not_know_are_no_damage(streams: Streams) -> None:
    packets = coded("ac3", 3, TONES[:2])
    given = [data[:2] + b"\1\2" + data[4:-2] + b"\3\4" for data in packets]
    facts = StreamFacts(codec="ac3")
    track = AudioTrack(plan_for(codec="ac3"), None, facts)

    out = [
        bytes(found) for packet in placed(streams.of("ac3", packets), given, 0, 1536) for found in track.push(packet)
    ]
    out += [bytes(found) for found in track.finish()]

    assert (out, facts.damaged, facts.filled) == (given, 0, 0)


def test_aac_without_headers_is_copied_and_filled(tmp_path: Path, streams: Streams) -> None:
    """From Matroska, in milliseconds; silence has no header either."""
    path = tmp_path / "x.mkv"
    packets = aac_beeps(4, TONES[:2])
    hear(plan_for(), placed(streams.of("aac", packets), packets), [streams.of("aac", packets)], path)
    container = streams.file(path)
    stream = container.streams.audio[0]
    given = [packet for packet in demuxed(container) if not 70 <= packet.pts * 3 // 64 < 80]

    heard = hear(plan_for(), given, [stream], tmp_path / "y.mp4")

    assert len(given) < len(packets) == len(heard.pushed)
    assert heard.facts.filled == len(packets) - len(given)
    assert not any(adts_configuration(data) for _, _, data in heard.pushed)
    assert (heard.errors, heard.facts.cut, heard.facts.damaged) == (0, 0, 0)
    assert_beeps(heard, range(4))


# --- changes in mid-stream

FORMS: dict[str, tuple[Any, str, int]] = {
    # what → packets of 2 s from 0 on, codec, rate
    "stereo": (lambda: aac_beeps(2, TONES[:2]), "aac", RATE),
    "5.1": (lambda: aac_beeps(2, TONES[:6]), "aac", RATE),
    "mono": (lambda: aac_beeps(2, TONES[:1]), "aac", RATE),
    "44100": (lambda: aac_beeps(2, TONES[:2], 44_100, 4), "aac", 44_100),
    "dual": (lambda: dual_beeps(2), "aac", RATE),
    "dual, program": (lambda: dual_beeps(2, program=True), "aac", RATE),
}


@pytest.mark.parametrize("main", ["stereo", "5.1", "dual", "44100"])
@pytest.mark.parametrize("other", ["stereo", "5.1", "mono", "44100", "dual", "dual, program"])
@pytest.mark.parametrize("head", ["main first", "other first"])
def test_a_stretch_of_another_form_is_encoded_in_the_track_s_own(
    tmp_path: Path, streams: Streams, main: str, other: str, head: str
) -> None:
    """Beeps stay where they are on both sides of both joints, and everything has one form."""
    if main == other or {main, other} == {"dual", "dual, program"}:
        pytest.skip("no change")
    names = [main, other, main] if head == "main first" else [other, main, other]
    given, start_s, starts = [], 0.0, []
    for name in names:
        make, codec, rate = FORMS[name]
        packets = make()
        stream = streams.of(codec, [streams_template(packets, name)] * 20)
        given += placed(stream, packets, start_s, rate=rate)
        starts += [start_s, start_s + 1]
        start_s = (given[-1].pts + given[-1].duration) / TICKS
    form = configuration_of("aac", FORMS[main][0]()[5])
    assert form is not None

    heard = hear(plan_for(main=form), given, [given[0].stream], tmp_path / "x.mp4")

    assert_beeps(heard, starts)
    assert heard.facts.converted == (1 if head == "main first" else 2) * len(FORMS[other][0]())
    assert (heard.facts.damaged, heard.errors) == (0, 0)
    assert heard.facts.filled + heard.facts.cut <= 1
    assert {configuration_of("aac", data) for _, _, data in heard.pushed} == {form}
    steps = np.diff([pts for pts, _, _ in heard.pushed]) / TICKS * FORMS[main][2] / 1024
    assert steps.min() > 0.49 and steps.max() < 1.51


def streams_template(packets: list[bytes], name: str) -> bytes:
    """FFmpeg finds no stream in dual mono without its program_config_element."""
    return dual_beeps(0.2, program=True)[3] if name.startswith("dual") else packets[3]


@pytest.mark.parametrize("codec", ["ac3", "eac3"])
def test_ac3_changes_its_layout(tmp_path: Path, streams: Streams, codec: str) -> None:
    stereo, surround = coded(codec, 2, TONES[:2]), coded(codec, 2, TONES[:6], "5.1(side)")
    stereo, surround = stereo[:62], surround[:62]
    one, two = streams.of(codec, stereo), streams.of(codec, surround)
    length_s = 62 * 1536 / RATE
    given = [
        *placed(one, stereo, 0, 1536),
        *placed(two, surround, length_s, 1536),
        *placed(one, stereo, 2 * length_s, 1536),
    ]
    form = configuration_of(codec, stereo[3])

    heard = hear(plan_for(codec=codec, main=form), given, [one], tmp_path / "x.mp4")

    assert_beeps(heard, [256 / RATE + part * length_s + beep for part in range(3) for beep in (0, 1)])
    assert (heard.facts.converted, heard.facts.damaged, heard.errors) == (62, 0, 0)
    assert {configuration_of(codec, data) for _, _, data in heard.pushed} == {form}
    steps = np.diff([pts for pts, _, _ in heard.pushed]) / TICKS * RATE / 1536
    assert steps.min() > 0.49 and steps.max() < 1.51


def test_a_new_codec_on_a_new_stream_is_a_change_too(tmp_path: Path, streams: Streams) -> None:
    """The programme before was sent in MP2, on another PID."""
    packets = aac_beeps(2, TONES[:2])
    before = coded("mp2", 2, TONES[:2])
    one, two = streams.of("mp2", before, "mp3"), streams.of("aac", packets)
    given = [*placed(one, before, 0, 1152), *placed(two, packets, len(before) * 1152 / RATE)]
    form = configuration_of("aac", packets[3])

    heard = hear(plan_for(main=form), given, [two, one], tmp_path / "x.mp4")

    assert heard.facts.converted == len(before)
    late_s = 481 / RATE  # of the MP2 encoder
    assert_beeps(heard, [late_s, 1 + late_s, *(len(before) * 1152 / RATE + beep for beep in (0, 1))])


# --- dual mono

SOUNDS = {"main": (0, TONES[0]), "sub": (1, TONES[1])}


@pytest.mark.parametrize("codec", ["aac", "mp2"])
@pytest.mark.parametrize("name", SOUNDS)
def test_each_sound_of_dual_mono_becomes_a_track_of_its_own(
    tmp_path: Path, streams: Streams, codec: str, name: str
) -> None:
    """And nothing of the other is in it. Stereo between keeps both of its channels, in both tracks."""
    if codec == "aac":
        dual, stereo, samples, late_s = dual_beeps(2), aac_beeps(2, TONES[2:4]), 1024, 0.0
        stream = streams.of("aac", [dual_beeps(0.2, program=True)[3]] * 20)
    else:
        stereo, samples, late_s = coded("mp2", 2, TONES[2:4]), 1152, 481 / RATE
        dual = [packet[:3] + bytes([packet[3] & 0x3F | 0x80]) + packet[4:]
                for packet in coded("mp2", 2, TONES[:2])]  # fmt: skip
        stream = streams.of("mp2", dual, "mp3")
    channel, tone = SOUNDS[name]
    length_s = len(dual) * samples / RATE
    given = [*placed(stream, dual, 0, samples), *placed(stream, stereo, length_s, samples)]
    plan = plan_for(codec=codec, bit_rate_bps=96_000, layout="mono", channel=channel, language="eng", title=name)

    heard = hear(plan, given, [stream], tmp_path / "x.mp4")

    assert (heard.layout, heard.metadata["language"], heard.facts.damaged) == ("mono", "eng", 0)
    assert heard.tones(0, 0, 1.9) == [tone]
    assert heard.tones(0, length_s + 0.1, length_s + 1.9) == sorted(TONES[2:4])
    assert_beeps(heard, [late_s + part + beep for part in (0, length_s) for beep in (0, 1)])


@SUFFIXES
@pytest.mark.parametrize("program", [False, True])
def test_dual_mono_is_kept_as_it_is(tmp_path: Path, streams: Streams, program: bool, suffix: str) -> None:
    """Both sounds, bit by bit; the muxer gets the program_config_element that broadcasters leave out."""
    packets = dual_beeps(3, program=program)
    stream = streams.of("aac", dual_beeps(0.2, program=True))
    form = configuration_of("aac", packets[0])

    heard = hear(plan_for(main=form), placed(stream, packets), [stream], tmp_path / f"x{suffix}")

    assert all(data.endswith(packet[7:]) for (_, _, data), packet in zip(heard.pushed, packets, strict=True))
    assert [heard.tones(channel, 0, 3) for channel in (0, 1)] == [[TONES[0]], [TONES[1]]]
    assert (heard.errors, heard.facts.converted, heard.facts.damaged) == (0, 0, 0)


@pytest.mark.parametrize(
    ("codec", "packets", "expected"),
    [
        ("aac", lambda: dual_beeps(0.2), True),
        ("aac", lambda: dual_beeps(0.2, program=True), True),
        ("aac", lambda: aac_beeps(0.2, TONES[:2]), False),
        ("mp2", lambda: coded("mp2", 0.2, TONES[:2]), False),
        ("mp2float", lambda: [bytes([0xFF, 0xFD, 0x84, 0x84]) + bytes(100)], True),
        ("ac3", lambda: coded("ac3", 0.2, TONES[:2]), False),
        ("ac3", lambda: [p[:6] + bytes([p[6] & 0x1F]) + p[7:] for p in coded("ac3", 0.2, TONES[:2])], True),
        ("pcm_s16le", lambda: [bytes(100)], False),
    ],
)
def test_dual_mono_is_told_from_one_packet(codec: str, packets: Any, expected: bool) -> None:
    assert {is_dual_mono(codec, packet) for packet in packets()} == {expected}


# --- LATM


def latm_file(path: Path, sound: Samples, layout: str = "") -> list[bytes]:
    """Write a transport stream with LATM in it; the same packets without headers come back."""
    with av.open(str(path), "w", format="mpegts", options={"mpegts_flags": "latm"}) as container:
        stream: Any = container.add_stream("aac", rate=RATE, options={"aac_coder": "fast"})
        stream.codec_context.layout = layout or LAYOUTS[len(sound)]
        stream.codec_context.bit_rate = 128_000
        packets = []
        for at in range(0, sound.shape[1], 1024):
            part = sound[:, at : at + 1024]
            frame = AudioFrame(format="fltp", layout=stream.codec_context.layout.name, samples=part.shape[1])
            for plane, channel in zip(frame.planes, part, strict=False):
                plane.update(channel.tobytes())
            frame.sample_rate, frame.pts, frame.time_base = RATE, at, Fraction(1, RATE)
            packets += stream.encode(frame)
        packets += stream.encode(None)
        payloads = [bytes(packet) for packet in packets]
        for packet in packets:
            container.mux(packet)
    return payloads


def demuxed(container: Any) -> Iterator[Packet[Any]]:
    """The file's audio packets, so that the first begins at zero."""
    first = None
    for packet in container.demux(container.streams.audio[0]):
        if packet.size:
            first = packet.pts if first is None else first
            packet.pts = packet.dts = packet.pts - first
            yield packet


@SUFFIXES
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_latm_becomes_adts_without_loss(tmp_path: Path, streams: Streams, channels: int, suffix: str) -> None:
    payloads = latm_file(tmp_path / "x.ts", beeps(3, TONES[:channels]))
    container = streams.file(tmp_path / "x.ts")
    stream = container.streams.audio[0]
    assert stream.codec_context.name == "aac_latm"
    form = AacConfiguration(object_type=2, rate_index=3, channels=channels)
    example = next(bytes(packet) for packet in demuxed(streams.file(tmp_path / "x.ts")))
    assert configuration_of("aac_latm", example) == form

    heard = hear(plan_for(codec="aac_latm", main=form), demuxed(container), [stream], tmp_path / f"x{suffix}")

    assert [data[7:] for _, _, data in heard.pushed] == payloads
    assert_beeps(heard, [1024 / RATE + second for second in range(3)])
    assert (heard.errors, heard.facts.damaged, heard.facts.converted) == (0, 0, 0)


# --- encoded


@pytest.mark.parametrize("ppm", [0, 100, -400])
def test_a_clock_that_drifts_is_followed(tmp_path: Path, streams: Streams, ppm: int) -> None:
    """Half a minute of sound whose samples come faster or slower than its timestamps say."""
    seconds = 30
    true_s = 1 + Fraction(ppm, 1_000_000)  # of the timeline, for each second of the samples
    packets = coded("mp2", seconds, TONES[:1])
    stream = streams.of("mp2", packets[:50], "mp3")
    given = list(placed(stream, packets, 0, 1152))
    for packet in given:
        packet.pts = packet.dts = round(packet.pts * true_s)

    plan = plan_for(codec="mp2", bit_rate_bps=64_000, layout="mono")
    heard = hear(plan, given, [stream], tmp_path / "x.mp4")

    late_s = 481 / RATE
    assert_beeps(heard, [(late_s + second) * float(true_s) for second in range(seconds)])
    assert (heard.facts.filled, heard.facts.cut) == (0, 0)
    assert heard.facts.largest_skew_s < Fraction(5, 1000)


@SUFFIXES
@pytest.mark.parametrize("codec", ["mp2", "ac3"])
def test_gaps_and_jumps_of_encoded_sound_are_silence_and_cuts(
    tmp_path: Path, streams: Streams, codec: str, suffix: str
) -> None:
    samples = {"mp2": 1152, "ac3": 1536}[codec]
    packets = coded(codec, 2, TONES[:2])
    late_s = {"mp2": 481, "ac3": 256}[codec] / RATE
    stream = streams.of(codec, packets, {"mp2": "mp3"}.get(codec, ""))
    starts = (0.5, 5.0, 6.75)  # a gap of 2.5 s, and an overlap of 0.25 s
    given = [packet for start_s in starts for packet in placed(stream, packets, start_s, samples)]

    heard = hear(plan_for(codec=codec, bit_rate_bps=128_000), given, [stream], tmp_path / f"x{suffix}")

    assert_beeps(heard, [0.5 + late_s, 1.5 + late_s, 5 + late_s, 6 + late_s, 7.75 + late_s])
    assert heard.facts.cut > 0 and abs(float(heard.facts.filled_s) - 2.5) < 0.1
    assert set(np.diff([pts for pts, _, _ in heard.pushed])) == {1024}
    assert heard.facts.damaged == 0


def test_broken_packets_of_encoded_sound_are_silence(tmp_path: Path, streams: Streams) -> None:
    packets = coded("mp2", 4, TONES[:2])
    stream = streams.of("mp2", packets, "mp3")
    broken = [b"\xff" * 50 if number in (60, 61, 90) else packet for number, packet in enumerate(packets)]

    plan = plan_for(codec="mp2", bit_rate_bps=128_000)
    heard = hear(plan, placed(stream, broken, 0, 1152), [stream], tmp_path / "x.mp4")

    assert heard.facts.damaged == 3
    assert heard.facts.filled_s == Fraction(3 * 1152, RATE)
    assert_beeps(heard, [481 / RATE + second for second in range(4)])


@pytest.mark.parametrize(("layout", "rate"), [("7.1", RATE), ("5.1", 44_100), ("mono", 32_000), ("4.0", RATE)])
def test_pcm_of_all_forms_is_encoded(tmp_path: Path, streams: Streams, layout: str, rate: int) -> None:
    """Eight channels end PyAV's own conversion to numpy, and the process with it."""
    sound = beeps(2, TONES[: av.AudioLayout(layout).nb_channels], rate)
    path = tmp_path / "x.mkv"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("pcm_s16le", rate=rate)
        stream.codec_context.layout = layout
        for at in range(0, sound.shape[1], 1000):
            data = (sound[:, at : at + 1000].T * 32767).astype(np.int16)
            frame = AudioFrame(format="s16", layout=layout, samples=len(data))
            frame.planes[0].update(data.tobytes())
            frame.sample_rate, frame.pts, frame.time_base = rate, at, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    container = streams.file(path)

    plan = plan_for(codec="pcm_s16le", bit_rate_bps=512_000, layout=layout)
    heard = hear(plan, demuxed(container), [container.streams.audio[0]], tmp_path / "y.mp4")

    assert (heard.layout, heard.rate, heard.errors) == (layout, RATE, 0)
    assert_beeps(heard, range(2))
    for channel, tone in enumerate(TONES[: len(sound)]):
        if layout not in ("5.1", "7.1") or channel != 3:  # LFE is a low-pass
            assert heard.tones(channel, 0, 2, least=0.5) == [tone]


@pytest.mark.parametrize(("layout", "bit_rate_bps"), [("mono", 64_000), ("stereo", 128_000), ("5.1", 384_000)])
def test_encoded_sound_has_the_bits_of_its_channels(
    tmp_path: Path, streams: Streams, layout: str, bit_rate_bps: int
) -> None:
    """Noise needs all bits that it can get: what is in the file is what was granted."""
    channels, path = av.AudioLayout(layout).nb_channels, tmp_path / "x.mkv"
    noise = np.random.default_rng(1).standard_normal((4 * RATE, channels)) * 3000
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("pcm_s16le", rate=RATE)
        stream.codec_context.layout = layout
        for at in range(0, len(noise), 4800):
            frame = AudioFrame(format="s16", layout=layout, samples=4800)
            frame.planes[0].update(noise[at : at + 4800].astype(np.int16).tobytes())
            frame.sample_rate, frame.pts, frame.time_base = RATE, at, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    container = streams.file(path)
    granted_bps = aac_bit_rate_bps(128_000, channels, RATE)

    plan = plan_for(codec="pcm_s16le", bit_rate_bps=granted_bps, layout=layout)
    heard = hear(plan, demuxed(container), [container.streams.audio[0]], tmp_path / "y.mp4")
    found_bps = sum(len(data) for _, _, data in heard.pushed) * 8 / 4

    assert granted_bps == bit_rate_bps
    assert abs(found_bps / bit_rate_bps - 1) < 0.1


def test_layout_changes_of_encoded_sound_do_not_move_it(tmp_path: Path, streams: Streams) -> None:
    stereo, mono = (coded("mp2", 2, TONES[:count]) for count in (2, 1))
    slow = coded("mp2", 2, TONES[:2], rate=32_000)
    stream = streams.of("mp2", stereo, "mp3")
    given = [*placed(stream, stereo, 0, 1152), *placed(stream, mono, 3, 1152), *placed(stream, slow, 6, 1152, 32_000)]

    heard = hear(plan_for(codec="mp2", bit_rate_bps=128_000), given, [stream], tmp_path / "x.mp4")

    assert_beeps(
        heard, [start + 481 / rate + beep for start, rate in ((0, RATE), (3, RATE), (6, 32_000)) for beep in (0, 1)]
    )
    assert heard.facts.damaged == 0


def test_sound_before_the_beginning_is_cut(tmp_path: Path, streams: Streams) -> None:
    packets = coded("mp2", 3, TONES[:2])
    stream = streams.of("mp2", packets, "mp3")
    plan = plan_for(codec="mp2", bit_rate_bps=128_000)

    encoded_sound = hear(plan, placed(stream, packets, -0.5, 1152), [stream], tmp_path / "x.mp4")
    packets = aac_beeps(3, TONES[:2])
    stream = streams.of("aac", packets)
    copied = hear(plan_for(), placed(stream, packets, -0.5), [stream], tmp_path / "y.mp4")

    assert_beeps(encoded_sound, [0.5 + 481 / RATE, 1.5 + 481 / RATE])
    assert_beeps(copied, [0.5, 1.5])


def test_nothing_is_put_behind_the_last_sound(tmp_path: Path, streams: Streams) -> None:
    packets = aac_beeps(2, TONES[:2])
    stream = streams.of("aac", packets)

    copied = hear(plan_for(), placed(stream, packets), [stream], tmp_path / "x.mp4", Fraction(60))
    again = hear(plan_for(bit_rate_bps=128_000), placed(stream, packets), [stream], tmp_path / "y.mp4", Fraction(60))

    assert len(copied.pushed) == len(packets)
    assert abs(again.end_s - copied.end_s) < 0.03


# --- the sound clock


def tone_frame(samples: int) -> AudioFrame:
    frame = AudioFrame(format="fltp", layout="mono", samples=samples)
    frame.planes[0].update(np.arange(1, samples + 1, dtype=np.float32).tobytes())
    frame.sample_rate = RATE
    return frame


@pytest.mark.parametrize(
    ("at_ms", "after_damage", "expected"),
    [
        # where the second frame of 24 ms belongs → (position, first value) of what is written for it
        (24, False, [(1152, 1)]),
        (34, False, [(1152, 1)]),  # less than a step, and one is no average
        (34, True, [(1152, 0), (1632, 1)]),  # a gap that is known to be one
        (54, False, [(1152, 0), (2592, 1)]),
        (3, False, [(1152, 1009)]),  # the head is cut
        (-30, False, []),
        (None, False, [(1152, 1)]),
    ],
)
def test_each_frame_gets_its_place(at_ms: int | None, after_damage: bool, expected: list[tuple[int, int]]) -> None:
    clock = SoundClock(StreamFacts(codec="mp2"), RATE, "mono")
    list(clock.push(tone_frame(1152), Fraction(0)))
    clock.after_damage = after_damage

    written = list(clock.push(tone_frame(1152), None if at_ms is None else Fraction(at_ms, 1000)))

    assert [(frame.pts, int(np.frombuffer(frame.planes[0], np.float32)[0])) for frame in written] == expected


# --- silence, and stretching


@pytest.mark.parametrize("rate_index", [3, 4, 6])
@pytest.mark.parametrize("channels", range(8))
def test_silent_frames_of_aac_are_exact_zeros(channels: int, rate_index: int) -> None:
    form: Configuration | None
    if channels:
        form = AacConfiguration(object_type=2, rate_index=rate_index, channels=channels)
    else:
        form = adts_configuration(dual_beeps(0.1)[0])
    assert isinstance(form, AacConfiguration)
    silent = silent_frame(form)
    assert silent is not None and configuration_of("aac", silent.data) == form

    decoder: Any = av.CodecContext.create("aac", "r")
    frames = [frame for _ in range(3) for frame in decoder.decode(Packet(silent.data))]

    assert [frame.samples for frame in frames] == [1024] * 3
    assert {frame.layout.nb_channels for frame in frames} == {{0: 2, 7: 8}.get(channels, channels)}
    for frame in frames:
        for number in range(frame.layout.nb_channels):
            assert not np.frombuffer(frame.planes[number], np.float32, frame.samples).any()
    assert len(silent_block(form)) < 30


@pytest.mark.parametrize("change", [-3, 0, 1, 2])
def test_stretching_keeps_the_sound(change: int) -> None:
    at = np.arange(1152)
    sound = np.sin(2 * np.pi * 5000 / RATE * at)[np.newaxis].astype(np.float32)

    found = stretched(sound, 1152 + change)

    expected = np.sin(2 * np.pi * 5000 / RATE * np.arange(1152 + change) * 1152 / (1152 + change))
    assert found.shape == (1, 1152 + change)
    assert np.abs(found[0] - expected)[2:-3].max() < 0.02


# --- hostile recordings


def test_frames_are_found_in_what_a_wrong_length_swallowed(tmp_path: Path, streams: Streams) -> None:
    """FFmpeg's parser believes a header; what it hands out then is one packet with many whole frames in it."""
    packets = aac_beeps(4, TONES[:2])
    at = int(1.03 * RATE / 1024)
    end = int(2.03 * RATE / 1024)
    broken = bytearray(packets[at])
    broken[3] |= 3  # 6 KB and more
    swallowed = bytes(broken) + b"".join(packets[at + 1 : end]) + packets[end][:50]
    stream = streams.of("aac", packets)
    given = [
        *placed(stream, [*packets[:at], swallowed, packets[end][50:]]),
        *placed(stream, packets[end + 1 :], (end + 1) * 1024 / RATE),
    ]

    heard = hear(plan_for(), given, [stream], tmp_path / "x.mp4")

    data = [data for _, _, data in heard.pushed]
    assert data[:at] + data[at + 1 : end] + data[end + 1 :] == packets[:at] + packets[at + 1 : end] + packets[end + 1 :]
    assert (heard.facts.damaged, heard.facts.filled) == (2, 2)
    assert_beeps(heard, range(4))


def hostile(packets: list[bytes], noise: random.Random) -> Iterator[tuple[bytes, int | None]]:
    """Packets changed, lost, doubled and thrown about, with their ticks."""
    ticks = 0
    for packet in packets:
        changed = bytearray(packet)
        match noise.randrange(12):
            case 0:
                changed = changed[: noise.randrange(len(changed) + 1)]
            case 1 | 2:
                changed[noise.randrange(min(len(changed), 12))] = noise.randrange(256)
            case 3 | 4:
                for _ in range(noise.randrange(20)):
                    changed[noise.randrange(len(changed))] = noise.randrange(256)
            case 5:
                changed = bytearray(noise.randbytes(noise.randrange(1, 60)))
            case 6:
                ticks += noise.randrange(-40_000, 60_000)
        yield bytes(changed) or b"\0", None if noise.random() < 0.05 else ticks
        ticks += 1920


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("codec", ["aac", "aac_latm", "ac3", "mp2"])
@pytest.mark.parametrize("bit_rate_bps", [0, 96_000])
def test_no_packet_ends_the_job(tmp_path: Path, streams: Streams, codec: str, bit_rate_bps: int, seed: int) -> None:
    """Noise in headers makes frames of any rate and layout; times rise all the same, and the file can be played."""
    noise = random.Random(seed)
    if codec == "aac":
        packets = [*aac_beeps(2, TONES[:2])[:80], *aac_beeps(2, TONES[:6])[:50], *dual_beeps(2)[:50]]
        stream = streams.of("aac", aac_beeps(2, TONES[:2]))
    elif codec == "aac_latm":
        latm_file(tmp_path / "x.ts", beeps(3, TONES[:2]))
        packets = [bytes(packet) for packet in demuxed(streams.file(tmp_path / "x.ts"))]
        stream = streams.file(tmp_path / "x.ts").streams.audio[0]
    else:
        packets = coded(codec, 4, TONES[:2])
        stream = streams.of(codec, packets, {"mp2": "mp3"}.get(codec, ""))
    if codec == "mp2" and not bit_rate_bps:
        pytest.skip("is never copied")
    main = configuration_of(codec, packets[0])

    def changed() -> Iterator[Packet[Any]]:
        for data, ticks in hostile(packets, noise):
            packet: Packet[Any] = Packet(data)
            packet.stream, packet.time_base = stream, Fraction(1, TICKS)
            packet.pts = packet.dts = ticks
            packet.is_corrupt = noise.random() < 0.2
            yield packet

    plan = plan_for(codec=codec, bit_rate_bps=bit_rate_bps, main=None if bit_rate_bps else main)
    heard = hear(plan, changed(), [stream], tmp_path / "y.mp4")

    assert heard.facts.damaged > 0
    assert heard.rate == RATE and np.isfinite(heard.sound).all()
    if not bit_rate_bps:
        written = "aac" if codec == "aac_latm" else codec
        assert {configuration_of(written, data) for _, _, data in heard.pushed} == {main}
