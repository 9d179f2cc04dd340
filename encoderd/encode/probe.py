"""
File → MediaInfo. Input is hostile until probed.

Only regular files are opened, through a descriptor whose identity was compared with the admitted recording; FFmpeg
reopens that very inode. Only the file protocol and an allow-list of demuxers are enabled: a playlist, a concat script
or an image named .ts is refused before it can name another file or an address.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import av.error
from av.container import InputContainer

from encoderd.encode import transport_stream
from encoderd.encode.audio_examples import audio_examples
from encoderd.encode.bounds import absurd_index
from encoderd.encode.chapters import are_marked, of_source
from encoderd.encode.containers import Lack, describe, encrypted, movie_index_of, tracks_of
from encoderd.encode.content_range import MOST_HOLE, Content, content_of
from encoderd.encode.contents import is_known, media_info
from encoderd.encode.dolby_vision import in_tracks
from encoderd.encode.elementary_streams import Kind
from encoderd.encode.failures import EncodeFailed, crashed, rejected, source_changed
from encoderd.encode.joined_input import PLACE_BYTES, joining_prefix, open_joined
from encoderd.encode.matroska_chapters import inner_chapters
from encoderd.encode.media import LeftOut, MediaInfo, Service
from encoderd.encode.programmes import Choice, choose, late_pids, layout, with_components
from encoderd.encode.pyav import chapters_of, open_input
from encoderd.encode.service_information import read_services, service
from encoderd.encode.stated_end import stated_end
from encoderd.encode.transport_stream import NULL_PID, TransportSample, packet_shape
from encoderd.jobs import readable

#: libavformat's demuxers of the containers that recorders write; nothing that can refer to another file.
DEMUXERS = "mpegts,mpeg,mov,matroska,avi,wtv,asf,flv"
#: What is read to find the streams: bytes and microseconds. The second pair is for audio that begins late.
PROBE_SIZES = ((20_000_000, 10_000_000), (200_000_000, 60_000_000))
#: Bytes of the head that are looked at for tables, and of each later place.
HEAD_BYTES, LATER_BYTES = 2 * 1024 * 1024, 1024 * 1024
#: Places after the head. Many recorders' first second is scrambled, until the card answers: one place tells nothing;
#: and a stream that is there for a part of the recording only must be met in one of them.
LATER_PLACES = 16
#: Of these, places that FFmpeg is shown beforehand when streams begin later.
MOST_JOINED = 4
#: A program stream begins with this (ISO/IEC 13818-1, 2.5.3.4).
PACK = b"\0\0\1\xba"
#: A recording with a larger share of scrambled packets is rejected with that word.
MAX_SCRAMBLED_RATIO = 0.5
#: What a disk, a share or the kernel says when it cannot read; everything else that FFmpeg says is about the content.
READ_ERRORS = frozenset({errno.EIO, errno.ENXIO, errno.ENODEV, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN})

USELESS = Lack(
    "it is a transport stream without usable streams",
    "Play it; if a player shows nothing either, look into the recorder's log.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """An open recording; `path` is for messages only, FFmpeg reads through `fd`."""

    path: str
    fd: int
    size_bytes: int
    mtime_ns: int
    device: int
    inode: int

    def read(self, at: int, length: int) -> bytes:
        """Return bytes of the file, fewer at its end."""
        return os.pread(self.fd, length, at)

    def check_unchanged(self) -> None:
        """
        Compare the file under this name with the one that is open.

        Raises:
            EncodeFailed: it grew, shrank, was rewritten, replaced or removed (event source_changed).
        """
        now = os.fstat(self.fd)
        if (now.st_size, now.st_mtime_ns) != (self.size_bytes, self.mtime_ns):
            raise source_changed(
                f"The recording changed while it was encoded: {self.size_bytes} bytes then, {now.st_size} now."
            )
        try:
            named = os.stat(self.path)
        except OSError as error:
            raise source_changed(f"The recording is no longer there ({error.strerror}).") from error
        if (named.st_dev, named.st_ino) != (self.device, self.inode):
            raise source_changed("The recording was replaced by another file of the same name while it was encoded.")


@contextmanager
def open_recording(path: str, size_bytes: int, mtime_ns: int) -> Iterator[Recording]:
    """
    Open the recording that was admitted with this size and mtime; closes it in the end.

    Raises:
        EncodeFailed: it is gone, unreadable, empty, not a regular file, or no longer the same.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise source_changed("The recording is no longer there.") from error
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise rejected(
                "This is not a regular file (a folder, a pipe or a device).", remedy="Remove it from the watch folder."
            )
        if (found.st_size, found.st_mtime_ns) != (size_bytes, mtime_ns):
            raise source_changed(
                f"The recording changed after it was admitted: {size_bytes} bytes then, {found.st_size} now."
            )
        if found.st_size == 0:
            raise rejected("The recording is empty (0 bytes).", remedy="Delete it, or look into the recorder's log.")
        yield Recording(
            path=path,
            fd=fd,
            size_bytes=found.st_size,
            mtime_ns=found.st_mtime_ns,
            device=found.st_dev,
            inode=found.st_ino,
        )
    finally:
        os.close(fd)


def _unreadable(path: str, error: OSError) -> Exception:
    if isinstance(error, PermissionError):
        return rejected(
            f"The daemon may not read {readable(path)} ({error.strerror}).",
            remedy="Give its user read permission (chmod o+r FILE, or a group of both), then: encoderd queue retry JOB",
        )
    return crashed(
        f"The recording cannot be read: {error.strerror}.",
        remedy="If the disk or the share reports errors (dmesg), repair that first.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """A piece of a transport stream: where it begins in the file, its bytes, and what they tell."""

    at: int
    data: bytes
    told: TransportSample


@dataclass(frozen=True, slots=True, kw_only=True)
class Demuxed:
    """
    A recording that FFmpeg has open: `container`, positioned at its start, and what it holds.

    `prefix_bytes` were shown to FFmpeg before the recording: the positions of packets count from there. `packet_shape`
    is (packet size, bytes before the sync byte) of a transport stream, else (0, 0). `examples` has by audio stream a
    packet of the form that most of it has; `pcr_pids` carry the programme's clock; `descriptors` has by PID what the
    tables say of captions.
    """

    container: InputContainer
    media: MediaInfo
    prefix_bytes: int = 0
    packet_shape: tuple[int, int] = (0, 0)
    examples: Mapping[int, bytes] = field(default_factory=dict)
    pcr_pids: tuple[int, ...] = ()
    descriptors: Mapping[int, bytes] = field(default_factory=dict)


@contextmanager
def demuxed(recording: Recording, programme: int = 0) -> Iterator[Demuxed]:
    """
    Open the recording with FFmpeg, and close it in the end.

    Of several programmes the one with the number `programme` is looked at, with 0 the one that has most video.

    Raises:
        EncodeFailed: scrambled, not in a container that recorders write, or without that programme.
    """
    try:
        head = os.pread(recording.fd, HEAD_BYTES, 0)
        content = content_of(head, recording.size_bytes, recording.read)
        if content.begin:
            head = os.pread(recording.fd, HEAD_BYTES, content.begin)
        places = _places(recording, head, content)
    except OSError as error:
        raise _unreadable(recording.path, error) from error
    hidden = encrypted(head, recording.read)
    hidden = hidden or absurd_index(movie_index_of(head, recording.read), recording.size_bytes)
    if hidden is not None:
        raise rejected(f"This recording cannot be read: {hidden.what}.", remedy=hidden.remedy)
    choice, told = _chosen(places, programme)
    scrambled = _scrambled_ratio(places, choice)
    if scrambled > MAX_SCRAMBLED_RATIO:
        raise rejected(
            f"The recording is scrambled: {scrambled:.0%} of its packets are encrypted.",
            remedy="Nothing here can descramble it; look at the recorder's card reader (B-CAS, CI) and record again.",
        )
    late = frozenset() if choice.programme is None else late_pids(choice.programme, _first_seen(places[0].told))
    prefix = b"" if choice.programme is None else _prefix(recording, head, places, choice.programme.number, late)
    container = _open(recording, head, prefix, content)
    try:
        kept = choice.programme
        examples = (
            {}
            if kept is None
            else audio_examples(
                [place.data for place in places],
                [(pid, track.codec) for track in kept.tracks if track.kind is Kind.AUDIO for pid in track.pids],
            )
        )
        media = media_info(container, recording.size_bytes, choice, told, examples, late)
        media = replace(media, stated_end=stated_end(head, recording.size_bytes, recording.read))
        if not places and chapters_of(container) is None and are_marked(head, _tail(recording)):
            unread = LeftOut(what="chapters", reason="this PyAV reads none", matters=True)
            media = replace(media, left_out=(*media.left_out, unread))
        elif "matroska" in media.format and (inner := inner_chapters(head) or inner_chapters(_tail(recording))):
            both = of_source([*media.chapters, *inner])
            media = replace(media, chapters=both.chapters, notes=(*media.notes, *both.notes))
        if not places and (found := in_tracks(tracks_of(head, recording.read))) is not None:
            media = replace(media, video=tuple(replace(one, dolby_vision=found) for one in media.video))
        shape = packet_shape(head) if media.format == "mpegts" else None
        del places, head  # tens of megabytes that nobody needs while it is encoded
        yield Demuxed(
            container=container,
            media=replace(media, scrambled_ratio=scrambled, first_byte=content.begin, end_byte=content.end),
            prefix_bytes=len(prefix),
            packet_shape=(0, 0) if shape is None else (shape[0], shape[2]),
            pcr_pids=() if kept is None else kept.pcr_pids,
            descriptors={}
            if kept is None
            else {pid: one.descriptors for one in kept.tracks if one.kind is Kind.CAPTIONS for pid in one.pids},
            examples={stream.index: examples[stream.pid] for stream in media.audio if stream.pid in examples},
        )
    finally:
        container.close()


def _places(recording: Recording, head: bytes, content: Content) -> list[_Place]:
    """Return the head of a transport stream and pieces of it that are spread evenly; none of another container."""
    begin = transport_stream.sample(head)
    if begin is None:
        return []
    found = [_Place(at=content.begin, data=head, told=begin)]
    length = content.end - content.begin
    if length > HEAD_BYTES + LATER_BYTES:
        step = (length - LATER_BYTES) // LATER_PLACES
        for number in range(1, LATER_PLACES + 1):
            at = content.begin + number * step
            data = os.pread(recording.fd, LATER_BYTES, at)
            told = transport_stream.sample(data)
            if told is not None:
                found.append(_Place(at=at, data=data, told=told))
    return found


def _tail(recording: Recording) -> bytes:
    try:
        return os.pread(recording.fd, HEAD_BYTES, max(0, recording.size_bytes - HEAD_BYTES))
    except OSError as error:
        raise _unreadable(recording.path, error) from error


def _chosen(places: Sequence[_Place], wish: int) -> tuple[Choice, Service]:
    """Return the programme that is kept, with what its broadcaster says of it."""
    choice = choose(layout([(float(place.at), place.told) for place in places]), wish if places else 0)
    if choice.unknown:
        there = ", ".join(map(str, choice.others)) or "none"
        raise rejected(
            f"There is no programme {choice.unknown} in this recording; there are: {there}.",
            remedy='Set encode.programme to one of them, or to "auto".',
        )
    programme = choice.programme
    if programme is None:
        return choice, Service()
    pcr_pid = programme.pcr_pids[0] if programme.pcr_pids else NULL_PID
    told, event = service([read_services(place.data, pcr_pid) for place in places], programme.number)
    if event is not None:
        choice = replace(choice, programme=with_components(programme, event.components))
    return choice, told


def _scrambled_ratio(places: Sequence[_Place], choice: Choice) -> float:
    """Return the share (0…1) of the kept programme that is encrypted; of all packets where there is none."""
    if not places:
        return 0.0
    ratios = []
    for place in places:
        told = place.told
        if choice.programme is None:
            ratios.append(told.scrambled_ratio)
            continue
        hidden = sum(told.scrambled_by_pid.get(pid, 0) for pid in choice.programme.pids)
        clear = sum(told.bytes_by_pid.get(pid, 0) for pid in choice.programme.pids)
        ratios.append(hidden / (hidden + clear) if hidden else 0.0)
    return sum(ratios) / len(ratios)


def _first_seen(told: TransportSample) -> TransportSample:
    """The head as FFmpeg's probing meets it: it stops when it knows all streams of the first tables."""
    first = {table.number: table for table in reversed(told.tables)}
    return replace(told, programmes=tuple(first.values()))


def _prefix(recording: Recording, head: bytes, places: Sequence[_Place], number: int, late: Collection[int]) -> bytes:
    """Return what FFmpeg has to see before the recording, so that it knows streams that begin later; mostly nothing."""
    if not late:
        return b""
    shown = [place for place in places if not place.told.bytes_by_pid.keys().isdisjoint(late)]
    try:
        pieces = [os.pread(recording.fd, 2 * PLACE_BYTES, place.at) for place in shown[:MOST_JOINED]]
    except OSError as error:
        raise _unreadable(recording.path, error) from error
    return joining_prefix(head, pieces, number, late)


def _open(recording: Recording, head: bytes, prefix: bytes, content: Content) -> InputContainer:
    container: InputContainer | None = None
    source = content.url(recording.fd, framed=content.packets or head.startswith(PACK))
    for probesize, analyzeduration in PROBE_SIZES:
        if container is not None:
            container.close()
        options = {
            "format_whitelist": DEMUXERS,
            "protocol_whitelist": "subfile,file",
            "probesize": str(probesize),
            "analyzeduration": str(analyzeduration),
        }
        if content.packets:
            options["resync_size"] = str(MOST_HOLE)
        try:
            container = open_joined(source, prefix, options) if prefix else open_input(source, options)
        except MemoryError:
            raise
        except (av.error.FFmpegError, OSError) as error:
            if error.errno in READ_ERRORS:
                _read_through(recording)
            raise _no_recording(recording, head, f" (FFmpeg: {error.strerror or error})") from error
        if all(is_known(stream) for stream in container.streams):
            break
    assert container is not None
    if not container.streams:
        container.close()
        raise _no_recording(recording, head)
    return container


def _no_recording(recording: Recording, head: bytes, said: str = "") -> EncodeFailed:
    """What FFmpeg does not open, or finds nothing in; `said` are its words."""
    shape = packet_shape(head[: 188 * 64])
    lack = describe(head, recording.read) if shape is None else USELESS
    return rejected(f"This is not a recording that can be read: {lack.what}{said}.", remedy=lack.remedy)


def _read_through(recording: Recording) -> None:
    """
    Tell a disk that fails from a file that is cut off: FFmpeg has one number (EIO) for both.

    Raises:
        EncodeFailed: kind crash; the disk or the share cannot be read where FFmpeg probed.
    """
    try:
        for at in range(0, min(recording.size_bytes, PROBE_SIZES[0][0]), HEAD_BYTES):
            os.pread(recording.fd, HEAD_BYTES, at)
    except OSError as error:
        raise _unreadable(recording.path, error) from error
