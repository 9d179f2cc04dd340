"""Which tracks the output has, as a table; and what headers of AC-3 say."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoderd.encode.aac import AacConfiguration, adts
from encoderd.encode.ac3 import Ac3Configuration, ac3_configuration
from encoderd.encode.audio_configuration import codec_word, configuration_of, is_dual_mono
from encoderd.encode.audio_plan import AudioPlan, aac_bit_rate_bps, aac_layout, audio_plans
from encoderd.encode.media import AudioInfo, MediaInfo
from encoderd.encode.messages import EncodeRequest, VideoRequest

REQUEST = EncodeRequest(
    job=1,
    source="/a.ts",
    partial="/b.mp4",
    size_bytes=1,
    mtime_ns=1,
    video=VideoRequest(encoder="libx264"),
    container="mp4",
    deinterlace="auto",
    audio_bit_rate_bps=192_000,
    verify="quick",
)
STREAM = AudioInfo(
    index=1,
    pid=0x110,
    codec="aac",
    sample_rate_hz=48_000,
    channels=2,
    layout="stereo",
    bit_rate_bps=0,
    language="jpn",
    title="",
    default=True,
    time_base=Fraction(1, 90_000),
)
SURROUND = AacConfiguration(object_type=2, rate_index=3, channels=6)


def plans(*streams: AudioInfo, examples: dict[int, bytes] | None = None, **asked: Any) -> tuple[Any, Any]:
    media = MediaInfo(format="mpegts", size_bytes=1, start_s=None, duration_s=None, video=(), audio=streams)
    return audio_plans(media, replace(REQUEST, **asked), examples)


@pytest.mark.parametrize(
    ("changes", "bit_rate_bps", "rate_hz", "layout"),
    [
        ({}, 0, 48_000, "stereo"),
        ({"codec": "ac3", "channels": 6, "layout": "5.1(side)"}, 0, 48_000, "5.1"),
        ({"codec": "eac3"}, 0, 48_000, "stereo"),
        ({"codec": "aac_latm"}, 0, 48_000, "stereo"),
        ({"codec": "mp2"}, 192_000, 48_000, "stereo"),
        ({"codec": "dca", "channels": 7, "layout": "6.1"}, 768_000, 48_000, "7.1"),
        ({"codec": "pcm_bluray", "sample_rate_hz": 192_000}, 192_000, 96_000, "stereo"),
        ({"codec": "mp3", "sample_rate_hz": 22_050, "channels": 1, "layout": "mono"}, 96_000, 22_050, "mono"),
        ({"codec": "opus", "sample_rate_hz": 46_050}, 192_000, 48_000, "stereo"),  # as near to 44.1 kHz
    ],
)
def test_what_becomes_of_a_stream(changes: Any, bit_rate_bps: int, rate_hz: int, layout: str) -> None:
    (plan,), notes = plans(replace(STREAM, also=(5, 6), title="Film", **changes))

    expected = AudioPlan(
        index=1,
        codec=changes.get("codec", "aac"),
        bit_rate_bps=bit_rate_bps,
        sample_rate_hz=rate_hz,
        layout=layout,
        language="jpn",
        title="Film",
        default=True,
        also=(5, 6),
    )
    assert (plan, notes) == (expected, ())
    assert plan.copied is (bit_rate_bps == 0)


@pytest.mark.parametrize(
    ("stereo_bps", "channels", "rate_hz", "expected"),
    [
        (128_000, 2, 48_000, 128_000),
        (128_000, 1, 48_000, 64_000),
        (96_000, 1, 48_000, 64_000),  # half of it is not enough
        (32_000, 1, 48_000, 32_000),  # but no more than stereo has
        (128_000, 3, 48_000, 192_000),
        (128_000, 6, 48_000, 384_000),
        (128_000, 8, 48_000, 512_000),
        (640_000, 2, 48_000, 576_000),  # 6144 bits for each channel of a frame
        (640_000, 8, 48_000, 2_304_000),
        (192_000, 2, 8_000, 96_000),
    ],
)
def test_sound_gets_bits_by_its_channels(stereo_bps: int, channels: int, rate_hz: int, expected: int) -> None:
    assert aac_bit_rate_bps(stereo_bps, channels, rate_hz) == expected


@pytest.mark.parametrize(
    ("asked", "codec", "expected"),
    [
        ("keep", "aac", [(-1, 0, "jpn", "", True)]),
        ("keep", "mp2", [(-1, 192_000, "jpn", "", True)]),
        ("split", "aac", [(0, 96_000, "jpn", "main", True), (1, 96_000, "eng", "sub", False)]),
        ("split", "mp2", [(0, 96_000, "jpn", "main", True), (1, 96_000, "eng", "sub", False)]),
        ("main", "aac", [(0, 96_000, "jpn", "main", True)]),
        ("sub", "aac", [(1, 96_000, "eng", "sub", True)]),
        ("split", "dca", [(-1, 192_000, "jpn", "", True)]),  # knows no dual mono
    ],
)
def test_dual_mono_is_kept_split_or_halved(asked: str, codec: str, expected: Any) -> None:
    found, notes = plans(replace(STREAM, codec=codec, dual_mono=True, language="jpn,eng"), dual_mono=asked)

    assert [(p.channel, p.bit_rate_bps, p.language, p.title, p.default) for p in found] == expected
    assert {p.layout for p in found} == {"stereo" if expected[0][0] < 0 else "mono"}
    assert notes == ((f"audio stream 1 ({codec}): dual mono, {asked}",) if expected[0][0] >= 0 else ())


def test_the_sub_sound_has_no_language_where_only_one_is_told() -> None:
    found, _ = plans(replace(STREAM, dual_mono=True, title="Film"), dual_mono="split", audio_bit_rate_bps=64_000)

    assert [(p.language, p.title, p.bit_rate_bps) for p in found] == [
        ("jpn", "Film (main)", 64_000),
        ("", "Film (sub)", 64_000),
    ]


def test_stereo_is_not_split() -> None:
    found, notes = plans(STREAM, dual_mono="split")

    assert ([p.channel for p in found], notes) == ([-1], ())


def test_a_stream_that_begins_late_is_known_by_its_example() -> None:
    """FFmpeg saw no packet of it at the head; without one it is left out, and said so."""
    unknown = replace(STREAM, sample_rate_hz=0, channels=0, layout="")

    (plan,), notes = plans(unknown, examples={1: adts(SURROUND, b"abc")})
    assert (plan.main, plan.sample_rate_hz, plan.layout, notes) == (SURROUND, 48_000, "5.1", ())

    assert plans(unknown) == ((), ("audio stream 1 (aac) left out: no sample rate or channels in it",))


@pytest.mark.parametrize("rate_hz", [2, 999, 2**31 - 1])
def test_a_rate_that_no_sound_has_is_left_out(rate_hz: int) -> None:
    """Four seconds of PCM at 2 Hz were hours of sound: the child did not end."""
    absurd = replace(STREAM, codec="pcm_s16le", sample_rate_hz=rate_hz)

    assert plans(absurd) == ((), (f"audio stream 1 (pcm_s16le) left out: {rate_hz} Hz is no rate of sound",))


def test_latm_that_adts_cannot_hold_is_encoded() -> None:
    (plan,), notes = plans(replace(STREAM, codec="aac_latm"), examples={1: b"not to be read"})

    assert (plan.copied, notes) == (
        False,
        ("audio stream 1 (aac_latm): a form of AAC that only LATM can hold; encoded anew",),
    )


def test_aac_without_headers_is_copied_whatever_its_example_looks_like() -> None:
    """Matroska's and MP4's packets do not tell their form; the container does."""
    (plan,), notes = plans(STREAM, examples={1: b"\x21\x00\x03"})

    assert (plan.copied, plan.main, notes) == (True, None, ())


@pytest.mark.parametrize(
    ("channels", "layout", "expected"),
    [
        (1, "mono", "mono"),
        (2, "stereo", "stereo"),
        (2, "downmix", "stereo"),
        (3, "3.0", "3.0"),
        (3, "2.1", "5.1"),  # its LFE has no place in 3.0
        (3, "3 channels", "3.0"),
        (4, "4.0", "4.0"),
        (4, "quad", "5.0"),
        (4, "quad(side)", "5.0"),
        (5, "5.0(side)", "5.0"),
        (5, "4.1", "5.1"),
        (6, "5.1(side)", "5.1"),
        (6, "hexagonal", "7.1"),
        (7, "6.1", "7.1"),
        (8, "7.1", "7.1"),
        (16, "hexadecagonal", "5.1"),
        (0, "", "stereo"),
    ],
)
def test_no_channel_is_lost_to_the_layout(channels: int, layout: str, expected: str) -> None:
    assert aac_layout(channels, layout) == expected


# --- headers of AC-3; whole frames of all layouts are FFmpeg's business in the integration tests


def ac3_frame(size_code: int, acmod: int, lfe: int, *, fscod: int = 0, bsid: int = 8, size: int | None = None) -> bytes:
    mixing = {0: "", 1: "", 2: "00", 3: "11", 4: "11", 5: "1111", 6: "11", 7: "1111"}[acmod]
    bits = f"{fscod:02b}{size_code:06b}{bsid:05b}000{acmod:03b}{mixing}{lfe:b}"
    bits += "1" * (-len(bits) % 8)
    head = b"\x0b\x77\1\2" + int(bits, 2).to_bytes(len(bits) // 8, "big")
    return head.ljust(size if size is not None else len(head), b"\x55")


@pytest.mark.parametrize("acmod", range(8))
@pytest.mark.parametrize("lfe", [0, 1])
@pytest.mark.parametrize(
    ("fscod", "size_code", "size", "rate_hz"),
    [(0, 20, 768, 48_000), (1, 20, 834, 44_100), (1, 21, 836, 44_100), (2, 36, 3840, 32_000)],
)
def test_ac3_headers(acmod: int, lfe: int, fscod: int, size_code: int, size: int, rate_hz: int) -> None:
    """Frame sizes: ETSI TS 102 366, table 4.13."""
    frame = ac3_frame(size_code, acmod, lfe, fscod=fscod, size=size)

    found = ac3_configuration(frame)

    assert found == Ac3Configuration(codec="ac3", rate_hz=rate_hz, acmod=acmod, lfe=bool(lfe))
    assert found is not None and found.bit_rate_bps == (640_000 if size_code == 36 else 192_000)
    assert found.dual_mono is (acmod == 0)
    assert is_dual_mono("ac3", frame) is (acmod == 0)
    assert ac3_configuration(frame[:-1]) is None
    assert ac3_configuration(frame + b"12") is None
    assert ac3_configuration(frame + frame) == found


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        # strmtyp 0, frmsiz 7 (16 bytes), 48 kHz, 6 blocks, 3/2 with LFE, bsid 16
        ("0007 3f 80", Ac3Configuration(codec="eac3", rate_hz=48_000, acmod=7, lfe=True)),
        ("0007 24 80", Ac3Configuration(codec="eac3", rate_hz=48_000, acmod=2, lfe=False)),
        ("0007 d4 80", Ac3Configuration(codec="eac3", rate_hz=22_050, acmod=2, lfe=False)),
        ("0007 f4 80", None),  # half rates end at 16 kHz
        ("4007 3f 80", None),  # a dependent substream whose frame is not there
        ("0007 3f 88", None),  # bsid 17
        ("0008 3f 80", None),  # 18 bytes
    ],
)
def test_eac3_headers(head: str, expected: Ac3Configuration | None) -> None:
    assert ac3_configuration((b"\x0b\x77" + bytes.fromhex(head)).ljust(16, b"\0")) == expected


@given(st.sampled_from(["aac", "aac_latm", "ac3", "eac3", "mp2", "dca"]), st.binary(max_size=40), st.integers(0, 3))
def test_noise_is_never_an_error(codec: str, data: bytes, sync: int) -> None:
    packet = (b"", b"\x0b\x77", b"\xff\xf1", b"\x56\xe0")[sync] + data
    configuration_of(codec, packet)
    is_dual_mono(codec, packet)


def test_decoders_have_other_names_than_codecs() -> None:
    assert [codec_word(name) for name in ("mp2float", "mp3", "mp1float", "aac", "pcm_f32le")] == [
        "mp2",
        "mp3",
        "mp1",
        "aac",
        "pcm_f32le",
    ]
