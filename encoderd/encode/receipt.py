"""
The receipt: everything about one encode as one JSON object; `receipt.schema.json` beside this file describes its form.

Built from facts alone. The attempt adds where and when it was published (the schema marks those fields).
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from encoderd.encode.audio_plan import AudioPlan
from encoderd.encode.damage import Damage
from encoderd.encode.facts import TranscodeFacts
from encoderd.encode.granted import differences
from encoderd.encode.media import MediaInfo
from encoderd.encode.messages import EncodeRequest
from encoderd.encode.pictures import HDR
from encoderd.encode.plan import EncodePlan
from encoderd.encode.verify import verdict
from encoderd.encode.written import OutputFacts, ProofFacts
from encoderd.findings import Finding

#: Version of the receipt's form; raised when a field changes its meaning.
RECEIPT_VERSION = 2
#: Points of each series.
MOST_POINTS = 120
#: Jumps, gaps and chapters that are listed; all are counted.
MOST_LISTED = 100
#: Facts that the series are made of, and those that stand under "timeline".
_RAW = frozenset(
    {
        "places",
        "pace",
        "pauses",
        "discontinuity_count",
        "gap_count",
        "outlier_count",
        "duplicate_count",
        "largest_skew_s",
    }
)
#: What the recording's own part of the receipt leaves to others.
_TOLD_ELSEWHERE = frozenset({"service", "programme", "announced", "unheard", "first_byte", "end_byte"})
_COLOURS = ("color_primaries", "color_trc", "colorspace", "color_range")


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineFacts:
    """
    What became of the source's clock: jumps and gaps as {"at_s", "step_s", "stream", "kind"} in output time, the first
    ones of each, and how many there were. `duplicates` are packets that had another one's time.
    """

    discontinuities: Sequence[Mapping[str, Any]] = ()
    discontinuity_count: int = 0
    gaps: Sequence[Mapping[str, Any]] = ()
    gap_count: int = 0
    outlier_count: int = 0
    duplicate_count: int = 0
    largest_skew_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """
    The encode as a process: wall seconds of reading to trailer, seconds from the start of the child to the first
    encoded packet, and its largest resident memory in bytes. `pace` has rows of (output ms, wall ms, bytes written).
    """

    encode_wall_s: float
    startup_s: float
    peak_rss_bytes: int
    pace: Sequence[Sequence[int]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """The versions that made it."""

    encoderd: str
    pyav: str
    ffmpeg: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """Everything that one encode left behind. `captions` tells of the file beside the output, None without one."""

    build: Build
    request: EncodeRequest
    media: MediaInfo
    plan: EncodePlan
    facts: TranscodeFacts
    run: Run
    damage: Damage
    timeline: TimelineFacts = field(default_factory=TimelineFacts)
    output: OutputFacts | None = None
    proof: ProofFacts | None = None
    captions: Mapping[str, Any] | None = None
    chapters: Sequence[Mapping[str, Any]] = ()  # {"start_s", "title"}


def build(made: Made, findings: Sequence[Finding]) -> dict[str, Any]:
    """Return the receipt: plain JSON values, fractions as numbers with 6 digits."""
    request, media, plan, facts, run = made.request, made.media, made.plan, made.facts, made.run
    duration_s = max((float(stream.end_s) for stream in facts.streams if stream.end_s is not None), default=0.0)
    raw = asdict(facts)
    receipt = {
        "receipt": RECEIPT_VERSION,
        **asdict(made.build),
        "job": request.job,
        "verdict": str(verdict(findings)),
        "accepted": None,
        "duration_s": round(duration_s, 3),
        "encode_wall_s": round(run.encode_wall_s, 3),
        "speed_x": round(duration_s / run.encode_wall_s, 2) if run.encode_wall_s > 0 else 0.0,
        "fps": round(facts.packets_encoded / run.encode_wall_s, 1) if run.encode_wall_s > 0 else 0.0,
        "startup_s": round(run.startup_s, 3),
        "peak_rss_bytes": run.peak_rss_bytes,
        "asked": asdict(request),
        "granted": facts.granted,
        "differences": differences(plan.video.asked, facts.granted),
        "source": {name: value for name, value in asdict(media).items() if name not in _TOLD_ELSEWHERE},
        "programme": media.programme,
        "service": asdict(media.service),
        "plan": {
            "audio": [_audio_plan(audio) for audio in plan.audio],
            "notes": list(plan.notes),
            "left_out": [asdict(one) for one in plan.left_out],
        },
        "video": _video(media, plan, facts),
        "audio": _audio(media, plan, facts),
        "captions": _captions(plan, made.captions),
        "chapters": [{"start_s": one["start_s"], "title": one["title"]} for one in made.chapters[:MOST_LISTED]],
        "timeline": _timeline(made.timeline),
        "continuity": [{"pid": pid, **_counts(counts)} for pid, counts in made.damage.by_pid.items()],
        "damage": _damage(made.damage, request),
        "series": series(run.pace, made.damage, duration_s),
        "facts": {name: value for name, value in raw.items() if name not in _RAW},
        "output": None if made.output is None else asdict(made.output),
        "verification": _verification(request, made.output, made.proof),
        "findings": [finding.as_json() for finding in findings],
    }
    plain: dict[str, Any] = _plain(receipt)
    return plain


def series(pace: Sequence[Sequence[int]], damage: Damage, duration_s: float) -> dict[str, Any]:
    """
    Return speed, bit rate and damage over the output's time, in at most MOST_POINTS equal steps of `step_s` seconds.

    None stands where the speed cannot be told. What the muxer held back shows as bit rate when it was written.
    """
    points = min(MOST_POINTS, max(1, round(duration_s)))
    if duration_s <= 0:
        return {"step_s": 0.0, "speed_x": [], "bit_rate_bps": [], "damage": []}
    edges = np.linspace(0.0, duration_s * 1000, points + 1)
    speeds: list[float | None] = []
    rates: list[int] = []
    if len(pace) >= 2:
        rows = np.maximum.accumulate(np.asarray(pace, np.float64), axis=0)
        wall_ms, size = (np.interp(edges, rows[:, 0], rows[:, column]) for column in (1, 2))
        step_ms = duration_s * 1000 / points
        speeds = [round(step_ms / one, 2) if one > 0 else None for one in np.diff(wall_ms).tolist()]
        rates = [round(one * 8000 / step_ms) for one in np.diff(size).tolist()]
    return {
        "step_s": round(duration_s / points, 3),
        "speed_x": speeds,
        "bit_rate_bps": rates,
        "damage": _resampled(damage, duration_s, points),
    }


def _resampled(damage: Damage, duration_s: float, points: int) -> list[float]:
    """The damaged share of each step: what accumulated until its end, less what had until its beginning."""
    if not damage.series:
        return []
    ends = np.minimum(np.arange(len(damage.series) + 1) * damage.bucket_s, duration_s)
    damaged_s = np.concatenate(([0.0], np.cumsum(np.asarray(damage.series) * np.diff(ends))))
    edges = np.linspace(0.0, duration_s, points + 1)
    found = np.diff(np.interp(edges, ends, damaged_s)) / (duration_s / points)
    return [round(min(1.0, max(0.0, share)), 4) for share in found.tolist()]


def _video(media: MediaInfo, plan: EncodePlan, facts: TranscodeFacts) -> dict[str, Any]:
    video = plan.video
    source = next((one for one in media.video if one.index == video.index), None)
    colours = {name: getattr(video, name) for name in _COLOURS}
    untold = [] if source is None else [name for name in _COLOURS if getattr(source, name) == _untold(name)]
    return {
        "pid": 0 if source is None else source.pid,
        "codec": "" if source is None else source.codec,
        "width": video.width,
        "height": video.height,
        "sample_aspect_ratio": video.sample_aspect_ratio,
        "frame_rate": video.frame_rate,
        "source_frame_rate": video.source_rate or video.frame_rate,
        "deinterlace": str(video.deinterlacing.method),
        "deinterlace_why": video.deinterlacing.why,
        "tone_mapped": HDR.get(video.tone_mapped, ""),
        **colours,
        "colours_inferred": [name for name in untold if colours[name] != _untold(name)],
        "notes": list(video.notes),
        "geometry_changes": facts.geometry_changes,
        "frames_decoded": facts.frames_decoded,
        "frames_held": facts.frames_held,
        "frames_refused": facts.frames_refused,
        "frames_encoded": facts.frames_encoded,
    }


def _untold(name: str) -> int:
    """Return the number of ITU-T H.273, or of libavutil for the range, that says nothing."""
    return 0 if name == "color_range" else 2


def _audio(media: MediaInfo, plan: EncodePlan, facts: TranscodeFacts) -> list[dict[str, Any]]:
    pids = {audio.index: audio.pid for audio in media.audio}
    tracks = []
    for audio, stream in zip(plan.audio, facts.streams[1:], strict=False):
        tracks.append(
            {
                "pid": pids.get(audio.index, 0),
                "source_codec": audio.codec,
                "codec": audio.codec if audio.copied else "aac",
                "copied": audio.copied,
                "language": audio.language,
                "title": audio.title,
                "default": audio.default,
                "dispositions": audio.dispositions,
                "layout": audio.layout,
                "sample_rate_hz": audio.sample_rate_hz,
                "bit_rate_bps": audio.bit_rate_bps,
                "channel": audio.channel,
                "packets": stream.packets,
                "muxed": stream.muxed,
                "filled": stream.filled,
                "filled_s": stream.filled_s,
                "cut": stream.cut,
                "converted": stream.converted,
                "damaged": stream.damaged,
                "dropped": stream.dropped,
                "largest_skew_s": stream.largest_skew_s,
                "start_s": stream.start_s,
                "end_s": stream.end_s,
            }
        )
    return tracks


def _audio_plan(audio: AudioPlan) -> dict[str, Any]:
    return {name: value for name, value in asdict(audio).items() if name != "main"}  # "layout" says what counts


def _captions(plan: EncodePlan, beside: Mapping[str, Any] | None) -> dict[str, Any]:
    def told(captions: Sequence[Any]) -> list[dict[str, Any]]:
        return [{"pid": one.pid, "codec": one.codec, "language": one.language} for one in captions]

    return {
        "inside": told(plan.inside),
        "beside": told(plan.beside),
        "file": None if beside is None else dict(beside),
    }


def _timeline(timeline: TimelineFacts) -> dict[str, Any]:
    return {
        "largest_skew_s": timeline.largest_skew_s,
        "discontinuity_count": max(timeline.discontinuity_count, len(timeline.discontinuities)),
        "discontinuities": [dict(one) for one in timeline.discontinuities[:MOST_LISTED]],
        "gap_count": max(timeline.gap_count, len(timeline.gaps)),
        "gaps": [dict(one) for one in timeline.gaps[:MOST_LISTED]],
        "outlier_count": timeline.outlier_count,
        "duplicate_count": timeline.duplicate_count,
    }


def _counts(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: counts.get(name, 0) for name in ("packets", "lost", "errors", "scrambled")}


def _damage(damage: Damage, request: EncodeRequest) -> dict[str, Any]:
    return {
        "ratio": round(damage.ratio, 6),
        "limit": request.max_damage_ratio,
        "text": damage.text,
        "kinds": [
            {"kind": str(kind), **asdict(tally)} for kind, tally in damage.by_kind.items()
        ],
        "events": [{**asdict(event), "kind": str(event.kind)} for event in damage.events],
        "events_left_out": damage.events_left_out,
    }  # fmt: skip


def _verification(request: EncodeRequest, output: OutputFacts | None, proof: ProofFacts | None) -> dict[str, Any]:
    places = {spot.place for spot in output.spots} if output is not None else set()
    method = "beside" if "beside" in places else "all" if "all" in places else "places" if places else "none"
    seconds = () if proof is None else proof.seconds
    return {
        "asked": request.verify,
        "method": method,
        "frames_decoded": sum(spot.frames for spot in output.spots) if output is not None else 0,
        "pictures_compared": 0 if proof is None else proof.compared,
        "pictures_wrong": 0 if proof is None else proof.wrong,
        "worst_db": None if proof is None else proof.worst_db,
        "worst_at_s": None if proof is None else proof.worst_at_s,
        "psnr_db": statistics.median(second.psnr_db for second in seconds) if seconds else None,
        "ssim": statistics.median(second.ssim for second in seconds) if seconds else None,
        "seconds": [asdict(second) for second in seconds],
    }


def _plain(value: Any) -> Any:
    """Return `value` as JSON can hold it: fractions become seconds or ratios with 6 digits."""
    if isinstance(value, Fraction):
        return round(float(value), 6)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
