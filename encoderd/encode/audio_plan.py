"""The plan of the audio: which tracks the output has, and how each of them is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from encoderd.encode.audio_configuration import Configuration, codec_word, configuration_of
from encoderd.encode.dispositions import Flagged, default_track, in_order, title_for
from encoderd.encode.languages import three_letters
from encoderd.encode.media import AudioInfo, MediaInfo, Tags
from encoderd.encode.messages import EncodeRequest

#: Audio that MP4 and Matroska take as it is; "aac_latm" after its wrapping is gone.
COPIED_AUDIO = frozenset({"aac", "aac_latm", "ac3", "eac3"})
#: What AAC can do. Source: ISO/IEC 14496-3, table 1.18 (sampling frequency index).
AAC_RATES_HZ = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000)
#: Sample rates that sound can have, in Hz. A header of 2 Hz would make hours of seconds.
HEARD_HZ = range(1_000, 1_536_000 + 1)
#: The layouts that AAC has a channel configuration for, by channels: players know no others for certain.
_AAC_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 7: "7.1", 8: "7.1"}
_CHANNELS = {layout: channels for channels, layout in _AAC_LAYOUTS.items()}
#: Layouts that would lose a channel, or mistake one for another, in the layout of as many channels.
_ROOMIER = {
    "2.1": "5.1",
    "3.0(back)": "5.0",
    "3.1": "5.1",
    "quad": "5.0",
    "quad(side)": "5.0",
    "4.1": "5.1",
    "6.0": "7.1",
    "6.0(front)": "7.1",
    "hexagonal": "7.1",
}
#: The lowest bit rate of a mono track, unless even stereo shall have less: speech that nobody can tell from the source.
_LEAST_MONO_BPS = 64_000
#: AAC takes no more bits than these for each channel of a frame of 1024 samples. Source: ISO/IEC 14496-3, 4.5.3.
_MOST_FRAME_BITS, _FRAME_SAMPLES = 6144, 1024
#: Codecs in which dual mono occurs, and can be told from the packet.
_WITH_DUAL_MONO = frozenset({"aac", "aac_latm", "ac3", "eac3", "mp1", "mp2", "mp3"})


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioPlan:
    """
    One audio track: copied when `bit_rate_bps` is 0, else decoded and encoded to AAC at that rate, with
    `sample_rate_hz` and `layout` ("mono", "stereo", "5.1") however often the source changes its own. `channel` is -1
    for all of them, else the one of a dual mono stream (0 main, 1 sub) that becomes this track. `also` are further
    streams of the demuxer for the same track. `main` is the one form that all of a copied track has in the output; None
    where that is the form of the first packet. `dispositions` are FFmpeg's words for what the track is for.
    """

    index: int
    codec: str
    bit_rate_bps: int
    sample_rate_hz: int
    layout: str
    language: str
    title: str
    default: bool
    also: tuple[int, ...] = ()
    channel: int = -1
    main: Configuration | None = None
    dispositions: tuple[str, ...] = ()

    @property
    def copied(self) -> bool:
        return self.bit_rate_bps == 0


def audio_plans(
    media: MediaInfo, request: EncodeRequest, examples: Mapping[int, bytes] | None = None
) -> tuple[tuple[AudioPlan, ...], tuple[str, ...]]:
    """
    Return the output's tracks in the source's order, and notes on what was left out or is not kept as it was.

    `examples` has, by stream index, a packet of the form that most of the stream has.
    """
    plans: list[AudioPlan] = []
    notes: list[str] = []
    for stream in media.audio:
        named = f"audio stream {stream.index} ({stream.codec})"
        example = (examples or {}).get(stream.index, b"")
        main = configuration_of(stream.codec, example) if example else None
        if main is None and not (stream.sample_rate_hz and stream.channels):
            notes.append(f"{named} left out: no sample rate or channels in it")
        elif main is None and stream.sample_rate_hz not in HEARD_HZ:
            notes.append(f"{named} left out: {stream.sample_rate_hz} Hz is no rate of sound")
        elif stream.dual_mono and request.dual_mono != "keep" and codec_word(stream.codec) in _WITH_DUAL_MONO:
            wanted = {"main": (0,), "sub": (1,)}.get(request.dual_mono, (0, 1))
            plans += [_mono(stream, request, channel, main, alone=len(wanted) == 1) for channel in wanted]
            notes.append(f"{named}: dual mono, {request.dual_mono}")
        else:
            inexpressible = stream.codec == "aac_latm" and bool(example) and main is None
            if inexpressible:
                notes.append(f"{named}: a form of AAC that only LATM can hold; encoded anew")
            plans.append(_audio_plan(stream, request, main, copied=not inexpressible))
    first = default_track([Flagged(default=plan.default, dispositions=plan.dispositions) for plan in plans])
    return tuple(replace(plan, default=number == first) for number, plan in enumerate(plans)), tuple(notes)


def aac_layout(channels: int, layout: str = "") -> str:
    """Return the layout that AAC gets for a source of so many channels, in which none of them is lost."""
    if channels > 8:
        return "5.1"  # nobody knows where 10 speakers stand
    return _ROOMIER.get(layout, _AAC_LAYOUTS.get(channels, "stereo"))


def aac_bit_rate_bps(stereo_bps: int, channels: int, sample_rate_hz: int) -> int:
    """
    Return the bit rate of a track of so many channels where stereo gets `stereo_bps`: 5.1 three times as much.

    Mono gets half of it, but enough for speech; no track gets more than AAC can hold at its sample rate.
    """
    wanted_bps = stereo_bps * channels // 2
    if channels == 1:
        wanted_bps = max(wanted_bps, min(stereo_bps, _LEAST_MONO_BPS))
    return min(wanted_bps, channels * sample_rate_hz * _MOST_FRAME_BITS // _FRAME_SAMPLES)


def _rate(stream: AudioInfo, main: Configuration | None) -> int:
    rate_hz = stream.sample_rate_hz or (48_000 if main is None else main.rate_hz)
    return min(AAC_RATES_HZ, key=lambda known_hz: (abs(known_hz - rate_hz), -known_hz))


def _audio_plan(stream: AudioInfo, request: EncodeRequest, main: Configuration | None, *, copied: bool) -> AudioPlan:
    rate_hz = _rate(stream, main)
    layout = aac_layout(stream.channels, stream.layout) if main is None else main.layout or "stereo"
    bit_rate_bps = aac_bit_rate_bps(request.audio_bit_rate_bps, _CHANNELS.get(layout, 2), rate_hz)
    return AudioPlan(
        index=stream.index,
        codec=stream.codec,
        bit_rate_bps=0 if stream.codec in COPIED_AUDIO and copied else bit_rate_bps,
        sample_rate_hz=rate_hz,
        layout=layout,
        language=_language(stream),
        title=stream.title or title_for(stream.dispositions),
        default=stream.default,
        also=stream.also,
        main=main,
        dispositions=stream.dispositions,
    )


def _mono(
    stream: AudioInfo, request: EncodeRequest, channel: int, main: Configuration | None, *, alone: bool
) -> AudioPlan:
    """One of the two sounds as a mono track; `alone` when the other is not wanted."""
    name, rate_hz = ("main", "sub")[channel], _rate(stream, main)
    voice = stream.voices[channel] if stream.voices else Tags(language=_language(stream, channel))
    return AudioPlan(
        index=stream.index,
        codec=stream.codec,
        bit_rate_bps=aac_bit_rate_bps(request.audio_bit_rate_bps, 1, rate_hz),
        sample_rate_hz=rate_hz,
        layout="mono",
        language=three_letters(voice.language),
        title=f"{stream.title} ({name})" if stream.title else name,
        default=stream.default and (channel == 0 or alone),
        also=stream.also,
        channel=channel,
        dispositions=in_order((*stream.dispositions, *voice.dispositions)),
    )


def _language(stream: AudioInfo, channel: int = 0) -> str:
    """The language of one sound of the stream; "" for the second when only one is told."""
    languages = stream.language.split(",")
    return three_letters(languages[channel]) if channel < len(languages) else ""
