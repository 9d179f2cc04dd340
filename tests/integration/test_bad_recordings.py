"""Input that is no recording, or a broken one: a clear word, nothing touched, nothing else opened."""

from __future__ import annotations

import os
import random
import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from encoderd.encode.failures import EncodeFailed
from encoderd.encode.messages import Encoded
from encoderd.encode.probe import demuxed, open_recording
from encoderd.encode.sample import SampleSpec, make_recording
from encoderd.encode.supervisor import Child
from encoderd.jobs import FailureKind, JobEvent
from tests.encoding import LIMITS, Done, noisy, only, outcome_of, request_for, scrambled, try_encode
from tests.often import often

VIDEO_PID, AUDIO_PID, PMT_PID = 0x100, 0x101, 0x1000


def made(folder: Path, name: str, **spec: object) -> bytes:
    values = {"duration_s": 2.0, "width": 320, "height": 240, "bit_rate_bps": 1_000_000, **spec}
    return make_recording(folder / name, SampleSpec(**values)).read_bytes()  # type: ignore[arg-type]  # of SampleSpec


@pytest.fixture(scope="module")
def ts(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return made(tmp_path_factory.mktemp("made"), "x.ts")


@pytest.fixture(scope="module")
def mp4(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """8 s, with the index at the end as recorders write it."""
    return made(
        tmp_path_factory.mktemp("made"), "x.mp4", video="libx264", interlaced=False, muxer="mp4", duration_s=8.0
    )


@pytest.fixture(scope="module")
def mkv(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return made(
        tmp_path_factory.mktemp("made"), "x.mkv", video="libx264", interlaced=False, muxer="matroska", duration_s=8.0
    )


def attempt(folder: Path, data: bytes) -> Encoded | EncodeFailed:
    """Encode `data`; whatever comes of it, the source stays as it was."""
    source = folder / "x.ts"
    source.write_bytes(data)
    os.utime(source, ns=(1_600_000_000_000_000_000, 1_600_000_000_123_456_789))
    outcome = try_encode(source, folder / "out.mp4")

    assert source.read_bytes() == data
    assert source.stat().st_mtime_ns == 1_600_000_000_123_456_789
    return outcome


def rejected(folder: Path, data: bytes) -> str:
    """Return why `data` was rejected as a recording."""
    failure = attempt(folder, data)

    assert isinstance(failure, EncodeFailed), failure
    assert (failure.kind, failure.event) == (FailureKind.RECORDING, JobEvent.RECORDING_REJECTED), failure.message
    assert failure.remedy
    return failure.message


NOISE = random.Random(7).randbytes(1_000_000)


@pytest.mark.parametrize(
    ("data", "words"),
    often(
        5,
        [
            (b"", "empty (0 bytes)"),
            (b"Dear recorder,\nwhere is my film?\n" * 50, "it is text"),
            ("録画\n".encode() * 500, "it is text"),
            (NOISE, "no container that recorders write"),
            (bytes(500_000), "no container that recorders write"),
            (b"G", "no container that recorders write"),
            (b"\x47" + bytes(187), "no container that recorders write"),
            ((b"\x47\x1f\xff\x10" + b"\xff" * 184) * 5000, "transport stream without usable streams"),
            (b"\xff\xd8\xff\xe0" + NOISE[:5000], "it is a picture"),
            (b"\x89PNG\r\n\x1a\n" + NOISE[:5000], "it is a picture"),
            (b"<html><body>404</body></html>\n", "it is XML or HTML"),
        ],
    ),
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_recording_is_named(tmp_path: Path, data: bytes, words: str) -> None:
    assert words in rejected(tmp_path, data)


def test_sound_alone_is_no_recording(tmp_path: Path) -> None:
    assert "only audio in mpegts" in rejected(tmp_path, made(tmp_path, "audio.ts", video=""))


def test_a_table_that_promises_video_is_not_video(tmp_path: Path, ts: bytes) -> None:
    """The programme's table is there, its packets are not."""
    assert "shows no picture size" in rejected(tmp_path, only(ts, {0, PMT_PID}) * 30)


def test_video_without_a_decodable_picture_is_rejected(tmp_path: Path, ts: bytes) -> None:
    """The sequence headers are there and tell a size, but each picture's header has become user data."""
    data = ts.replace(b"\0\0\1\0", b"\0\0\1\xb2")

    assert "No picture of this recording can be decoded" in rejected(tmp_path, data)


def test_a_scrambled_recording_is_named(tmp_path: Path, ts: bytes) -> None:
    assert "scrambled: 100%" in rejected(tmp_path, scrambled(ts, {VIDEO_PID, AUDIO_PID}))
    assert "scrambled" in rejected(tmp_path, scrambled(ts, {VIDEO_PID}))


@pytest.mark.parametrize(("part", "accepted"), [((0.0, 0.3), True), ((0.4, 0.75), True), ((0.1, 1.0), False)])
def test_scrambling_is_looked_for_in_many_places(
    tmp_path: Path, ts: bytes, part: tuple[float, float], accepted: bool
) -> None:
    """A large file whose head is scrambled may be whole but for that, and one whose head is clear may be lost."""
    data = scrambled(ts * (12_000_000 // len(ts)), {VIDEO_PID, AUDIO_PID}, part)
    source = tmp_path / "x.ts"
    source.write_bytes(data)
    found = source.stat()
    with open_recording(str(source), found.st_size, found.st_mtime_ns) as recording:
        if not accepted:
            with pytest.raises(EncodeFailed, match="scrambled"), demuxed(recording):
                pass
            return
        with demuxed(recording) as opened:
            assert opened.media.scrambled_ratio == pytest.approx(part[1] - part[0], abs=0.12)


def test_a_recording_whose_only_sound_is_scrambled_is_rejected(tmp_path: Path, ts: bytes) -> None:
    message = rejected(tmp_path, scrambled(ts, {AUDIO_PID}))

    assert f"the only sound is AAC on PID {AUDIO_PID:#x}, of which nothing can be decoded" in message


@pytest.mark.parametrize(
    ("known", "unknown", "words"),
    [
        (b"V_MPEG4/ISO/AVC", b"V_UNKNOWN/CODEC", "There is no video"),
        (b"A_AAC", b"A_XXX", "the only sound is unknown sound on track"),
    ],
)
def test_codecs_that_nobody_knows_are_told(
    tmp_path: Path, mkv: bytes, known: bytes, unknown: bytes, words: str
) -> None:
    assert mkv.count(known) == 1
    data = mkv.replace(known, unknown)

    assert words in rejected(tmp_path, data)


def test_an_mp4_without_its_index_is_rejected(tmp_path: Path, mp4: bytes) -> None:
    """A recorder that was switched off in mid-recording leaves this."""
    message = rejected(tmp_path, mp4[: mp4.rindex(b"moov") - 4])

    assert "not a recording that can be read: it is an MP4 or MOV without its index (moov)" in message


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_half_a_file_is_no_success(tmp_path: Path, mp4: bytes, mkv: bytes, container: str) -> None:
    """The index claims 8 s, 4 s are there."""
    if container == "mp4":
        at = mp4.rindex(b"moov") - 4
        data = index_first(mp4, at)[: len(mp4) - at + at // 2]
    else:
        data = mkv[: len(mkv) // 2]

    assert "its end was cut off" in rejected(tmp_path, data)


def index_first(mp4: bytes, at: int) -> bytes:
    """Move the index to the front, as qt-faststart does: all offsets grow by its size."""
    head = mp4.index(b"mdat") - 4
    index = bytearray(mp4[at:])
    found = -1
    while (found := index.find(b"stco", found + 1)) >= 0:
        count = int.from_bytes(index[found + 8 : found + 12], "big")
        for entry in range(found + 12, found + 12 + 4 * count, 4):
            moved = int.from_bytes(index[entry : entry + 4], "big") + len(index)
            index[entry : entry + 4] = moved.to_bytes(4, "big")
    return mp4[:head] + bytes(index) + mp4[head:at]


@pytest.mark.parametrize("seed", [*range(6), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(6, 20))])
def test_a_transport_stream_cut_anywhere_ends_well(tmp_path: Path, ts: bytes, seed: int) -> None:
    """Done or rejected, never a hang, a crash or a traceback."""
    cut = random.Random(seed).randrange(1, len(ts))
    outcome = attempt(tmp_path, ts[:cut])

    assert isinstance(outcome, Encoded) or outcome.kind is FailureKind.RECORDING, (cut, outcome)


@pytest.mark.parametrize("rate", often(3, [1e-4, 1e-3]))
@pytest.mark.parametrize("container", often(1, ["ts", "mp4", "mkv"]))
def test_noise_costs_pictures_not_the_recording(
    tmp_path: Path, ts: bytes, mp4: bytes, mkv: bytes, container: str, rate: float
) -> None:
    """Bad reception: it is encoded and the damage is told, or it is rejected; never retried as if it were our fault."""
    data = {"ts": ts, "mp4": mp4, "mkv": mkv}[container]
    outcome = attempt(tmp_path, noisy(data, rate, seed=11))
    if isinstance(outcome, EncodeFailed):
        assert (rate, outcome.kind) == (1e-3, FailureKind.RECORDING), outcome.message
    else:
        assert "damage" in Done(path=tmp_path, receipt=outcome.receipt).doubts


# --- nothing else is opened


@pytest.fixture
def address() -> Iterator[tuple[str, Callable[[], bool]]]:
    """An address that notices whoever calls."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.0)

        def called() -> bool:
            try:
                server.accept()[0].close()
            except BlockingIOError:
                return False
            return True

        yield f"127.0.0.1:{server.getsockname()[1]}", called


TEMPTATIONS = {
    "M3U": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://{address}/x.ts\n#EXTINF:9,\n{fifo}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile '{fifo}'\nfile 'http://{address}/x.ts'\n",
    "MPD": '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration='
    '"PT9S"><Period><BaseURL>http://{address}/</BaseURL><AdaptationSet><Representation id="1" bandwidth="1" '
    'mimeType="video/mp4"><BaseURL>{fifo}</BaseURL></Representation></AdaptationSet></Period></MPD>\n',
    "SDP": "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\na=control:rtsp://{address}/x\r\n"
    "m=video 5004 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n",
    "RTSP redirect": "[Reference]\r\nRef1=http://{address}/x\r\nRef2=http://{address}/y\r\n",
    "IMF": '<?xml version="1.0"?>\n<CompositionPlaylist><Asset>{fifo}</Asset></CompositionPlaylist>\n',
}


@pytest.mark.parametrize("kind", often(3, sorted(TEMPTATIONS)))
def test_what_names_other_files_and_addresses_opens_none(
    tmp_path: Path, address: tuple[str, Callable[[], bool]], kind: str
) -> None:
    """A FIFO would hang whoever opens it, and the address listens."""
    fifo = tmp_path / "fifo.ts"
    os.mkfifo(fifo)
    begin_s = time.monotonic()
    message = rejected(tmp_path, TEMPTATIONS[kind].format(address=address[0], fifo=fifo).encode())

    assert "not a recording that can be read" in message
    assert not address[1]()
    assert time.monotonic() - begin_s < 10


@pytest.mark.parametrize("kind", ["fifo", "folder", "device"])
def test_what_is_no_regular_file_is_rejected_at_once(tmp_path: Path, kind: str) -> None:
    source = tmp_path / "x.ts"
    match kind:
        case "fifo":
            os.mkfifo(source)
        case "folder":
            source.mkdir()
        case _:
            source.symlink_to("/dev/zero")
    outcome = try_encode(source, tmp_path / "out.mp4")

    assert isinstance(outcome, EncodeFailed)
    assert (outcome.kind, "not a regular file" in outcome.message) == (FailureKind.RECORDING, True)


# --- the source changes


def change(how: str, source: Path) -> None:
    match how:
        case "deleted":
            source.unlink()
        case "replaced":
            other = source.with_name("other")
            other.write_bytes(source.read_bytes())
            os.utime(other, ns=(0, source.stat().st_mtime_ns))
            other.replace(source)
        case "appended to":
            with source.open("ab") as file:
                file.write(b"x" * 188)
        case "cut off":
            os.truncate(source, source.stat().st_size // 2)
        case _:
            os.utime(source, ns=(0, 0))


@pytest.mark.parametrize("how", often(2, ["deleted", "replaced", "appended to", "cut off", "touched"]))
def test_a_recording_that_changes_in_mid_encode_voids_the_attempt(tmp_path: Path, mp4: bytes, how: str) -> None:
    """Nothing is published of it; it settles again."""
    source = tmp_path / "x.ts"
    source.write_bytes(mp4)
    child = Child(request_for(source, tmp_path / "out.mp4"), LIMITS, now_s=time.monotonic(), log=tmp_path / "log")
    deadline_s = time.monotonic() + 30
    while child.probed is None and child.poll(time.monotonic()) is None:
        assert time.monotonic() < deadline_s
        time.sleep(0.002)
    change(how, source)
    outcome = outcome_of(child)

    assert isinstance(outcome, EncodeFailed), "it was encoded before the change; make the recording longer"
    assert outcome.event is JobEvent.SOURCE_CHANGED, outcome.message


@pytest.mark.parametrize("how", often(1, ["deleted", "appended to", "touched"]))
def test_a_recording_that_changed_before_is_not_begun(tmp_path: Path, ts: bytes, how: str) -> None:
    source = tmp_path / "x.ts"
    source.write_bytes(ts)
    request = request_for(source, tmp_path / "out.mp4")
    change(how, source)
    outcome = outcome_of(Child(request, LIMITS, now_s=time.monotonic()))

    assert isinstance(outcome, EncodeFailed)
    assert outcome.event is JobEvent.SOURCE_CHANGED
    assert not (tmp_path / "out.mp4").exists()


def test_pictures_that_h264_cannot_have_are_refused_before_they_are_decoded(tmp_path: Path, ts: bytes) -> None:
    """Headers that say 12304 × 8208, as damage and malice do."""
    data = bytearray(ts)
    for found in re.finditer(b"\0\0\1\xb3", ts):
        data[found.end() : found.end() + 3] = b"\x01\x00\x10"
    for found in re.finditer(b"\0\0\1\xb5", ts):  # the sequence extension: two more bits of each side
        if data[found.end()] >> 4 == 1:
            data[found.end() + 1] |= 0x01
            data[found.end() + 2] |= 0x80 | 0x40

    assert "12304×8208" in rejected(tmp_path, bytes(data))


def test_an_index_that_counts_more_than_there_is_is_refused(tmp_path: Path, mp4: bytes) -> None:
    """FFmpeg takes memory for each sample that "stts" counts: four thousand millions of them."""
    data = bytearray(mp4)
    at = data.index(b"stts")
    data[at + 12 : at + 16] = b"\xff" * 4

    assert "entries in 'stts'" in rejected(tmp_path, bytes(data))
