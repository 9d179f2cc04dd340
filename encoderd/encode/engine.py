"""One recording, from its open descriptor to a judged partial file and its receipt. Runs in the child."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import av.error

from encoderd import __version__
from encoderd.encode.chapters import Chapters
from encoderd.encode.companions import read_chapters
from encoderd.encode.damage import MAIN_SOUND, Damage, Kind
from encoderd.encode.failures import EncodeFailed, crashed, device, for_job, not_wanted, rejected
from encoderd.encode.finishing import finish_movie
from encoderd.encode.left_out import arrived
from encoderd.encode.media import AudioInfo, MediaInfo, VideoInfo
from encoderd.encode.memory import give_back_memory, keep_large_apart
from encoderd.encode.messages import EncodeRequest, Message, Probed, Progress
from encoderd.encode.open_source import OpenSource
from encoderd.encode.pauses import witnessed
from encoderd.encode.picture_times import Allowed, OutputTimes, judge_times
from encoderd.encode.plan import EncodePlan, make_plan
from encoderd.encode.playback import read_back
from encoderd.encode.projection import Projection
from encoderd.encode.receipt import Build, Made, Run, TimelineFacts, build
from encoderd.encode.reception import Places, Reception, counts_by_pid, note_reception, recorded_s, sent_s
from encoderd.encode.sound_check import heard_tracks, lost_sound
from encoderd.encode.sound_trial import with_writable_sound
from encoderd.encode.transcode import NOT_WANTED_REMEDY, Transcode, Transcoded
from encoderd.encode.verify import decodes_all, judge
from encoderd.encode.written import OutputFacts
from encoderd.findings import Finding, blocking, failed

#: A recording is longer than what was made of it by more than this.
LEAST_MISSING_S = 2.0
#: So many pictures' time may lie between the sending of one and its showing.
SENT_AHEAD = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A written partial file with the findings on it."""

    findings: list[Finding]
    receipt: dict[str, Any]

    def raise_if_unproven(self) -> None:
        """
        Raise EncodeFailed for the first reason not to publish, if any: one that nobody can accept before those that
        can be. What was accepted is no reason.
        """
        if self.receipt["accepted"] is None:
            found = [failure for _, _, failure in self._refusals()]
            for failure in sorted(found, key=lambda failure: failure.acceptable):
                raise failure

    def accepting(self) -> Judged:
        """Return the same with its refusals accepted, where the recording is to blame for each of them."""
        found = self._refusals()
        if not found or not all(failure.acceptable for _, _, failure in found):
            return self
        accepted = [{"check": check, "evidence": evidence} for check, evidence, _ in found]
        return replace(self, receipt={**self.receipt, "accepted": accepted})

    def _refusals(self) -> list[tuple[str, str, EncodeFailed]]:
        """Return check, evidence and failure: of each finding that fails, and of too much damage."""
        asked, damage = self.receipt["asked"], self.receipt["damage"]
        found = [
            (finding.check, finding.evidence, _refused(finding, asked["video"]["encoder"]))
            for finding in blocking(self.findings)
        ]
        if damage["ratio"] > damage["limit"]:
            text = (
                f"Too much of this recording is damaged: {damage['ratio']:.0%} of its time (encode.max_damage_ratio is "
                f"{damage['limit']:g}): {damage['text']}."
            )
            remedy = "Look at the antenna and into the recorder's log."
            found.append(("damage", damage["text"], rejected(text, remedy=remedy, acceptable=True)))
        return found


def _refused(finding: Finding, encoder: str) -> EncodeFailed:
    text = f"The output did not pass verification ({finding.check}): {finding.evidence}."
    if finding.check in _RECORDINGS_FAULT:
        return rejected(text, remedy=finding.remedy, acceptable=True)
    if finding.check in _ENCODERS_FAULT and encoder == "h264_qsv":
        return device(text, remedy="A GPU that hangs does this: dmesg | grep -i hang; then encoderd check")
    return crashed(text, remedy=finding.remedy)


#: Failed checks that the recording itself explains: the same again would give the same, and it can be accepted.
_RECORDINGS_FAULT = frozenset({"source_read", "duration", "sound", "audio", "dynamic_range"})
#: Failed checks that a GPU explains which loses or spoils pictures and says nothing: libavcodec ignores the status of
#: a frame that was encoded, so a hang can be told by its output alone.
_ENCODERS_FAULT = frozenset({"frames", "decodes", "likeness"})


def encode(
    request: EncodeRequest,
    say: Callable[[Message], None],
    process_started_s: float | None = None,
    opened: OpenSource | None = None,
) -> Judged:
    """
    Plan, transcode, read back, judge; before that open the recording, unless that was done. `opened` is closed.

    `process_started_s` is on the monotonic clock; without it the encode begins now.

    Raises:
        EncodeFailed: with its kind; the partial file is left for the caller to remove.
    """
    started_s = time.monotonic()
    with opened or OpenSource(request) as opened:
        try:
            source = opened.source
            assert source is not None
            media = source.media
            say(_probed(media))
            chapters = read_chapters(Path(request.chapters)) if request.chapters else Chapters()
            plan = make_plan(media, request, opened.looks, source.examples, chapters)
            plan = with_writable_sound(plan, request, source.container)
            give_back_memory()
            pcr_pids = source.pcr_pids
            transcode = Transcode(source, opened.recording.fd, plan, request, say, process_started_s)
            done = transcode.run()
            reception = transcode.reception
            del transcode, source  # with them go decoders, filters and encoders
            opened.close_container()
            give_back_memory()
            keep_large_apart()
            if done.segments:
                finish_movie(request.partial, done.segments, _alive(done, say, "finishing"))
            encoded_s = time.monotonic() - started_s
            damage = _assessed(media, done, reception, pcr_pids)
            if reception is not None:
                done.times.sent_s = sent_s(reception.counter, pcr_pids, media.content_end)
            done = replace(done, plan=replace(done.plan, left_out=arrived(done.plan.left_out, damage.by_pid)))
            output, findings = _read_back(request, media, done, damage, say)
        finally:
            # Before all else, a failure's own words too: what was read while it changed proves nothing.
            opened.recording.check_unchanged()
    if request.job:
        findings = [replace(finding, remedy=for_job(finding.remedy, request.job)) for finding in findings]
    if output is not None:
        too_large = Projection(media.size_bytes, request.max_size_ratio).judge_final(output.size_bytes)
        if too_large and not blocking(findings):
            raise not_wanted(too_large, NOT_WANTED_REMEDY)
    facts = done.facts
    made = Made(
        build=Build(encoderd=__version__, pyav=av.__version__, ffmpeg=av.ffmpeg_version_info),
        request=request,
        media=media,
        plan=done.plan,
        facts=facts,
        run=Run(
            encode_wall_s=encoded_s,
            startup_s=facts.startup_s,
            peak_rss_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            pace=facts.pace.rows,
        ),
        damage=damage,
        timeline=TimelineFacts(
            discontinuities=facts.discontinuities,
            discontinuity_count=facts.discontinuity_count,
            gaps=facts.gaps,
            gap_count=facts.gap_count,
            outlier_count=facts.outlier_count,
            duplicate_count=facts.duplicate_count,
            largest_skew_s=facts.largest_skew_s,
        ),
        output=output,
        proof=done.proof,
        captions=_told(done),
        chapters=[{"start_s": chapter.start_ms / 1000, "title": chapter.title} for chapter in done.plan.chapters],
    )
    judged = Judged(findings=findings, receipt=build(made, findings))
    return judged.accepting() if request.accept_damage else judged


def _assessed(media: MediaInfo, done: Transcoded, reception: Reception | None, pcr_pids: tuple[int, ...]) -> Damage:
    """Put together what the threads noted, and what is known only now."""
    facts, log = done.facts, done.damage
    kept = 1 + len(done.plan.audio)
    made_s = max((float(stream.end_s) for stream in facts.streams[:kept] if stream.end_s is not None), default=0.0)
    faults: Places = []
    counts: dict[int, dict[str, int]] = {}
    if reception is not None:
        if reception.error and not facts.read_error:
            facts.read_error = f"transport packets were not all counted: {reception.error}"
        indices = [done.plan.video.index, *(audio.index for audio in done.plan.audio)]
        infos: tuple[VideoInfo | AudioInfo, ...] = (*media.video, *media.audio)
        pids = {info.pid: indices.index(info.index) for info in infos if info.index in indices}
        faults = note_reception(log, reception.counter, facts, pids)
        counts = counts_by_pid(reception.counter)
        # A part that is scrambled has no timestamps that FFmpeg could read, but the broadcaster's clock runs on.
        clock_s = max((recorded_s(reception.counter, pid, media.content_end) for pid in pcr_pids), default=0.0)
        # It began when the first picture was sent: with B-frames of a slow camera seconds before that was shown.
        ahead_s = SENT_AHEAD / float(done.plan.video.source_rate or done.plan.video.frame_rate)
        if clock_s - made_s > max(LEAST_MISSING_S + ahead_s, clock_s / 100):
            log.note(Kind.GAP, made_s, 0, span_s=clock_s - made_s)
            made_s = clock_s
    shown = witnessed(facts.pauses, [*facts.gaps, *facts.pauses], faults, kept)
    facts.gaps = sorted([*facts.gaps, *shown], key=lambda gap: float(gap["at_s"]))
    facts.gap_count += len(shown)
    for gap in facts.gaps:
        log.note(Kind.GAP, gap["at_s"], int(gap["stream"]), span_s=gap["step_s"])
    if facts.frames_refused:
        log.note(Kind.REFUSED, 0.0, 0, amount=facts.frames_refused)
    planned = {audio.index for audio in done.plan.audio}
    noted = {audio.pid for audio in media.audio if audio.index in planned}  # packet by packet
    for pid in lost_sound(media, done.plan, facts, counts).keys() - noted:
        log.note(Kind.UNDECODABLE, 0.0, pid=pid, amount=counts.get(pid, {}).get("packets", 1))
    return log.assess(made_s, counts, main_sound=min(heard_tracks(done.plan, facts), default=MAIN_SOUND))


def _read_back(
    request: EncodeRequest,
    media: MediaInfo,
    done: Transcoded,
    damage: Damage,
    say: Callable[[Message], None],
) -> tuple[OutputFacts | None, list[Finding]]:
    plan: EncodePlan = done.plan
    try:
        whole = decodes_all(request.verify, request.video.encoder)
        times = OutputTimes()
        output = read_back(request.partial, plan.muxer, whole, _alive(done, say, "verifying"), done.proof, times)
    except (av.error.FFmpegError, OSError) as error:
        evidence = f"the output cannot be opened: {error}"
        return None, [failed("opens", evidence, "See the job's log: encoderd logs JOB")]
    findings = judge(media, plan, done.facts, output, damage=damage, proof=done.proof, captions=_told(done))
    frame_s = float(1 / (plan.video.source_rate or plan.video.frame_rate))
    method = plan.video.deinterlacing.method
    return output, [*findings, judge_times(done.times, times, frame_s, method, _allowed(done))]


def _allowed(done: Transcoded) -> Allowed:
    """Gather what is known to be otherwise with the pictures' times."""
    facts = done.facts
    # A picture that filters refuse takes those with it that they still hold.
    lost = max(0, facts.frames_due - facts.frames_filtered) if facts.frames_refused else 0
    second_fields = len(done.times.source) // 2 if done.plan.video.fields else 0
    return Allowed(
        jumps=facts.discontinuity_count,
        gaps=facts.gap_count,
        outliers=facts.outlier_count,
        lost=facts.streams[0].dropped + facts.frames_refused + lost,
        left_out=facts.frames_left_out + second_fields,
        held=facts.frames_held,
    )


def _told(done: Transcoded) -> dict[str, Any] | None:
    return None if done.captions is None else done.captions.as_json()


def _alive(done: Transcoded, say: Callable[[Message], None], phase: str) -> Callable[[float], None]:
    """Return what says at most once a second which share (0…1) of the output has been through this phase."""
    reported_s = 0.0

    def alive(share: float) -> None:
        nonlocal reported_s
        if time.monotonic() - reported_s >= 1.0:
            reported_s = time.monotonic()
            say(
                Progress(
                    phase=phase,
                    out_time_s=0.0,
                    frames=done.facts.packets_encoded,
                    fps=0.0,
                    speed_x=0.0,
                    size_bytes=0,
                    done_ratio=round(share, 4),
                )
            )

    return alive


def _probed(media: MediaInfo) -> Probed:
    streams = [
        f"video {video.codec} {video.width}x{video.height} {float(video.frame_rate):.3f} frames/s (pid {video.pid:#x})"
        for video in media.video
    ]
    streams += [
        f"audio {audio.codec} {audio.sample_rate_hz} Hz {audio.layout} {audio.language} (pid {audio.pid:#x})"
        for audio in media.audio
    ]
    streams += [f"captions {one.codec} {one.language} (pid {one.pid:#x})" for one in media.captions]
    return Probed(format=media.format, duration_s=float(media.duration_s or 0), streams=[*streams, *media.other])
