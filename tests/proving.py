"""
Encode moving pictures with a proof beside it, as a job does: `python -m tests.proving ORDER` prints the facts as JSON.

A program too, because h264_qsv meets the simulated runtime only in a process that was started with its environment.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.video.frame import VideoFrame

from encoderd.encode.decoding_times import DecodingTimes
from encoderd.encode.likeness import sampled
from encoderd.encode.media import VideoInfo
from encoderd.encode.messages import VideoRequest
from encoderd.encode.proof import Proof
from encoderd.encode.sample import RATE, SampleSpec, moving_pictures
from encoderd.encode.video_plan import VIDEO_TIME_BASE, video_plan
from encoderd.encode.writer import add_video
from encoderd.encode.written import ProofFacts

WIDTH, HEIGHT = 320, 240
TICKS = 3003


def pictures(count: int) -> list[VideoFrame]:
    spec = SampleSpec(width=WIDTH, height=HEIGHT, duration_s=float(count / RATE), interlaced=False)
    found = [picture.reformat(format="nv12") for picture in moving_pictures(spec)][:count]
    for number, picture in enumerate(found):
        picture.pts, picture.time_base, picture.pict_type = number * TICKS, VIDEO_TIME_BASE, 0
    return found


def encoded(
    target: Path,
    shown: list[VideoFrame],
    *,
    seen: list[VideoFrame] | None = None,
    spoil: Callable[[int, bytes], bytes] = lambda number, data: data,
    extradata: Callable[[bytes], bytes] = bytes,
    **asked: Any,
) -> ProofFacts:
    """
    Encode `shown` into `target` and prove it. The proof sees `seen` instead, if given, and packets and extradata as
    `spoil` and `extradata` make them.
    """
    request = VideoRequest(**{"encoder": "libx264", "preset": "veryfast", "bframes": 2, **asked})
    info = VideoInfo(
        index=0, pid=0, codec="mpeg2video", width=WIDTH, height=HEIGHT, pix_fmt="yuv420p", frame_rate=RATE,
        sample_aspect_ratio=Fraction(1), time_base=VIDEO_TIME_BASE,
    )  # fmt: skip
    plan = video_plan(info, request, "off")
    times = DecodingTimes(2, TICKS) if request.encoder == "h264_qsv" else None
    with av.open(str(target), "w", format={".mp4": "mp4", ".mkv": "matroska"}[target.suffix]) as container:
        stream = add_video(container, plan, {})
        proof = Proof(
            extradata(bytes(stream.codec_context.extradata or b"")), VIDEO_TIME_BASE, sampled(len(shown) / float(RATE))
        )
        for number, picture in enumerate([*shown, None]):
            if picture is not None:
                proof.see((seen or shown)[number])
                if times is not None:
                    times.put(picture.pts or 0)
            for packet in stream.encode(picture):
                if times is not None:
                    packet.dts = times.take(packet.pts)
                proof.take(spoil(number, bytes(packet)), packet.pts, packet.dts)
                packet.duration = TICKS
                container.mux(packet)
    return proof.finish()


if __name__ == "__main__":
    order = json.loads(sys.argv[1])
    print(json.dumps(asdict(encoded(Path(order["target"]), pictures(order["pictures"]), **order["asked"]))))
