"""Silent frames of the very form that a copied track has."""

from __future__ import annotations

import io
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from av.audio.frame import AudioFrame

from encoderd.encode.aac import FRAME_SAMPLES, AacConfiguration, adts, silent_block
from encoderd.encode.audio_configuration import Configuration
from encoderd.encode.form_encoder import FormEncoder
from encoderd.encode.sound_clock import FORMAT

#: Frames that are enough for FFmpeg to know a stream.
_TEMPLATE_FRAMES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class SilentFrame:
    """One packet of digital silence: `samples` per channel at `rate_hz`."""

    data: bytes
    samples: int
    rate_hz: int


def silent_frame(form: Configuration, *, bare: bool = False) -> SilentFrame | None:
    """
    Return silence in this form, None when nobody can write it; `bare` AAC has no ADTS header.

    AAC is put together bit by bit; AC-3's is what FFmpeg's encoder makes of zeros. AC-3 of two sounds (1+1), which it
    does not write, gets the silence of stereo.
    """
    if isinstance(form, AacConfiguration):
        try:
            block = silent_block(form)
        except ValueError:
            return None
        data = block if bare else adts(form, block)
        return SilentFrame(data=data, samples=FRAME_SAMPLES, rate_hz=form.rate_hz)
    try:
        encoder = FormEncoder(form)
    except ValueError:
        return None
    zeros = AudioFrame(format=FORMAT, layout=encoder.layout, samples=encoder.samples)
    zeros.sample_rate, zeros.pts, zeros.time_base = encoder.rate_hz, 0, Fraction(1, encoder.rate_hz)
    for number in range(zeros.layout.nb_channels):
        zeros.planes[number].update(bytes(zeros.planes[number].buffer_size))
    packets = [*encoder.encode(zeros), *encoder.encode(None)]
    return SilentFrame(data=packets[0][1], samples=encoder.samples, rate_hz=form.rate_hz) if packets else None


def add_like(container: Any, form: Configuration) -> Any:
    """
    Add a stream to an output container for packets of this form; None when nobody can write it.

    The muxer wants to know a stream before its first packet: it gets one that FFmpeg read from silence.
    """
    silent = silent_frame(form)
    if silent is None:
        return None
    codec = "aac" if isinstance(form, AacConfiguration) else form.codec
    with av.open(io.BytesIO(silent.data * _TEMPLATE_FRAMES), "r", format=codec) as template:
        return container.add_stream_from_template(template.streams.audio[0])
