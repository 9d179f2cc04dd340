"""Judge a written file against what went in: findings, each with its tolerance. Exit code 0 is not success."""

from __future__ import annotations

from fractions import Fraction

from encoderd.encode.facts import OutputFacts, TranscodeFacts
from encoderd.encode.media import MediaInfo
from encoderd.encode.plan import EncodePlan
from encoderd.findings import Finding, failed, passed, warned

#: A stream of the output may begin or end this much beside what was muxed: rounding of container time bases.
STREAM_TOLERANCE_S = Fraction(1, 10)
#: The source's own claim of its duration is an estimate; beyond this much it is believed. Whichever is larger.
CLAIM_TOLERANCE_S = Fraction(2)
CLAIM_TOLERANCE_RATIO = Fraction(1, 100)
#: The last packet read must begin within this many bytes of the source's end.
TAIL_BYTES = 4 * 1024 * 1024
#: More damaged packets than this share are worth a warning.
DAMAGE_RATIO = Fraction(1, 1000)

_AGAIN = "Keep the recording, and see the job's log: encoderd logs JOB"
_SOURCE = "Play the recording to its end; if that is all there is of it, accept it by hand: encoderd encode IN OUT"


def judge(media: MediaInfo, plan: EncodePlan, facts: TranscodeFacts, output: OutputFacts) -> list[Finding]:
    """Return all findings; a FAIL among them means that the file must not be published."""
    streams = _streams(plan, facts, output)
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
        _damage(facts),
    ]


def _streams(plan: EncodePlan, facts: TranscodeFacts, output: OutputFacts) -> Finding:
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
    if facts.last_position == 0:
        return passed("source_read", "the container does not tell positions")
    left = media.size_bytes - facts.last_position
    if left > max(TAIL_BYTES, media.size_bytes // 50):
        return failed(
            "source_read",
            f"reading ended at byte {facts.last_position} of {media.size_bytes}: {left} bytes were never looked at",
            _SOURCE,
        )
    return passed("source_read", f"to byte {facts.last_position} of {media.size_bytes}")


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


def _damage(facts: TranscodeFacts) -> Finding:
    packets = sum(stream.packets for stream in facts.streams)
    damaged = facts.corrupt_packets + facts.decode_errors
    text = (
        f"{facts.corrupt_packets} corrupt packets, {facts.decode_errors} that could not be decoded, "
        f"{facts.corrupt_frames} damaged frames, {len(facts.discontinuities)} clock jumps, "
        f"{sum(stream.dropped for stream in facts.streams)} dropped"
    )
    if packets and Fraction(damaged, packets) > DAMAGE_RATIO:
        return warned("damage", text, "The recording itself is damaged; compare with the recorder's drop log.")
    return passed("damage", text)


def _list(names: list[str]) -> str:
    return " + ".join(names) or "no streams"
