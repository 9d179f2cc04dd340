"""Whether the sound of a recording is in the output, and what of it is not."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from encoderd.encode.audio_plan import AudioPlan
from encoderd.encode.elementary_streams import SOUND_NAMES
from encoderd.encode.facts import TranscodeFacts
from encoderd.encode.media import MediaInfo, never_sent
from encoderd.encode.plan import EncodePlan
from encoderd.encode.tags import wanted_tags
from encoderd.encode.written import OutputFacts, OutputStream
from encoderd.findings import Finding, failed, passed, warned

_ANYHOW = (
    "Play the recording. To have its pictures without that sound: encoderd encode --accept-damage IN OUT; keep the "
    "recording for an FFmpeg that can decode it."
)


def judge_sound(media: MediaInfo, plan: EncodePlan, facts: TranscodeFacts, sent: Collection[int]) -> Finding:
    """
    Fail where a recording has sound and the output none; warn where a track was left out or came out empty.

    `sent` are the PIDs that the transport stream has packets of; empty where none were counted.
    """
    lost = lost_sound(media, plan, facts, sent)
    heard = [stream for stream in facts.streams[1 : 1 + len(plan.audio)] if stream.muxed]
    if not lost:
        return passed("sound", f"{len(heard)} of {len(plan.audio)} tracks are heard")
    named = ", ".join(lost.values())
    if heard:
        return warned(
            "sound", f"left out: {named}", "Play the recording; when that sound is needed, keep the recording."
        )
    return failed("sound", f"the only sound is {named}", _ANYHOW)


def lost_sound(media: MediaInfo, plan: EncodePlan, facts: TranscodeFacts, sent: Collection[int]) -> dict[int, str]:
    """Return {PID: which sound it is, and why the output has nothing of it}."""
    absent = {} if facts.read_error else never_sent(media, sent)
    where = "PID {:#x}" if media.format == "mpegts" else "track {}"
    lost = {
        pid: f"{name} on {where.format(pid)}, which this FFmpeg cannot decode" for pid, name in media.unheard.items()
    }
    numbers = {audio.index: number for number, audio in enumerate(plan.audio, start=1)}
    for audio in media.audio:
        number = numbers.get(audio.index)
        stream = None if number is None else facts.streams[number]
        if stream is None or (stream.packets and not stream.muxed):
            told = media.announced.get(audio.pid, "").partition(",")[0]  # FFmpeg may take noise for anything
            name = SOUND_NAMES.get(told) or SOUND_NAMES.get(audio.codec, audio.codec)
            lost[audio.pid] = f"{name} on {where.format(audio.pid)}, of which nothing can be decoded"
    return {pid: text for pid, text in lost.items() if pid not in absent}


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
