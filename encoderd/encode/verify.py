"""Judge a written file against what went in: findings, each with its tolerance. Exit code 0 is not success."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

from encoderd.encode import granted
from encoderd.encode.facts import OutputFacts, TranscodeFacts
from encoderd.encode.media import MediaInfo
from encoderd.encode.plan import EncodePlan
from encoderd.findings import Finding, Verdict, failed, passed, warned

#: A stream of the output may begin or end this much beside what was muxed: rounding of container time bases.
STREAM_TOLERANCE_S = Fraction(1, 10)
#: The source's own claim of its duration is an estimate; beyond this much it is believed. Whichever is larger.
CLAIM_TOLERANCE_S = Fraction(2)
CLAIM_TOLERANCE_RATIO = Fraction(1, 100)
#: The last packet read must begin within this many bytes of the source's end.
TAIL_BYTES = 4 * 1024 * 1024
#: More damaged packets than this share are worth a warning.
DAMAGE_RATIO = Fraction(1, 1000)
#: Checks whose doubt is about a wish and not about the output: it is as good a copy of the recording as was asked for.
ABOUT_A_WISH = frozenset({"granted"})

_AGAIN = "Keep the recording, and see the job's log: encoderd logs JOB"
_SOURCE = "Play the recording to its end; if that is all there is of it, accept it by hand: encoderd encode IN OUT"


def judge(media: MediaInfo, plan: EncodePlan, facts: TranscodeFacts, output: OutputFacts) -> list[Finding]:
    """Return all findings; a FAIL among them means that the file must not be published."""
    streams = _streams(media, plan, facts, output)
    if len(output.streams) != len(facts.streams):  # nothing else can be compared
        return [streams]
    return [
        streams,
        _frames(facts, output),
        _durations(facts, output),
        _whole_source(media, facts),
        _claim(media, facts),
        _decoded(output),
        _skew(facts, output),
        _damage(media, facts),
        _rate_control(plan, facts),
        _granted(plan, facts),
    ]


def decodes_all(wish: str, encoder: str) -> bool:
    """
    Say whether all of an output has to be decoded; `wish` is "auto", "quick" or "full".

    A GPU can spoil a picture in the middle and say nothing: libavcodec ignores the status of SyncOperation, and a
    bitstream that is cut off has the right number of packets. Only a decoder sees it: of 600 packets that were cut
    short, strict decoding missed those that lacked their last bytes alone (CABAC's padding), and no other.
    """
    return wish == "full" or (wish == "auto" and encoder != "libx264")


def verdict(findings: Iterable[Finding]) -> Verdict:
    """Return the worst judgement on the output itself: what a recording's removal may rest on."""
    on_output = (finding.verdict for finding in findings if finding.check not in ABOUT_A_WISH)
    return max(on_output, key=list(Verdict).index, default=Verdict.PASS)


def _streams(media: MediaInfo, plan: EncodePlan, facts: TranscodeFacts, output: OutputFacts) -> Finding:
    kept = {audio.index for audio in plan.audio}
    wanted = ["h264", *("aac" if not audio.copied else audio.codec for audio in plan.audio)]
    found = [stream.codec for stream in output.streams]
    if found != wanted:
        return failed("streams", f"the output has {_list(found)}, planned were {_list(wanted)}", _AGAIN)
    empty = [
        number
        for number, (muxed, stream) in enumerate(zip(facts.streams, output.streams, strict=True))
        if stream.packets == 0 and muxed.packets
    ]
    if empty:
        return failed("streams", f"stream {empty[0]} of the output is empty, its source is not", _AGAIN)
    if (output.width, output.height) != (plan.video.width, plan.video.height):
        return failed(
            "streams",
            f"pictures are {output.width}×{output.height}, planned were {plan.video.width}×{plan.video.height}",
            _AGAIN,
        )
    lost = [f"audio stream {audio.index} ({audio.codec})" for audio in media.audio if audio.index not in kept]
    lost += [other for other in media.other if other.startswith("unknown audio")]
    if lost:
        text = f"{_list(found)}; left out: {', '.join(lost)}, which cannot be decoded"
        return warned("streams", text, "Play the recording; when that sound is needed, keep the recording.")
    return passed("streams", _list(found))


def _frames(facts: TranscodeFacts, output: OutputFacts) -> Finding:
    written = next((stream.packets for stream in output.streams if stream.kind == "video"), 0)
    counts = f"{facts.frames_encoded} frames to the encoder, {facts.packets_encoded} back, {written} in the file"
    if facts.frames_encoded == 0:
        return failed(
            "frames",
            f"no picture could be decoded ({facts.decode_errors} errors in {facts.streams[0].packets} packets)",
            "The recording has no usable video; look into the recorder's log.",
        )
    if not facts.frames_encoded == facts.packets_encoded == written:
        return failed("frames", counts, "An encoder that loses frames is not sound: encoderd check")
    lost = facts.frames_decoded - facts.frames_refused - facts.streams[0].dropped - facts.frames_encoded
    if lost:
        return warned("frames", f"{counts}; {lost} of {facts.frames_decoded} were lost in the filters", _AGAIN)
    return passed("frames", counts)


def _durations(facts: TranscodeFacts, output: OutputFacts) -> Finding:
    worst, shown = Fraction(0), []
    for number, (muxed, stream) in enumerate(zip(facts.streams, output.streams, strict=True)):
        if muxed.start_s is None or muxed.end_s is None or stream.start_s is None or stream.end_s is None:
            continue
        span, found = muxed.end_s - muxed.start_s, stream.end_s - stream.start_s
        worst = max(worst, abs(span - found))
        shown.append(f"{number}: {float(found):.3f} s of {float(span):.3f} s")
    if worst > STREAM_TOLERANCE_S:
        return failed("durations", ", ".join(shown) + f" (tolerance {float(STREAM_TOLERANCE_S)} s)", _AGAIN)
    return passed("durations", ", ".join(shown))


def _whole_source(media: MediaInfo, facts: TranscodeFacts) -> Finding:
    if facts.last_position == 0 and not facts.read_error:
        return passed("source_read", "the container does not tell positions")
    left = media.size_bytes - facts.last_position
    if left > max(TAIL_BYTES, media.size_bytes // 50):
        return failed(
            "source_read",
            f"reading ended at byte {facts.last_position} of {media.size_bytes}: {left} bytes were never looked at"
            + (f" ({facts.read_error})" if facts.read_error else ""),
            _SOURCE,
        )
    text = f"to byte {facts.last_position} of {media.size_bytes}"
    if facts.read_error:
        return warned("source_read", f"{text}, where reading ended: {facts.read_error}", _SOURCE)
    return passed("source_read", text)


def _claim(media: MediaInfo, facts: TranscodeFacts) -> Finding:
    """The container's own duration is independent of our reading: it shows an encode that ended too early."""
    ends = [stream.end_s for stream in facts.streams if stream.end_s is not None]
    if media.duration_s is None or not ends:
        return passed("duration", "the source claims no duration")
    made, claimed = max(ends), media.duration_s
    shown = f"{float(made):.3f} s made, {float(claimed):.3f} s claimed by the source"
    missing = claimed - made
    if abs(missing) <= max(CLAIM_TOLERANCE_S, claimed * CLAIM_TOLERANCE_RATIO):
        return passed("duration", shown)
    if facts.discontinuities:
        return warned("duration", f"{shown}; its clock jumps {len(facts.discontinuities)} times, so the claim is void")
    if missing > 0:
        return failed("duration", f"{shown}: {float(missing):.3f} s are missing", _SOURCE)
    return warned("duration", f"{shown}; more than was claimed")


def _decoded(output: OutputFacts) -> Finding:
    bad = [spot for spot in output.spots if spot.error]
    if bad or not output.spots:
        text = "; ".join(f"{spot.place} ({spot.at_s:.3f} s): {spot.error}" for spot in bad) or "nothing to decode"
        return failed("decodes", text, _AGAIN)
    return passed("decodes", ", ".join(f"{spot.place}: {spot.frames} frames" for spot in output.spots))


def _skew(facts: TranscodeFacts, output: OutputFacts) -> Finding:
    """Where each audio begins against the video, before and after."""
    moves = [
        stream.start_s - muxed.start_s
        for muxed, stream in zip(facts.streams, output.streams, strict=True)
        if stream.start_s is not None and muxed.start_s is not None
    ]
    worst = max((abs(move - moves[0]) for move in moves), default=Fraction(0))
    text = f"audio begins {float(worst) * 1000:.0f} ms beside where the source had it, at most"
    if worst > STREAM_TOLERANCE_S:
        return failed("skew", text, _AGAIN)
    return passed("skew", text)


def _damage(media: MediaInfo, facts: TranscodeFacts) -> Finding:
    packets = sum(stream.packets for stream in facts.streams)
    dropped = sum(stream.dropped for stream in facts.streams) + facts.frames_refused
    damaged = facts.corrupt_packets + facts.decode_errors + facts.corrupt_frames + dropped
    text = (
        f"{facts.corrupt_packets} corrupt packets, {facts.decode_errors} that could not be decoded, "
        f"{facts.corrupt_frames} damaged frames, {len(facts.discontinuities)} clock jumps, "
        f"{dropped} dropped"
    )
    missing_s = max((_gaps_s(facts, number) for number in range(len(facts.streams))), default=0.0)
    if missing_s:
        text += f", {len(facts.gaps)} gaps that take up to {missing_s:.1f} s from a stream"
    made_s = max((float(stream.end_s) for stream in facts.streams if stream.end_s is not None), default=0.0)
    if media.scrambled_ratio:
        text += f", {media.scrambled_ratio:.1%} scrambled"
    if (
        max(media.scrambled_ratio, missing_s / made_s if made_s else 0.0) > DAMAGE_RATIO
        or Fraction(damaged, packets or 1) > DAMAGE_RATIO
    ):
        return warned("damage", text, "The recording itself is damaged; compare with the recorder's drop log.")
    return passed("damage", text)


def _rate_control(plan: EncodePlan, facts: TranscodeFacts) -> Finding:
    """Another quality or bit rate than was asked for: a recording that is deleted next could not be encoded again."""
    names = ("rate_control", "quality", "bitrate_bps", "max_bitrate_bps")
    text = ", ".join(f"{name} {facts.granted[name]}" for name in names if name in facts.granted)
    other = granted.other_rates(plan.video.asked, facts.granted)
    if other:
        remedy = "Ask for what this GPU has: encode.rate_control; encoderd check tells what it lacks."
        return warned("rate_control", "; ".join(other), remedy)
    return passed("rate_control", text or "the encoder does not tell")


def _granted(plan: EncodePlan, facts: TranscodeFacts) -> Finding:
    """What is left of the differences: B-frames, key frames, look-ahead, preset, profile, which of the encoders."""
    rates = granted.other_rates(plan.video.asked, facts.granted)
    other = [text for text in granted.differences(plan.video.asked, facts.granted) if text not in rates]
    if other:
        remedy = "Ask for what is granted, or see encoderd check for what the GPU lacks."
        return warned("granted", "; ".join(other), remedy)
    return passed("granted", "the encoder does what was asked of it, as far as it tells")


def _gaps_s(facts: TranscodeFacts, number: int) -> float:
    """Seconds without a packet in the stream of that number, in all."""
    return sum(gap["step_s"] for gap in facts.gaps if gap["stream"] == number)


def _list(names: list[str]) -> str:
    return " + ".join(names) or "no streams"
