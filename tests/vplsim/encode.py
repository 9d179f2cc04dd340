"""
Encode made-up pictures by h264_qsv as ordered: JSON orders on stdin, one a line, one answer each on stdout.

A program of its own, because a fault may end the process that meets it, or keep it for ever. An order may change the
environment: the dispatcher and the runtime read theirs anew at each opening.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import av.logging
from av.video.frame import PictureType, VideoFrame

TIME_BASE = Fraction(1, 90_000)
OPTIONS = {"global_quality": "23", "g": "12", "bf": "2", "forced_idr": "1", "profile": "high", "async_depth": "4"}


def answer(order: dict[str, Any]) -> dict[str, Any]:
    """
    Encode, decode, compare.

    Order: `width`, `height` pixels, `pts` in 90 kHz for each frame, `options` (over `OPTIONS`; None leaves one out),
    `forced` numbers of frames that must become key frames, `bit_rates_bps` from a frame on, `environment`, and
    `keep_loaded`, a library that stays. Answer: `packets` as (pts, dts, is key, bytes), `decoded` as (pts, picture
    type), `equal` per picture, `complaints` of the decoder, `error` as (step, class, errno) or None, `log` of the
    encoder, `leftover` options, `extradata` in hex, the `span_s` of encoding (begin, end) on the clock of all
    processes, and of the process when the encoder is closed: `descriptors` open, `memory_kib` in use, whether the
    runtime is still `mapped`.
    """
    os.environ.update(order.get("environment", {}))
    if "keep_loaded" in order:
        ctypes.CDLL(order["keep_loaded"])
    width, height = order.get("width", 160), order.get("height", 96)
    times = order.get("pts", [])
    found: dict[str, Any] = {"packets": [], "decoded": [], "equal": [], "error": None, "leftover": {}}
    frames = made_up(width, height, times, order.get("forced", []))
    packets: list[Any] = []
    step = "open"
    began_s = time.monotonic()
    with av.logging.Capture() as log:
        try:
            context: Any = av.CodecContext.create("h264_qsv", "w")
            context.width, context.height, context.pix_fmt = width, height, order.get("pix_fmt", "nv12")
            context.framerate, context.time_base = Fraction(*order.get("rate", (30000, 1001))), TIME_BASE
            options = {**OPTIONS, **order.get("options", {})}
            context.options = {name: value for name, value in options.items() if value is not None}
            context.open()
            found["extradata"] = bytes(context.extradata or b"").hex()
            found["leftover"] = dict(context.options)
            step, began_s = "encode", time.monotonic()
            for number, frame in enumerate(frames):
                if str(number) in order.get("bit_rates_bps", {}):
                    context.bit_rate = order["bit_rates_bps"][str(number)]
                packets += context.encode(frame)
            step = "flush"
            packets += context.encode(None)
        except (av.error.FFmpegError, OSError) as error:
            found["error"] = [step, type(error).__name__, error.errno]
        finally:
            context = None  # closed here, so that its last words are in the log too
    found["span_s"] = [began_s, time.monotonic()]
    found["log"] = [line[2].strip() for line in log]
    found["packets"] = [[packet.pts, packet.dts, packet.is_keyframe, packet.size] for packet in packets]
    pictures: list[VideoFrame] = []
    with av.logging.Capture() as log:
        try:
            pictures = decoded([packet for packet in packets if packet.size])
        except av.error.FFmpegError as error:
            log.append((av.logging.ERROR, "h264", str(error)))
    found["complaints"] = [line[2].strip() for line in log if line[0] <= av.logging.WARNING]
    found["decoded"] = [[picture.pts, PictureType(picture.pict_type).name] for picture in pictures]
    found["size"] = [pictures[0].width, pictures[0].height] if pictures else None
    before = {frame.pts: pixels(frame) for frame in frames}
    found["equal"] = [pixels(picture) == before.get(picture.pts) for picture in pictures]
    found["descriptors"] = len(os.listdir("/proc/self/fd"))
    found["memory_kib"] = (
        int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGESIZE") // 1024
    )
    found["mapped"] = "libvplsim" in Path("/proc/self/maps").read_text("utf-8", "replace")
    return found


def made_up(width: int, height: int, times: list[int], forced: list[int]) -> list[VideoFrame]:
    """Noise, and every third picture black to the bottom of the scale: long runs of zeros, where NAL units escape."""
    noise = random.Random(width * height)
    frames = []
    for number, pts in enumerate(times):
        frame = VideoFrame(width, height, "nv12")
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size) if number % 3 == 2 else noise.randbytes(plane.buffer_size))
        frame.pts, frame.time_base = pts, TIME_BASE
        if number in forced:
            frame.pict_type = PictureType.I
        frames.append(frame)
    return frames


def decoded(packets: list[Any]) -> list[VideoFrame]:
    decoder: Any = av.CodecContext.create("h264", "r")
    pictures = [picture for packet in packets for picture in decoder.decode(packet)]
    return pictures + list(decoder.decode(None))


def pixels(frame: VideoFrame) -> bytes:
    """Return what is visible of a frame, as NV12."""
    if frame.format.name != "nv12":
        frame = frame.reformat(format="nv12")
    luma, chroma = frame.planes
    rows = [(luma, row, frame.width) for row in range(frame.height)]
    rows += [(chroma, row, (frame.width + 1) // 2 * 2) for row in range((frame.height + 1) // 2)]
    views = {plane: memoryview(plane) for plane in (luma, chroma)}
    return b"".join(views[plane][row * plane.line_size : row * plane.line_size + width] for plane, row, width in rows)


if __name__ == "__main__":
    av.logging.set_level(av.logging.VERBOSE)
    for line in sys.stdin:
        order = json.loads(line)
        with ThreadPoolExecutor() as threads:
            # `at_once`: as many sessions of the same order, each in a thread of its own.
            for result in threads.map(answer, [order] * order.get("at_once", 1)):
                print(json.dumps(result), flush=True)
