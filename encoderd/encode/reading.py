"""
The reading end of a transcode: packets in, placed on the timeline, sorted by track; video decoded.

One track of the output may come from several streams of the demuxer, one after the other: a PID that changed at a
programme's border. The caller owns the input container.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av.error
from av.packet import Packet
from av.video.frame import VideoFrame

from encoderd.encode.audio_plan import AudioPlan
from encoderd.encode.damage import DamageLog, Kind
from encoderd.encode.facts import TranscodeFacts
from encoderd.encode.failures import crashed
from encoderd.encode.media import PACED, STREAMS, CaptionInfo
from encoderd.encode.opening import Opening
from encoderd.encode.pauses import Pauses
from encoderd.encode.picture_decoder import PictureDecoder
from encoderd.encode.picture_times import SourceTimes
from encoderd.encode.pictures import mpeg2_sequence
from encoderd.encode.pipe import Pipe
from encoderd.encode.plan import EncodePlan
from encoderd.encode.probe import READ_ERRORS, Demuxed
from encoderd.encode.pyav import demuxed_packets
from encoderd.encode.reception import Reception
from encoderd.encode.shown_at import ShownAt
from encoderd.encode.timeline import Timeline
from encoderd.encode.video_plan import VIDEO_TIME_BASE, VideoPlan

#: Output time between two notes of where in the file it was read, in ms.
PLACE_EVERY_MS = 500
#: How far behind the pictures of its track a packet of another PID may be.
STALE_S = 0.5
#: Timestamps of pictures that are being decoded, at most: threads and reordering keep fewer.
MOST_DECODING = 512
#: Packets that are read before the first of them is placed: about a second of a recording; fewer where they are large.
AHEAD_PACKETS, AHEAD_BYTES = 160, 4 * 1024 * 1024


class Reader:
    """
    Reads one recording to its end. `run` gives pictures to `pictures`, audio packets to `sound` with the number of
    each track that wants them, and captions to `captions`, and ends these pipes.
    """

    def __init__(
        self,
        source: Demuxed,
        plan: EncodePlan,
        facts: TranscodeFacts,
        damage: DamageLog,
        pictures: Pipe[VideoFrame],
        sound: Pipe[tuple[int, Packet[Any]]],
        captions: Pipe[tuple[int, Any]],
        reception: Reception | None = None,
        times: SourceTimes | None = None,
    ) -> None:
        self._source = source.container
        self._plan = plan
        self._facts = facts
        self._damage = damage
        self._reception = reception
        self._times = times or SourceTimes()
        #: Timestamps of pictures as the timeline placed them → as they were: pts, dts.
        self._source_stamps: tuple[dict[int, int], dict[int, int]] = {}, {}
        self._pictures, self._sound, self._captions = pictures, sound, captions
        self._ends_anywhere = source.media.format in STREAMS
        pauses = Pauses(paced=source.media.format in PACED)
        self._timeline = Timeline(origin_s=source.media.start_s, counted=reception is not None, pauses=pauses)
        self._base_position = source.prefix_bytes - source.media.first_byte
        self._ahead: deque[Packet[Any]] = deque()  # read and announced, not placed yet
        self._ahead_bytes = 0
        self._tracks = tracks(plan)
        rate = plan.video.source_rate or plan.video.frame_rate
        self._shown_at: dict[int, ShownAt[VideoFrame]] = {
            index: ShownAt(
                1 / (rate * Fraction(self._source.streams[index].time_base or VIDEO_TIME_BASE)),
                has_pts=source.media.format != "avi",
            )
            for index, track in self._tracks.items()
            if track == [0]
        }
        self._decoders: dict[int, PictureDecoder] = {}
        #: Of each stream but the pictures': first and last stamp, the last one's duration, that of all; in its ticks.
        self._told: dict[int, list[int | None]] = {}
        #: What the recorder's end cut off, once all was read: the last packet of each stream, and its picture.
        self._cut_off: dict[int, Packet[Any]] = {}
        self._cut_off_picture: VideoFrame | None = None
        self._decoding: int | None = None  # the stream whose pictures are decoded now
        self._decoded_s = 0.0  # how far it is
        self._sequence = b""  # the last MPEG-2 sequence header
        self._opening: Opening | None = Opening(len(plan.audio))
        self._shift_s = Fraction(0)
        self._noted_ms = -PLACE_EVERY_MS

    def run(self) -> None:
        """Read to the end. Raises EncodeFailed (kind crash) when the disk fails, Broken when another thread did."""
        streams = [self._source.streams[index] for index in self._tracks]
        for stream in streams:
            sparse = self._tracks[stream.index][0] > len(self._plan.audio)
            self._timeline.add_stream(stream.index, Fraction(stream.time_base or VIDEO_TIME_BASE), sparse=sparse)
        for packet in self._packets(streams):
            if packet.size:
                self._look_ahead(packet)
        if self._reception is not None:
            self._reception.finish()
        if self._ends_anywhere:
            self._cut_off = {packet.stream_index: packet for packet in self._ahead}
        while self._ahead:
            self._take(self._ahead.popleft())
        if self._decoding is not None:
            self._emit_pictures(self._decoding, None)
        self._release()
        self._pictures.end()
        self._sound.end()
        self._captions.end()
        self._times.zero_s = self._shift_s
        self._note_timeline()

    def _packets(self, streams: list[Any]) -> Iterator[Packet[Any]]:
        """Where FFmpeg makes no sense of the rest, the recording ends; verification judges what is missing."""
        try:
            yield from demuxed_packets(self._source, streams)
        except MemoryError:
            raise
        except (av.error.FFmpegError, OSError) as error:
            if error.errno in READ_ERRORS:
                raise crashed(
                    f"Reading the recording failed: {error.strerror}.",
                    remedy="If the disk or the share reports errors (dmesg), repair that first.",
                ) from error
            self._facts.read_error = error.strerror or str(error)

    def _look_ahead(self, packet: Packet[Any]) -> None:
        """Whether a strange timestamp is a mistake or a jump, only the packets behind it can tell."""
        self._timeline.announce(packet.stream_index, packet.pts, packet.dts, lossy=packet.is_corrupt)
        self._ahead.append(packet)
        self._ahead_bytes += packet.size
        while len(self._ahead) > AHEAD_PACKETS or self._ahead_bytes > AHEAD_BYTES:
            first = self._ahead.popleft()
            self._ahead_bytes -= first.size
            self._take(first)

    def _take(self, packet: Packet[Any]) -> None:
        index = packet.stream_index
        tracks = self._tracks[index]
        source = packet.pts, packet.dts
        packet.pts, packet.dts = self._timeline.place(index, packet.pts, packet.dts, packet.duration or 0)
        self._count(packet, tracks)
        if tracks[0] == 0:
            for known, placed, stamp in zip(self._source_stamps, (packet.pts, packet.dts), source, strict=True):
                if placed is not None and stamp is not None:
                    known[placed] = stamp
                    if len(known) > MOST_DECODING:
                        del known[next(iter(known))]
            self._take_picture(index, packet)
            return
        self._note_sound(index, source, packet)
        self._shift(packet)
        for track in tracks:
            if self._opening is not None:
                self._opening.hold(track, packet)
            else:
                self._send(track, packet)
        if self._opening is not None and self._opening.over:
            self._release()

    def _take_picture(self, index: int, packet: Packet[Any]) -> None:
        """
        Decode a packet of the stream that carries the video now, or of the one that takes over.

        The last packet of a PID that is gone stays in the demuxer until the end of the file: it comes far too late.
        """
        at_s = self._at_s(packet)
        if self._decoding not in {None, index}:
            if at_s < self._decoded_s - STALE_S:
                self._facts.streams[0].dropped += 1
                self._damage.note(Kind.DROPPED, at_s, 0)
                return
            self._emit_pictures(self._decoding, None)
        elif self._is_new_sequence(index, packet):
            self._emit_pictures(index, None)
        self._decoding, self._decoded_s = index, max(at_s, self._decoded_s)
        self._emit_pictures(index, packet)

    def _is_new_sequence(self, index: int, packet: Packet[Any]) -> bool:
        """Whether an MPEG-2 sequence begins that differs: FFmpeg's decoder forgets the picture it still holds there."""
        if not packet.is_keyframe or self._source.streams[index].codec_context.name != "mpeg2video":
            return False
        sequence = mpeg2_sequence(bytes(packet))
        before, self._sequence = self._sequence, sequence or self._sequence
        return bool(before and sequence and before != sequence)

    def _count(self, packet: Packet[Any], tracks: list[int]) -> None:
        # A transport stream's own counters tell what is lost. Of its packets FFmpeg says corrupt also where their PES
        # length is a byte off, and of these nothing is missing (libavformat/mpegts.c, "PES packet size mismatch").
        corrupt = packet.is_corrupt and self._reception is None
        self._facts.corrupt_packets += corrupt
        for track in tracks:
            if track < len(self._facts.streams):
                self._facts.streams[track].packets += 1
                self._facts.streams[track].damaged += corrupt and track == 0  # a track counts what it replaces
        if corrupt:
            self._damage.note(Kind.CORRUPT_PACKET, self._at_s(packet), tracks[0])
        if packet.pos is not None:
            self._facts.last_position = max(self._facts.last_position, packet.pos - self._base_position)
            if self._reception is not None:
                self._reception.demuxed_bytes = self._facts.last_position

    def _note_sound(self, index: int, source: tuple[int | None, int | None], packet: Packet[Any]) -> None:
        """Remember what the recording tells of a track's length; `source` are pts and dts before they were placed."""
        stamp, duration = source[0] if source[0] is not None else source[1], packet.duration or 0
        told = self._told.get(index)
        if told is None:
            self._told[index] = [stamp, stamp, duration, duration]
            return
        if stamp is not None:
            told[0], told[1], told[2] = (stamp if told[0] is None else told[0]), stamp, duration
        told[3] = (told[3] or 0) + duration

    def _at_s(self, item: Any) -> float:
        """Seconds on the output's timeline of what was placed and not shifted yet; without a timestamp, where it is."""
        stamp = item.pts if item.pts is not None else item.dts
        return self._decoded_s if stamp is None else float(stamp * item.time_base - self._shift_s)

    def _emit_pictures(self, index: int, packet: Packet[Any] | None) -> None:
        """Decode; without a packet the decoder is emptied and made ready for whatever comes next on its stream."""
        decoder = self._decoders.get(index)
        if decoder is None:
            threads = self._plan.video.decoder_threads
            decoder = PictureDecoder(self._source.streams[index], threads, self._note_spoilt)
            self._decoders[index] = decoder
        shown_at = self._shown_at[index]
        for frame in decoder.drain() if packet is None else decoder.decode(packet):
            self._facts.frames_decoded += 1
            pts, dts, time_base = frame.pts, frame.dts, Fraction(frame.time_base or VIDEO_TIME_BASE)
            if self._is_cut_off(index, pts, dts):
                self._cut_off_picture = frame
            for at, shown in shown_at.push(frame, pts, dts):
                self._show(shown, at)
            stamp, known = (dts, self._source_stamps[1]) if shown_at.by_dts else (pts, self._source_stamps[0])
            self._times.note(None if stamp is None else known.get(stamp), stamp, time_base)
        if packet is None:
            for at, shown in shown_at.drain():
                self._show(shown, at)

    def _show(self, frame: VideoFrame, at: int | None) -> None:
        frame.pts = at
        if frame.is_corrupt and frame is not self._cut_off_picture:
            self._facts.corrupt_frames += 1
            self._damage.note(Kind.CORRUPT_PICTURE, self._at_s(frame), 0)
        self._shift(frame)
        if self._opening is not None:
            self._opening.hold(0, frame)
            if self._opening.over:
                self._release()
        else:
            self._send(0, frame)

    def _is_cut_off(self, index: int, pts: int | None, dts: int | None) -> bool:
        packet = self._cut_off.get(index)
        if packet is None:
            return False
        return dts == packet.dts if packet.pts is None else pts == packet.pts

    def _note_spoilt(self, packet: Packet[Any]) -> None:
        if packet is self._cut_off.get(packet.stream_index):
            return
        self._facts.decode_errors += 1
        self._facts.streams[0].damaged += 1
        self._damage.note(Kind.UNDECODABLE, self._at_s(packet), 0)

    def _shift(self, item: Any) -> None:
        """Move a packet or frame to where the output's zero is, once that is known."""
        if self._shift_s and item.pts is not None and item.time_base is not None:
            ticks = round(self._shift_s / item.time_base)
            item.pts -= ticks
            if isinstance(item, Packet) and item.dts is not None:
                item.dts -= ticks

    def _release(self) -> None:
        """The opening is over: its earliest picture or sound is the output's zero."""
        opening, self._opening = self._opening, None
        if opening is None:
            return
        self._shift_s = opening.starts_at_s
        self._facts.zero_s = (self._timeline.origin_s or Fraction(0)) + self._shift_s
        shifted: set[int] = set()
        for track, item in opening.held:
            if id(item) not in shifted:  # one packet may belong to two tracks
                shifted.add(id(item))
                self._shift(item)
            self._send(track, item)

    def _send(self, track: int, item: Any) -> None:
        if track == 0:
            self._note_place(item)
            self._pictures.put(item)
        elif track <= len(self._plan.audio):
            self._sound.put((track, item))
        else:
            self._captions.put((track, item))

    def _note_place(self, frame: VideoFrame) -> None:
        if frame.pts is None or frame.time_base is None:
            return
        at_ms = int(frame.pts * frame.time_base * 1000)
        if at_ms >= self._noted_ms + PLACE_EVERY_MS:
            self._noted_ms = at_ms
            self._facts.places.add(at_ms, self._facts.last_position)

    def _note_timeline(self) -> None:
        timeline, facts = self._timeline, self._facts
        timeline.finish(self._decoding)
        pauses = timeline.pauses
        noted = (
            (timeline.discontinuities, facts.discontinuities),
            (pauses.gaps, facts.gaps),
            (pauses.doubtful, facts.pauses),
        )
        for found, record in noted:
            record += [
                {
                    "at_s": round(step.at_s - float(self._shift_s), 3),
                    "step_s": round(step.step_s, 3),
                    "stream": self._tracks[step.stream][0],
                    "kind": str(step.kind),
                }
                for step in found
            ]
        facts.discontinuity_count, facts.gap_count = timeline.discontinuity_count, pauses.gap_count
        facts.outlier_count, facts.duplicate_count = timeline.outlier_count, timeline.duplicate_count
        facts.largest_skew_s = round(timeline.largest_skew_s, 6)
        if not facts.discontinuity_count + facts.outlier_count:
            self._note_ends()

    def _note_ends(self) -> None:
        """One clock from beginning to end: it tells where each track has to end."""
        for index, (first, last, duration, length) in self._told.items():
            for number in self._tracks[index]:
                if not 0 < number <= len(self._plan.audio) or first is None or last is None or not duration:
                    continue
                track, time_base = self._facts.streams[number], Fraction(self._source.streams[index].time_base or 0)
                end_s = (last + duration) * time_base - self._facts.zero_s
                track.told_end_s = end_s if track.told_end_s is None else max(end_s, track.told_end_s)
                if not self._plan.audio[number - 1].also:
                    track.told_by_length_s = (first + (length or 0)) * time_base - self._facts.zero_s


def tracks(plan: EncodePlan) -> dict[int, list[int]]:
    """Return {demuxer stream: the tracks it feeds}; 0 is the video, then audio, captions inside, captions beside."""
    found: dict[int, list[int]] = {}
    planned: tuple[VideoPlan | AudioPlan | CaptionInfo, ...]
    planned = (plan.video, *plan.audio, *plan.inside, *plan.beside)
    for number, track in enumerate(planned):
        for index in (track.index, *track.also):
            found.setdefault(index, []).append(number)
    return found
