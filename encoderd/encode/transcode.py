"""
The pipeline: demux and decode ‖ filter ‖ audio ‖ encode and mux, in four threads with bounded pipes between them (five
for film), and beside them a thread that counts transport errors and one that decodes what was encoded.

FFmpeg's calls release the interpreter lock, so the threads really run beside each other. The caller owns the input
container; the output is closed here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from av.packet import Packet
from av.video.frame import VideoFrame

from encoderd.encode.audio import AudioTrack
from encoderd.encode.audio_plan import AudioPlan
from encoderd.encode.captions import CaptionForms, CaptionsFile, CaptionsWritten
from encoderd.encode.damage import DamageLog, Kind
from encoderd.encode.facts import StreamFacts, TranscodeFacts
from encoderd.encode.failures import not_wanted, rejected
from encoderd.encode.filtering import FilterChain, Filtered
from encoderd.encode.finishing import WrittenSegment
from encoderd.encode.granted import differences
from encoderd.encode.likeness import sampled
from encoderd.encode.media import STREAMS, CaptionInfo
from encoderd.encode.messages import EncodeRequest, Progress, Started
from encoderd.encode.picture_times import SourceTimes
from encoderd.encode.pipe import Breaker, Pipe
from encoderd.encode.plan import EncodePlan
from encoderd.encode.probe import Demuxed
from encoderd.encode.projection import Projection
from encoderd.encode.proof import Proof
from encoderd.encode.pyav import can_set_chapters
from encoderd.encode.reading import Reader
from encoderd.encode.reception import Reception
from encoderd.encode.verify import decodes_all
from encoderd.encode.video_plan import VideoPlan
from encoderd.encode.writer import Writer
from encoderd.encode.written import ProofFacts

#: Frames that may wait between threads. Deep enough to ride out a scene that is hard to encode, shallow enough to
#: stay below 400 MiB at 1080i.
DECODED_FRAMES = 6
MUX_ITEMS = 16
WOVEN_FRAMES = 2
#: Packets of all tracks; sound is small, and reading must not wait for it while it waits for pictures.
SOUND_PACKETS = 512
PROGRESS_EVERY_S = 1.0
#: The usual length of one packet of sound: what a damaged one takes from it. AAC has 1024 samples.
SOUND_S = 1024 / 48_000
NOT_WANTED_REMEDY = (
    "The recording is kept as it is. To encode it all the same: a higher encode.quality number or "
    "encode.max_size_ratio, then encoderd queue retry JOB"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcoded:
    """
    What the pipeline left behind. `plan` has the captions where they really went; `proof` is None without one.

    `segments` are to be joined by `finish_movie`; without any the file is complete.
    """

    plan: EncodePlan
    facts: TranscodeFacts
    damage: DamageLog
    captions: CaptionsWritten | None
    proof: ProofFacts | None
    times: SourceTimes
    segments: tuple[WrittenSegment, ...] = ()


class Transcode:
    """One recording on its way into one file; `run` does all of it, `report` is called with Started and Progress."""

    def __init__(
        self,
        source: Demuxed,
        fd: int,
        plan: EncodePlan,
        request: EncodeRequest,
        report: Callable[[Started | Progress], None],
        process_started_s: float | None = None,
    ) -> None:
        self._source = source
        self._media = source.media
        self._plan = plan
        self._request = request
        self._report = report
        self._breaker = Breaker()
        self._decoded: Pipe[VideoFrame] = Pipe(self._breaker, DECODED_FRAMES)
        self._sound: Pipe[tuple[int, Packet[Any]]] = Pipe(self._breaker, SOUND_PACKETS)
        self._to_mux: Pipe[tuple[int, VideoFrame | Packet[Any]]] = Pipe(self._breaker, MUX_ITEMS, writers=3)
        self._chain = FilterChain(plan.video, request.video_gaps)
        #: Between filter and cadence, where film is woven.
        self._woven: Pipe[Filtered] | None = None
        if plan.video.deinterlacing.decimated:
            self._woven = Pipe(self._breaker, WOVEN_FRAMES)
        self._facts = TranscodeFacts(streams=[])
        rate = plan.video.source_rate or plan.video.frame_rate
        self._damage = DamageLog(picture_s=float(1 / rate), sound_s=SOUND_S)
        media, shape = self._media, source.packet_shape
        self._reception = Reception(fd, media.content_end, shape, media.first_byte) if shape[0] else None
        self._projection = Projection(self._media.size_bytes, request.max_size_ratio)
        self._captions: CaptionsFile | None = None
        #: Tracks that have begun, and when one's last packet was spoilt: it may be the rest of its last frame.
        self._begun: set[int] = set()
        self._spoilt: dict[int, float] = {}
        self._proof: Proof | None = None
        self._times = SourceTimes()
        self._tracks: dict[int, AudioTrack] = {}
        pids = {audio.index: audio.pid for audio in media.audio}
        self._pids = {number: pids[audio.index] for number, audio in enumerate(plan.audio, start=1)}
        self._started_s = time.monotonic()
        self._process_started_s = self._started_s if process_started_s is None else process_started_s
        self._reported_s = 0.0

    def run(self) -> Transcoded:
        """
        Transcode to the end, write the trailer, and return what is known of it.

        Raises:
            EncodeFailed: the encoder or the output failed, the source cannot be read, it has no picture, or the output
                would be larger than is wanted.
        """
        duration_s = self._media.duration_s
        claimed_ms = None if duration_s is None else int(duration_s * 1000)
        container = self._source.container
        writer = Writer(self._plan, self._request.partial, container, self._facts, self._damage, claimed_ms)
        try:
            self._prepare(writer)
            granted = dict(self._facts.granted)
            other = differences(self._plan.video.asked, granted)
            self._report(Started(encoder=self._plan.video.encoder, granted=granted, differences=other))
            self._start()
            try:
                self._mux(writer)
            except BaseException as error:  # noqa: BLE001 - wakes the threads; close() raises it
                self._breaker.trip(error)
                if self._reception is not None:
                    self._reception.stop()  # it waits for the reader, which ends now
            self._breaker.close()
            if self._facts.frames_encoded == 0:
                raise rejected(
                    f"No picture of this recording can be decoded ({self._facts.streams[0].packets} video packets, "
                    f"{self._facts.decode_errors} errors).",
                    remedy="Play it; if a player shows nothing either, look into the recorder's log.",
                )
            self._progress(writer, "draining", now=True)
            segments = writer.finish()
            proof = None if self._proof is None else self._proof.finish()
            written = None if self._captions is None else self._captions.close()
            self._note_pace(writer)
            self._plan = replace(self._plan, chapters=writer.chapters)
        except BaseException:
            self._abandon(writer)
            raise
        return Transcoded(
            plan=self._plan,
            facts=self._facts,
            damage=self._damage,
            captions=written,
            proof=proof,
            times=self._times,
            segments=segments,
        )

    @property
    def reception(self) -> Reception | None:
        """The counter of transport errors; None where the source is no transport stream."""
        return self._reception

    def _prepare(self, writer: Writer) -> None:
        """The output is open: what it takes decides where captions go and what is noted of each stream."""
        plan = self._plan
        outside = [caption for caption in plan.inside if caption not in writer.inside]
        plan = self._plan = replace(plan, inside=writer.inside, beside=(*outside, *plan.beside))
        if (plan.chapters or plan.source_chapters) and not can_set_chapters():
            plan = self._plan = replace(plan, notes=(*plan.notes, "chapters left out: this PyAV cannot write them"))
        streams = self._source.container.streams
        tracks: tuple[VideoPlan | AudioPlan | CaptionInfo, ...] = (plan.video, *plan.audio, *plan.inside)
        self._facts.streams += [StreamFacts(codec=_name(streams[track.index])) for track in tracks]
        if plan.beside:
            kept = [(caption, streams[caption.index]) for caption in plan.beside]
            self._captions = CaptionsFile(self._request.captions, kept, self._source.descriptors)
        for number, audio in enumerate(plan.audio, start=1):
            self._tracks[number] = AudioTrack(audio, writer.stream(number), self._facts.streams[number])
        if decodes_all(self._request.verify, plan.video.encoder):
            self._proof = writer.prove(sampled(None if not self._media.duration_s else float(self._media.duration_s)))

    def _start(self) -> None:
        pipes = (self._decoded, self._sound, self._to_mux)
        reader = Reader(self._source, self._plan, self._facts, self._damage, *pipes, self._reception, self._times)
        self._breaker.run("read", reader.run)
        self._breaker.run("filter", self._filter)
        if self._woven is not None:
            self._breaker.run("repeats", self._find_repeats)
        self._breaker.run("audio", self._hear)
        if self._reception is not None:
            self._breaker.run("count", self._reception.follow)

    def _abandon(self, writer: Writer) -> None:
        if self._reception is not None:
            self._reception.stop()
        if self._proof is not None:
            self._proof.abandon()
        if self._captions is not None:
            self._captions.abandon()
        writer.abandon()

    # --- thread 2: filter

    def _filter(self) -> None:
        filters = self._chain.filters
        for frame in self._decoded:
            for filtered in filters.push(frame):
                self._show(filtered)
        for filtered in filters.drain():
            self._show(filtered)
        self._facts.geometry_changes, self._facts.frames_refused = filters.rebuilds, filters.refused
        if self._woven is None:
            self._all_shown()
        else:
            self._woven.end()

    def _show(self, filtered: Filtered) -> None:
        if self._woven is None:
            self._pass_on(filtered)
        else:
            self._woven.put(filtered)

    def _pass_on(self, filtered: Filtered) -> None:
        for shown in self._chain.showing.push(filtered[0], film=filtered[1]):
            self._facts.frames_filtered += 1
            self._to_mux.put((0, shown))

    def _all_shown(self) -> None:
        showing = self._chain.showing
        self._facts.frames_held, self._facts.frames_left_out = showing.held, showing.left_out
        self._facts.frames_due, self._facts.captions_lost = self._chain.due, showing.captions_lost
        self._to_mux.end()

    # --- and, for film alone: weaving fills a thread, so finding the repeats has one of its own

    def _find_repeats(self) -> None:
        assert self._woven is not None
        for filtered in self._woven:
            self._pass_on(filtered)
        self._all_shown()

    # --- thread 3: audio

    def _hear(self) -> None:
        for number, packet in self._sound:
            self._pass_sound(number, self._tracks[number].push(packet), packet)
        for number, track in self._tracks.items():
            self._pass_sound(number, track.finish(None), None)
        self._to_mux.end()

    def _pass_sound(self, number: int, found: Iterator[Packet[Any]], packet: Packet[Any] | None) -> None:
        """
        Hand on what a track makes of a packet, and note the sound that nobody could decode, and silence where it is.

        A track holds sound until its place is known: silence begins with the packet that comes out with it.
        """
        facts = self._facts.streams[number]
        damaged, filled_s = facts.damaged, facts.filled_s
        at_s = 0.0 if packet is None else _at_s(packet)
        for ready in found:
            if facts.filled_s != filled_s:
                self._damage.note(Kind.FILLED, _at_s(ready), number, span_s=float(facts.filled_s - filled_s))
                filled_s = facts.filled_s
            self._to_mux.put((number, ready))
        self._note_spoilt(number, facts.damaged - damaged, None if packet is None else at_s)
        if facts.filled_s != filled_s:
            self._damage.note(Kind.FILLED, at_s, number, span_s=float(facts.filled_s - filled_s))

    def _note_spoilt(self, number: int, amount: int, at_s: float | None) -> None:
        """
        Note packets of a track that nobody could decode, at the packet `at_s`; None: the track has ended.

        Where recordings begin and end anywhere, one before all others and one behind them are the rest of a frame.
        """
        facts, pid, before_s = self._facts.streams[number], self._pids[number], self._spoilt.pop(number, None)
        is_rest = amount == 1 and self._media.format in STREAMS
        if before_s is not None:
            if at_s is None and not amount:
                facts.damaged -= 1
            else:
                self._damage.note(Kind.UNDECODABLE, before_s, number, pid=pid)
        if is_rest and (number not in self._begun or (at_s is None and before_s is None)):
            facts.damaged -= 1
        elif is_rest and at_s is not None:
            self._spoilt[number] = at_s
        elif amount:
            self._damage.note(Kind.UNDECODABLE, at_s or 0.0, number, pid=pid, amount=amount)
        if amount or facts.heard:
            self._begun.add(number)

    # --- thread 4 (the caller's): encode and mux

    def _mux(self, writer: Writer) -> None:
        plan, first = self._plan, 1 + len(self._plan.audio)
        forms = CaptionForms(dict(enumerate((*plan.inside, *plan.beside), start=first)))
        for number, item in self._to_mux:
            if isinstance(item, Packet) and number >= first:
                self._write_captions(writer, forms.push(number, item))
            else:
                writer.write(number, item)
            if isinstance(item, VideoFrame) and item.pts is not None:
                self._write_captions(writer, forms.reached(item.pts * Fraction(item.time_base or 0)))
            if self._facts.packets_encoded and not self._facts.startup_s:
                self._facts.startup_s = round(time.monotonic() - self._process_started_s, 3)
            self._progress(writer, "encoding")
        self._write_captions(writer, forms.finish())

    def _write_captions(self, writer: Writer, captions: Iterable[tuple[int, Packet[Any]]]) -> None:
        inside = len(self._facts.streams)
        for number, packet in captions:
            if number < inside:
                writer.write(number, packet)
            elif self._captions is not None:
                self._captions.write(number - inside, packet)

    def _progress(self, writer: Writer, phase: str, now: bool = False) -> None:
        at_s = time.monotonic()
        if not now and at_s - self._reported_s < PROGRESS_EVERY_S:
            return
        self._reported_s = at_s
        wall_s = max(at_s - self._started_s, 1e-6)
        size, written = self._media.size_bytes, writer.size_bytes
        self._note_pace(writer)
        self._report(
            Progress(
                phase=phase,
                out_time_s=round(writer.out_time_s, 3),
                frames=self._facts.packets_encoded,
                fps=round(self._facts.packets_encoded / wall_s, 1),
                speed_x=round(writer.out_time_s / wall_s, 2),
                size_bytes=written,
                done_ratio=round(min(1.0, self._facts.last_position / size), 4) if size else 0.0,
            )
        )
        too_large = self._projection.judge(self._facts.last_position, written, writer.out_time_s)
        if too_large:
            raise not_wanted(too_large, NOT_WANTED_REMEDY)

    def _note_pace(self, writer: Writer) -> None:
        wall_ms = int((time.monotonic() - self._started_s) * 1000)
        self._facts.pace.add(int(writer.out_time_s * 1000), wall_ms, writer.size_bytes)


def _at_s(packet: Packet[Any]) -> float:
    return 0.0 if packet.pts is None or packet.time_base is None else float(packet.pts * packet.time_base)


def _name(stream: Any) -> str:
    return "" if stream.codec_context is None else str(stream.codec_context.name)
