"""Whether the sound of a recording is in the output, and what of it is not."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from fractions import Fraction

from encoderd.encode.audio_plan import AudioPlan
from encoderd.encode.elementary_streams import SOUND_NAMES
from encoderd.encode.facts import StreamFacts, TranscodeFacts
from encoderd.encode.media import AudioInfo, MediaInfo, never_sent
from encoderd.encode.plan import EncodePlan
from encoderd.encode.tags import wanted_tags
from encoderd.encode.written import OutputFacts, OutputStream
from encoderd.findings import Finding, failed, passed, warned

#: A recording that begins and ends anywhere cuts two packets of each track; beyond them so many are worth a warning.
MOST_CUT, SPOILT_RATIO = 2, Fraction(1, 1000)
#: A seam, or a clock that drifts, has a few packets that overlap what was there before them.
OVERLAPPING_RATIO = Fraction(1, 20)
_KEEP = "Play the recording; when that sound is needed, keep the recording."
_ANYHOW = (
    "Play the recording. To have its pictures without that sound: encoderd encode --accept-damage IN OUT; keep the "
    "recording for an FFmpeg that can decode it."
)


def judge_sound(media: MediaInfo, plan: EncodePlan, facts: TranscodeFacts, sent: Collection[int]) -> Finding:
    """
    Fail where a recording has sound and the output none; warn where a track or a part of it cannot be heard.

    `sent` are the PIDs that the transport stream has packets of; empty where none were counted.
    """
    lost = lost_sound(media, plan, facts, sent)
    heard = heard_tracks(plan, facts)
    spoilt = _spoilt_parts(media, plan, facts, lost)
    if not lost and not spoilt:
        return passed("sound", f"{len(heard)} of {len(plan.audio)} tracks are heard")
    if lost and not heard:
        return failed("sound", f"the only sound is {', '.join(lost.values())}", _ANYHOW)
    named = [f"not heard: {', '.join(lost.values())}"] if lost else []
    return warned("sound", "; ".join(named + spoilt), _KEEP)


def heard_tracks(plan: EncodePlan, facts: TranscodeFacts) -> list[int]:
    """Return the numbers of the output's audio tracks that have sound, from 1 on."""
    tracks = enumerate(facts.streams[1 : 1 + len(plan.audio)], start=1)
    return [number for number, stream in tracks if stream.muxed and stream.audible]


def lost_sound(media: MediaInfo, plan: EncodePlan, facts: TranscodeFacts, sent: Collection[int]) -> dict[int, str]:
    """Return {PID: which sound it is, and why the output has nothing of it}."""
    absent = {} if facts.read_error else never_sent(media, sent)
    lost = {
        pid: f"{name} on {_place(media, pid)}, which this FFmpeg cannot decode" for pid, name in media.unheard.items()
    }
    numbers = {audio.index: number for number, audio in enumerate(plan.audio, start=1)}
    heard = heard_tracks(plan, facts)
    for audio in media.audio:
        number = numbers.get(audio.index)
        if number is None or (facts.streams[number].packets and number not in heard):
            some = 0 if number is None else facts.streams[number].heard
            share = "nothing" if number is None or not some else _share(some, facts.streams[number])
            lost[audio.pid] = f"{_named(media, audio)}, of which {share} can be decoded"
    return {pid: text for pid, text in lost.items() if pid not in absent}


def _spoilt_parts(media: MediaInfo, plan: EncodePlan, facts: TranscodeFacts, lost: Collection[int]) -> list[str]:
    """Name the tracks that are heard in part."""
    numbers = {audio.index: number for number, audio in enumerate(plan.audio, start=1)}
    found = []
    for audio in media.audio:
        if audio.pid in lost or audio.index not in numbers:
            continue
        stream = facts.streams[numbers[audio.index]]
        if stream.damaged > MOST_CUT + (stream.heard + stream.damaged) * SPOILT_RATIO:
            found.append(f"{_share(stream.damaged, stream)} of {_named(media, audio)} cannot be decoded")
        if stream.cut > MOST_CUT + stream.heard * OVERLAPPING_RATIO:
            named = _named(media, audio)
            found.append(f"{stream.cut} of {stream.heard} packets of {named} overlap others and are cut")
    return found


def _share(part: int, stream: StreamFacts) -> str:
    return f"{part} of {stream.heard + stream.damaged} packets"


def _named(media: MediaInfo, audio: AudioInfo) -> str:
    told = media.announced.get(audio.pid, "").partition(",")[0]  # FFmpeg may take noise for anything
    name = SOUND_NAMES.get(told) or SOUND_NAMES.get(audio.codec, audio.codec)
    return f"{name} on {_place(media, audio.pid)}"


def _place(media: MediaInfo, pid: int) -> str:
    return f"PID {pid:#x}" if media.format == "mpegts" else f"track {pid}"


def codec_of_track(audio: AudioPlan) -> str:
    """Return what the track is in the output; LATM loses its wrapping."""
    return {"aac_latm": "aac"}.get(audio.codec, audio.codec) if audio.copied else "aac"


def with_empty_tracks(plan: EncodePlan, facts: TranscodeFacts, output: OutputFacts) -> OutputFacts:
    """Put back the tracks of which nothing came, at their places: MP4 keeps none without a packet."""
    if sum(stream.kind == "audio" for stream in output.streams) == len(plan.audio):
        return output
    streams, tags = list(output.streams), wanted_tags(plan)
    for number, audio in enumerate(plan.audio, start=1):
        if not facts.streams[number].muxed:
            empty = OutputStream(
                codec=codec_of_track(audio), kind="audio", packets=0, start_s=None, end_s=None, tags=tags[number]
            )
            streams.insert(number, empty)
    return replace(output, streams=tuple(streams))
