"""Judge a written file against what went in: findings, each with its tolerance. Exit code 0 is not success."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from fractions import Fraction
from typing import Any

from encoderd.encode import granted
from encoderd.encode.accounting import judge_captions, judge_left_out
from encoderd.encode.damage import Damage
from encoderd.encode.facts import StreamFacts, TranscodeFacts
from encoderd.encode.media import MediaInfo, never_sent
from encoderd.encode.pictures import HDR
from encoderd.encode.plan import NO_BASE, PLAY_IT, EncodePlan
from encoderd.encode.sound_check import codec_of_track, judge_sound, with_empty_tracks
from encoderd.encode.source_check import judge_duration, judge_source
from encoderd.encode.tags import judge_tags
from encoderd.encode.written import OutputFacts, OutputStream, ProofFacts
from encoderd.findings import Finding, Verdict, failed, passed, warned

#: A stream of the output may begin or end this much beside what was muxed: rounding of container time bases.
STREAM_TOLERANCE_S = Fraction(1, 10)
#: More damaged packets, or more of the time damaged or missing, than this share are worth a warning.
DAMAGE_RATIO = Fraction(1, 1000)
#: Sound this far beside its picture is noticed by nobody. Source: ITU-R BT.1359-1 has the first notice at 45 ms.
SKEW_TOLERANCE_S = Fraction(1, 50)
#: The earliest stream begins at zero, give or take one picture; and a packet of AAC, whose first one only primes.
START_TOLERANCE_S = Fraction(1, 25)
#: Sound that is encoded anew ends a packet or two beside its source's, and these may last 0.1 s (WMA at 22 kHz).
TOLD_TOLERANCE_S = Fraction(1, 2)
#: A track that ends so much before or after the pictures is told.
END_TOLERANCE_S = Fraction(2)
#: Matroska keeps whole pixels of the display size; the sample aspect ratio that comes out of it is rounded.
ASPECT_TOLERANCE = Fraction(1, 100)
#: A median PSNR of the sampled seconds below this is no copy that anyone wants: quality 51 has 26 dB (measured).
LEAST_PSNR_DB = 20.0
#: Pictures that are so much more like their neighbour, and so little like themselves, are out of place. At 20 kb/s
#: neighbours are up to 1.8 dB nearer (measured).
NEARER_DB, UNLIKE_DB = 3.0, 30.0
#: Checks whose doubt is about a wish and not about the output: it is as good a copy of the recording as was asked for.
ABOUT_A_WISH = frozenset({"granted"})

_AGAIN = "Keep the recording, and see the job's log: encoderd logs JOB"


Pair = tuple[StreamFacts, OutputStream]  # what was muxed, and what is in the file


def judge(
    media: MediaInfo,
    plan: EncodePlan,
    facts: TranscodeFacts,
    output: OutputFacts,
    *,
    damage: Damage | None = None,
    proof: ProofFacts | None = None,
    captions: Mapping[str, Any] | None = None,
) -> list[Finding]:
    """
    Return all findings; a FAIL among them means that the file must not be published.

    `captions` tells of the file beside the output, as the receipt does.
    """
    output = with_empty_tracks(plan, facts, output)
    streams = _streams(media, plan, facts, output, {} if damage is None else damage.by_pid)
    found = _pictures_and_sound(output)
    if len(found) != 1 + len(plan.audio):  # nothing else can be compared
        return [streams]
    pairs = list(zip(facts.streams, found, strict=False))  # captions come behind them
    return [
        streams,
        judge_sound(media, plan, facts, {} if damage is None else damage.by_pid),
        _frames(facts, output),
        _durations(pairs),
        _timeline(plan, facts, output, pairs),
        _audio(pairs),
        judge_source(media, facts),
        judge_duration(media, facts, [muxed for muxed, _ in pairs]),
        _decoded(output),
        *([] if proof is None else [_likeness(facts, proof)]),
        _skew(pairs),
        _geometry(plan, output),
        _dynamic_range(plan),
        judge_tags(plan, output, None if media.duration_s is None else int(media.duration_s * 1000)),
        judge_captions(plan, facts, output, captions, () if damage is None else damage.by_pid),
        judge_left_out(plan),
        _damage(media, facts, damage),
        _rate_control(plan, facts),
        _granted(plan, facts),
    ]


def _pictures_and_sound(output: OutputFacts) -> list[OutputStream]:
    """The streams that are compared: not captions, and not the track that MP4 keeps chapters in."""
    return [stream for stream in output.streams if stream.kind in {"video", "audio"}]


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


def _streams(
    media: MediaInfo, plan: EncodePlan, facts: TranscodeFacts, output: OutputFacts, sent: Collection[int]
) -> Finding:
    """`sent` are the PIDs that the transport stream has packets of; empty where none were counted."""
    wanted = ["h264", *map(codec_of_track, plan.audio)]
    written = _pictures_and_sound(output)
    found = [stream.codec for stream in written]
    if found != wanted:
        return failed("streams", f"the output has {_list(found)}, planned were {_list(wanted)}", _AGAIN)
    empty = [
        number
        for number, (muxed, stream) in enumerate(zip(facts.streams, written, strict=False))
        if stream.packets == 0 and muxed.muxed
    ]
    if empty:
        return failed("streams", f"stream {empty[0]} of the output is empty, its source is not", _AGAIN)
    if (output.width, output.height) != (plan.video.width, plan.video.height):
        return failed(
            "streams",
            f"pictures are {output.width}×{output.height}, planned were {plan.video.width}×{plan.video.height}",
            _AGAIN,
        )
    absent = {} if facts.read_error else never_sent(media, sent)
    text = "; ".join([_list(found), *absent.values()])
    return passed("streams", text)


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
    lost = facts.frames_due - facts.frames_filtered
    if lost:
        return warned("frames", f"{counts}; {lost} of {facts.frames_due} were lost in the filters", _AGAIN)
    return passed("frames", counts)


def _durations(pairs: list[Pair]) -> Finding:
    worst, shown = Fraction(0), []
    for number, (muxed, stream) in enumerate(pairs):
        if muxed.start_s is None or muxed.end_s is None or stream.start_s is None or stream.end_s is None:
            continue
        span, found = muxed.end_s - muxed.start_s, stream.end_s - stream.start_s
        worst = max(worst, abs(span - found))
        shown.append(f"{number}: {float(found):.3f} s of {float(span):.3f} s")
    if worst > STREAM_TOLERANCE_S:
        return failed("durations", ", ".join(shown) + f" (tolerance {float(STREAM_TOLERANCE_S)} s)", _AGAIN)
    return passed("durations", ", ".join(shown))


def _timeline(plan: EncodePlan, facts: TranscodeFacts, output: OutputFacts, pairs: list[Pair]) -> Finding:
    """One clock for all streams: from zero, never back, and nothing moved from where the source had it."""
    backward = sum(stream.backward for _, stream in pairs)
    if backward or output.repeated_pts:
        text = f"{backward} packets are not later than the one before, {output.repeated_pts} pictures share a time"
        return failed("timeline", text, _AGAIN)
    start_s = min((stream.start_s for _, stream in pairs if stream.start_s is not None), default=Fraction(0))
    skew_s = max((stream.largest_skew_s for stream in facts.streams), default=Fraction(0))
    text = f"from {float(start_s):.3f} s, {len(facts.discontinuities)} clock jumps, moved by {_ms(skew_s)} at most"
    one_picture_s = 1 / plan.video.frame_rate if plan.video.frame_rate else Fraction(0)
    if skew_s > SKEW_TOLERANCE_S or abs(start_s) > max(one_picture_s, START_TOLERANCE_S):
        return warned("timeline", text, "Play the output around its clock jumps (encoderd queue show JOB).")
    return passed("timeline", text)


def _audio(pairs: list[Pair]) -> Finding:
    """Where each track ends: by the recording's own stamps, and against the pictures."""
    video_end_s, shown, doubted, wrong = pairs[0][1].end_s, [], False, False
    for number, (muxed, stream) in enumerate(pairs[1:], start=1):
        if stream.end_s is None or video_end_s is None:
            shown.append(f"track {number} is empty")
            doubted = doubted or bool(muxed.packets)
            continue
        late_s = stream.end_s - video_end_s
        side = "after" if late_s > 0 else "before"
        shown.append(f"track {number} ends {abs(float(late_s)):.3f} s {side} the pictures")
        lost = muxed.dropped or muxed.damaged
        beside_s = _beside_its_stamps(muxed, stream.end_s)
        if beside_s > TOLD_TOLERANCE_S or (beside_s < -TOLD_TOLERANCE_S and not lost):
            side = "after" if beside_s > 0 else "before"
            shown[-1] += f", {abs(float(beside_s)):.3f} s {side} the end that the recording tells"
            wrong = True
        elif abs(late_s) > END_TOLERANCE_S:
            shown[-1] += "" if lost else ", as in the recording"
            doubted = doubted or bool(lost)
    text = ", ".join(shown) or "no sound"
    if wrong:
        return failed("audio", text, _AGAIN)
    if doubted:
        return warned("audio", text, "Play the end of the output; when that sound is needed, keep the recording.")
    return passed("audio", text)


def _beside_its_stamps(muxed: StreamFacts, end_s: Fraction) -> Fraction:
    """Return how much later a track ends than the recording tells: by its last stamp, or by its packets' lengths."""
    told = (muxed.told_end_s, muxed.told_by_length_s)
    return min((end_s - one for one in told if one is not None), key=abs, default=Fraction(0))


def _geometry(plan: EncodePlan, output: OutputFacts) -> Finding:
    """Shape and colours as a player takes them; a file that tells neither is read as square and limited."""
    tags, video = output.tags, plan.video
    if tags is None:
        return passed("geometry", "not read back")
    planned, found = video.sample_aspect_ratio or Fraction(1), tags.sample_aspect_ratio or Fraction(1)
    text = f"{output.width}×{output.height}, samples {found.numerator}:{found.denominator}"
    text += f", matrix {tags.colorspace}, range {tags.color_range}"
    if abs(found / planned - 1) > ASPECT_TOLERANCE:
        return failed("geometry", f"{text}; planned were samples {planned.numerator}:{planned.denominator}", _AGAIN)
    names = ("color_primaries", "color_trc", "colorspace", "color_range")
    wanted = [getattr(video, name) for name in names]
    told = [getattr(tags, name) for name in names]
    if any(one not in {2, other} for one, other in zip(wanted[:3], told, strict=False)) or (
        (wanted[3] or 1) != (told[3] or 1)
    ):
        text += f"; planned were primaries, transfer, matrix, range {wanted}, in the file are {told}"
        return warned("geometry", text, "Compare the colours of output and recording; when they differ, keep it.")
    return passed("geometry", text)


def _dynamic_range(plan: EncodePlan) -> Finding:
    """High dynamic range in 8 bits has bands, and most players show its H.264 pale."""
    video = plan.video
    if video.own_colours:
        return failed("dynamic_range", f"the pictures are {video.own_colours}, {NO_BASE}", PLAY_IT)
    if video.color_trc in HDR:
        text = f"{HDR[video.color_trc]} kept as tagged, in 8 bits and without tone mapping"
        return warned("dynamic_range", text, 'Keep the recording, or encode it again with encode.tonemap = "auto".')
    return passed("dynamic_range", f"{HDR[video.tone_mapped]} mapped to BT.709" if video.tone_mapped else "standard")


def _likeness(facts: TranscodeFacts, proof: ProofFacts) -> Finding:
    """The pictures that come out are those that went in; only this sees a GPU that encodes other ones."""
    remedy = "An encoder that spoils pictures is not sound: encoderd check"
    if proof.wrong:
        worst = "" if proof.worst_db is None else f"; the worst has {proof.worst_db:.1f} dB at {proof.worst_at_s} s"
        at = f"the first at {proof.wrong_at_s} s{worst}"
        text = f"{proof.wrong} of {proof.compared} pictures are other ones than went in, {at}"
        return failed("likeness", text, remedy)
    moved = [
        second for second in proof.seconds
        if second.thin_db < UNLIKE_DB and second.beside_db > second.thin_db + NEARER_DB
    ]  # fmt: skip
    if moved and len(moved) * 4 >= len(proof.seconds):
        text = f"from {moved[0].at_s:.0f} s on pictures are their neighbours: {moved[0].beside_db:.1f} dB against"
        return failed("likeness", f"{text} {moved[0].thin_db:.1f} dB with themselves", remedy)
    text = f"{proof.compared} pictures compared"
    if proof.seconds:
        psnr_db = sorted(second.psnr_db for second in proof.seconds)
        ssim = sorted(second.ssim for second in proof.seconds)
        text += f", {len(proof.seconds)} seconds closely: PSNR {psnr_db[len(psnr_db) // 2]:.1f} dB"
        text += f" (lowest {psnr_db[0]:.1f}), SSIM {ssim[len(ssim) // 2]:.3f} (lowest {ssim[0]:.3f})"
        if psnr_db[len(psnr_db) // 2] < LEAST_PSNR_DB:
            return warned("likeness", text, "Look at the output; a better quality or a higher bit rate helps.")
    if proof.compared * 10 < facts.frames_encoded * 9 and not proof.error:
        return warned("likeness", f"{text}, of {facts.frames_encoded}", _AGAIN)
    return passed("likeness", text)


def _decoded(output: OutputFacts) -> Finding:
    bad = [spot for spot in output.spots if spot.error]
    if bad or not output.spots:
        text = "; ".join(f"{spot.place} ({spot.at_s:.3f} s): {spot.error}" for spot in bad) or "nothing to decode"
        return failed("decodes", text, _AGAIN)
    return passed("decodes", ", ".join(f"{spot.place}: {spot.frames} frames" for spot in output.spots))


def _skew(pairs: list[Pair]) -> Finding:
    """Where each audio begins against the video, before and after."""
    moves = [
        stream.start_s - muxed.start_s
        for muxed, stream in pairs
        if stream.start_s is not None and muxed.start_s is not None
    ]
    worst = max((abs(move - moves[0]) for move in moves), default=Fraction(0))
    text = f"audio begins {_ms(worst)} beside where the source had it, at most"
    if worst > STREAM_TOLERANCE_S:
        return failed("skew", text, _AGAIN)
    return passed("skew", text)


def _damage(media: MediaInfo, facts: TranscodeFacts, assessed: Damage | None) -> Finding:
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
    ratio = 0.0
    if assessed is not None:
        ratio = assessed.ratio
        text = f"{ratio:.2%} of the time is damaged or missing: {assessed.text or text}"
    if media.scrambled_ratio:
        text += f", {media.scrambled_ratio:.1%} scrambled"
    if (
        max(ratio, media.scrambled_ratio, missing_s / made_s if made_s else 0.0) > DAMAGE_RATIO
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
    return sum((float(gap["step_s"]) for gap in facts.gaps if gap["stream"] == number), 0.0)


def _ms(seconds: Fraction) -> str:
    return f"{float(seconds) * 1000:.0f} ms"


def _list(names: list[str]) -> str:
    return " + ".join(names) or "no streams"
