"""Whether all of a recording was read: its bytes, and the time that its container claims."""

from __future__ import annotations

from fractions import Fraction

from encoderd.encode.facts import StreamFacts, TranscodeFacts
from encoderd.encode.media import MediaInfo
from encoderd.findings import Finding, failed, passed, warned

#: The source's own claim of its duration is an estimate; beyond this much it is believed. Whichever is larger.
CLAIM_TOLERANCE_S = Fraction(2)
CLAIM_TOLERANCE_RATIO = Fraction(1, 100)
#: The last packet read must begin within this many bytes of the source's end.
TAIL_BYTES = 4 * 1024 * 1024
#: A file that lost more than this share of its bytes is none that was read to its end.
CUT_OFF_RATIO = Fraction(1, 50)
#: And within so many of it where the claim of the duration is not believed.
CLAIM_TAIL_BYTES = 256 * 1024

_WHOLE_COPY = "When it was copied here, copy it again; when the recorder wrote it so, it has no more than this."
_SOURCE = "Play the recording to its end, and compare it with the recorder's log."


def judge_source(media: MediaInfo, facts: TranscodeFacts) -> Finding:
    """Fail where bytes were never looked at or are not there; warn of few of them, and where the demuxer stopped."""
    if facts.last_position == 0 and not facts.read_error:
        return passed("source_read", "the container does not tell positions")
    left = media.content_end - facts.last_position
    if left > max(TAIL_BYTES, media.size_bytes // 50):
        return failed(
            "source_read",
            f"reading ended at byte {facts.last_position} of {media.size_bytes}: {left} bytes were never looked at"
            + (f" ({facts.read_error})" if facts.read_error else ""),
            _SOURCE,
        )
    text = f"to byte {facts.last_position} of {media.size_bytes}"
    if media.cut_off_bytes > (media.size_bytes + media.cut_off_bytes) * CUT_OFF_RATIO:
        return failed("source_read", f"{text}; {_cut_off(media)}", _WHOLE_COPY)
    if facts.read_error:
        return warned("source_read", f"{text}, where reading ended: {facts.read_error}", _SOURCE)
    if media.cut_off_bytes:
        return warned("source_read", f"{text}; {_cut_off(media)}", _WHOLE_COPY)
    return passed("source_read", text)


def judge_duration(media: MediaInfo, facts: TranscodeFacts, kept: list[StreamFacts]) -> Finding:
    """
    The container's own duration shows an encode that ended too early, where nothing else tells that all was read.

    It is no more than a claim: of transport and program streams FFmpeg makes it from the last stamps, one of which may
    be wild, and headers are written beforehand, or not again. What is in the file is what the recording has.
    """
    ends = [stream.end_s for stream in kept if stream.end_s is not None]
    if media.duration_s is None or not ends:
        return passed("duration", "the source claims no duration")
    made, claimed = max(ends), media.duration_s
    shown = f"{float(made):.3f} s made, {float(claimed):.3f} s claimed by the source"
    missing = claimed - made
    if abs(missing) <= max(CLAIM_TOLERANCE_S, claimed * CLAIM_TOLERANCE_RATIO):
        return passed("duration", shown)
    if missing > 0 and media.cut_off_bytes:
        return failed("duration", f"{shown}: {float(missing):.3f} s are missing; {_cut_off(media)}", _WHOLE_COPY)
    left = media.content_end - facts.last_position
    near_the_end = 0 < facts.last_position and left <= max(CLAIM_TAIL_BYTES, media.size_bytes // 50)
    if media.end_is_known and near_the_end and not facts.read_error:
        return passed("duration", f"{shown}; the recording was read to its end, so that claim is wrong")
    if facts.discontinuities:
        return warned("duration", f"{shown}; its clock jumps {len(facts.discontinuities)} times, so the claim is void")
    if missing > 0:
        return failed("duration", f"{shown}: {float(missing):.3f} s are missing", _SOURCE)
    return warned("duration", f"{shown}; more than was claimed")


def _cut_off(media: MediaInfo) -> str:
    return f"by its container it has {media.size_bytes + media.cut_off_bytes} bytes, so its end was cut off"
