"""
Whether the output's container takes each track, tried before the output is opened.

A muxer that refuses one stream's header ends the whole file. A track that cannot be copied is encoded anew, and one
that cannot be written at all is left out.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import av
import av.error
from av.audio.layout import AudioLayout
from av.container import InputContainer

from encoderd.encode.audio import add_audio
from encoderd.encode.audio_plan import AudioPlan, aac_bit_rate_bps
from encoderd.encode.failures import EncodeFailed
from encoderd.encode.messages import EncodeRequest
from encoderd.encode.plan import EncodePlan


def with_writable_sound(plan: EncodePlan, request: EncodeRequest, source: InputContainer) -> EncodePlan:
    """Return the plan with the tracks that its muxer takes, and notes on those that become other than planned."""
    kept: list[AudioPlan] = []
    notes: list[str] = []
    for audio in plan.audio:
        streams = [source.streams[index] for index in (audio.index, *audio.also)]
        named = f"audio stream {audio.index} ({audio.codec})"
        if _takes(plan.muxer, audio, streams):
            kept.append(audio)
            continue
        channels = AudioLayout(audio.layout).nb_channels
        rate_bps = aac_bit_rate_bps(request.audio_bit_rate_bps, channels, audio.sample_rate_hz)
        anew = replace(audio, bit_rate_bps=rate_bps, main=None)
        if audio.copied and _takes(plan.muxer, anew, streams):
            kept.append(anew)
            notes.append(f"{named}: its header is not what {plan.muxer} takes; encoded anew")
        else:
            notes.append(f"{named} left out: {plan.muxer} takes no such track")
    return replace(plan, audio=tuple(kept), notes=(*plan.notes, *notes)) if notes else plan


def _takes(muxer: str, plan: AudioPlan, streams: Sequence[Any]) -> bool:
    with contextlib.ExitStack() as stack:
        try:
            container = av.open(io.BytesIO(), "w", format=muxer)
            stack.callback(_closed, container)
            add_audio(container, plan, streams)
            container.start_encoding()
        except MemoryError:
            raise
        except (av.error.FFmpegError, EncodeFailed, OSError, ValueError):
            return False
    return True


def _closed(container: Any) -> None:
    """Without a packet some muxers write no trailer."""
    with contextlib.suppress(av.error.FFmpegError, OSError, ValueError):
        container.close()
