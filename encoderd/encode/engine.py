"""One recording, from its open descriptor to a judged partial file and its receipt. Runs in the child."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import av
import av.error

from encoderd import __version__
from encoderd.encode.facts import OutputFacts, TranscodeFacts
from encoderd.encode.failures import crashed, device, rejected
from encoderd.encode.granted import differences
from encoderd.encode.media import MediaInfo
from encoderd.encode.messages import EncodeRequest, Message, Probed, Progress
from encoderd.encode.plan import EncodePlan, make_plan
from encoderd.encode.playback import read_back
from encoderd.encode.probe import demuxed, open_recording
from encoderd.encode.transcode import Transcode
from encoderd.encode.verify import decodes_all, judge, verdict
from encoderd.findings import Finding, blocking, failed

#: Version of the receipt's form; raised when a field changes its meaning.
RECEIPT_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A written partial file with the findings on it."""

    findings: list[Finding]
    receipt: dict[str, Any]

    def raise_if_unproven(self) -> None:
        """Raise EncodeFailed with the first failed finding, if any: nothing unproven is published."""
        for finding in blocking(self.findings):
            text = f"The output did not pass verification ({finding.check}): {finding.evidence}."
            if finding.check in _RECORDINGS_FAULT:
                raise rejected(text, remedy=finding.remedy)
            if finding.check in _ENCODERS_FAULT and self.receipt["asked"]["video"]["encoder"] == "h264_qsv":
                raise device(text, remedy="A GPU that hangs does this: dmesg | grep -i hang; then encoderd check")
            raise crashed(text, remedy=finding.remedy)


#: Failed checks that the recording itself explains; the same again would give the same.
_RECORDINGS_FAULT = frozenset({"source_read", "duration"})
#: Failed checks that a GPU explains which loses or spoils pictures and says nothing: libavcodec ignores the status of
#: a frame that was encoded, so a hang can be told by its output alone.
_ENCODERS_FAULT = frozenset({"frames", "decodes"})


def encode(request: EncodeRequest, say: Callable[[Message], None]) -> Judged:
    """
    Probe, plan, transcode, read back, judge.

    Raises:
        EncodeFailed: with its kind; the partial file is left for the caller to remove.
    """
    started_s = time.monotonic()
    with open_recording(request.source, request.size_bytes, request.mtime_ns) as recording:
        try:
            with demuxed(recording) as (source, media):
                say(_probed(media))
                plan = make_plan(media, request)
                facts = Transcode(source, media, plan, request.partial, say).run()
            encoded_s = time.monotonic() - started_s
            output, findings = _read_back(request, media, plan, facts, say)
        finally:
            # Before all else, a failure's own words too: what was read while it changed proves nothing.
            recording.check_unchanged()
    receipt = _receipt(request, media, plan, facts, output, findings)
    span_s = max((float(stream.end_s) for stream in facts.streams if stream.end_s is not None), default=0.0)
    receipt["encode_wall_s"] = round(encoded_s, 3)
    receipt["duration_s"] = round(span_s, 3)
    receipt["speed_x"] = round(span_s / encoded_s, 2) if encoded_s else 0.0
    receipt["fps"] = round(facts.packets_encoded / encoded_s, 1) if encoded_s else 0.0
    return Judged(findings=findings, receipt=receipt)


def _read_back(
    request: EncodeRequest,
    media: MediaInfo,
    plan: EncodePlan,
    facts: TranscodeFacts,
    say: Callable[[Message], None],
) -> tuple[OutputFacts | None, list[Finding]]:
    reported_s = 0.0

    def alive(share: float) -> None:
        """Say at most once a second which share (0…1) of the output has been read back."""
        nonlocal reported_s
        if time.monotonic() - reported_s >= 1.0:
            reported_s = time.monotonic()
            say(
                Progress(
                    phase="verifying",
                    out_time_s=0.0,
                    frames=facts.packets_encoded,
                    fps=0.0,
                    speed_x=0.0,
                    size_bytes=0,
                    done_ratio=round(share, 4),
                )
            )

    try:
        whole = decodes_all(request.verify, request.video.encoder)
        output = read_back(request.partial, plan.muxer, whole, alive)
    except (av.error.FFmpegError, OSError) as error:
        evidence = f"the output cannot be opened: {error}"
        return None, [failed("opens", evidence, "See the job's log: encoderd logs JOB")]
    return output, judge(media, plan, facts, output)


def _probed(media: MediaInfo) -> Probed:
    streams = [
        f"video {video.codec} {video.width}x{video.height} {float(video.frame_rate):.3f} frames/s (pid {video.pid:#x})"
        for video in media.video
    ]
    streams += [
        f"audio {audio.codec} {audio.sample_rate_hz} Hz {audio.layout} {audio.language} (pid {audio.pid:#x})"
        for audio in media.audio
    ]
    return Probed(format=media.format, duration_s=float(media.duration_s or 0), streams=[*streams, *media.other])


def _receipt(
    request: EncodeRequest,
    media: MediaInfo,
    plan: EncodePlan,
    facts: TranscodeFacts,
    output: OutputFacts | None,
    findings: list[Finding],
) -> dict[str, Any]:
    return {
        "receipt": RECEIPT_VERSION,
        "encoderd": __version__,
        "pyav": av.__version__,
        "ffmpeg": av.ffmpeg_version_info,
        "job": request.job,
        "verdict": str(verdict(findings)),
        "asked": _plain(asdict(request)),
        "granted": facts.granted,
        "differences": differences(plan.video.asked, facts.granted),
        "source": _plain(asdict(media)),
        "plan": _plain({"audio": [asdict(audio) for audio in plan.audio], "notes": list(plan.notes)}),
        "facts": _plain(asdict(facts)),
        "output": None if output is None else _plain(asdict(output)),
        "findings": [finding.as_json() for finding in findings],
    }


def _plain(value: Any) -> Any:
    """Return `value` as JSON can hold it: fractions become seconds or ratios with 6 digits."""
    if isinstance(value, Fraction):
        return round(float(value), 6)
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
