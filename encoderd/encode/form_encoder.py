"""Encoders of the forms that copied tracks have: for silence of AC-3, and for stretches that had another form."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av.error
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.codec.context import CodecContext

from encoderd.encode.aac import DUAL_MONO, FRAME_SAMPLES, AacConfiguration, adts, join_mono
from encoderd.encode.audio_configuration import Configuration
from encoderd.encode.failures import encoder_failed
from encoderd.encode.sound_clock import FORMAT, Samples, samples_of

#: Bit rate of one channel of AAC-LC in which nobody hears that a stretch was encoded once more.
_CHANNEL_BPS = 80_000
#: AC-3 knows no other rates. Source: ETSI TS 102 366, table 4.13; the lowest that is good for so many channels.
_AC3_BPS = {1: 96_000, 2: 192_000, 3: 256_000, 4: 320_000, 5: 384_000, 6: 448_000}
_AC3_SAMPLES = 1536
#: The samples by which what a decoder gives out is behind what the encoder took. Source: libavcodec (initial_padding).
_DELAY = {"aac": 1024, "ac3": 256, "eac3": 256}
#: From this bit rate of a channel on, FFmpeg's fast search is as good as its slow one, for a third of the time.
#: Source: FFmpeg's documentation of aac_coder.
_FAST_FROM_BPS = 64_000


def aac_options(bit_rate_bps: int, channels: int) -> dict[str, str]:
    """Return the options of FFmpeg's AAC encoder for this bit rate."""
    return {"aac_coder": "fast"} if bit_rate_bps >= _FAST_FROM_BPS * channels else {}


class FormEncoder:
    """
    Encodes frames of one form (planar float, `layout` and `rate_hz`) to packets that fit between copied ones.

    Packets come out as (position, data): the sample where a decoder's output of the packet begins, counted like the
    frames' pts. Those that only start the encoder up come first, at positions before the first frame.

    Raises ValueError when no encoder writes this form, and EncodeFailed when it fails at its work.
    """

    def __init__(self, form: Configuration, *, bare: bool = False) -> None:
        self._form = form
        self._bare = bare  # AAC without headers
        self.codec = "aac" if isinstance(form, AacConfiguration) else form.codec
        self.rate_hz, self.layout = form.rate_hz, form.layout
        self.samples = FRAME_SAMPLES if self.codec == "aac" else _AC3_SAMPLES
        if not self.layout:
            raise ValueError(f"no encoder for {form}")
        split = isinstance(form, AacConfiguration) and form.dual_mono
        if split and form.program != DUAL_MONO:  # type: ignore[union-attr]  # AAC's
            raise ValueError(f"dual mono with other tags than 0 and 1: {form}")
        try:
            self._contexts = [self._open("mono"), self._open("mono")] if split else [self._open(self.layout)]
        except MemoryError:
            raise
        except av.error.FFmpegError as error:
            raise ValueError(f"no encoder for {form}: {error}") from error

    @property
    def lead(self) -> int:
        """Samples of silence to encode first, so that a packet begins where the sound does."""
        return -_DELAY[self.codec] % self.samples

    def encode(self, frame: AudioFrame | None) -> Iterator[tuple[int, bytes]]:
        """Encode a frame, or with None what is left."""
        frames = [frame] if frame is None or len(self._contexts) == 1 else _mono(frame)
        try:
            found = [
                context.encode(part)
                for context, part in zip(self._contexts, frames * (len(self._contexts) // len(frames)), strict=True)
            ]
        except MemoryError:
            raise
        except (av.error.FFmpegError, ValueError) as error:
            raise encoder_failed(self.codec, "encoding", str(error), lines=[]) from error
        for packets in zip(*found, strict=True):
            yield int(packets[0].pts or 0), self._packet([bytes(packet) for packet in packets])

    def _packet(self, parts: list[bytes]) -> bytes:
        if not isinstance(self._form, AacConfiguration):
            return parts[0]
        block = parts[0] if len(parts) == 1 else join_mono(*parts)
        return block if self._bare else adts(self._form, block)

    def _open(self, layout: str) -> AudioCodecContext:
        context: Any = CodecContext.create(self.codec, "w")
        context.sample_rate, context.layout, context.format = self.rate_hz, layout, FORMAT
        context.time_base = Fraction(1, self.rate_hz)
        channels = context.layout.nb_channels
        if self.codec == "aac":
            context.bit_rate = _CHANNEL_BPS * channels
            context.options = aac_options(_CHANNEL_BPS * channels, channels)
        else:
            context.bit_rate = getattr(self._form, "bit_rate_bps", 0) or _AC3_BPS[channels]
        context.open()
        opened: AudioCodecContext = context
        return opened


def _mono(frame: AudioFrame) -> list[AudioFrame]:
    return [mono_frame(channel, frame) for channel in samples_of(frame)]


def mono_frame(channel: Samples, like: AudioFrame) -> AudioFrame:
    """Return one channel's samples as a frame, at the time of `like`."""
    frame = AudioFrame(format=FORMAT, layout="mono", samples=channel.shape[-1])
    frame.planes[0].update(np.ascontiguousarray(channel, np.float32).tobytes())
    frame.sample_rate, frame.pts, frame.time_base = like.sample_rate, like.pts, like.time_base
    return frame
