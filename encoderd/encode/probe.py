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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import av.error
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Stream
from av.video.stream import VideoStream

from encoderd.encode import transport_stream
from encoderd.encode.failures import crashed, rejected, source_changed
from encoderd.encode.media import AudioInfo, MediaInfo, VideoInfo
from encoderd.encode.pyav import disposition, open_input, pixel_format
from encoderd.jobs import readable

#: libavformat's demuxers of the containers that recorders write; nothing that can refer to another file.
DEMUXERS = "mpegts,mpeg,mov,matroska,avi,wtv,asf,flv"
#: What is read to find the streams: bytes and microseconds. The second pair is for audio that begins late.
PROBE_SIZES = ((20_000_000, 10_000_000), (200_000_000, 60_000_000))
#: Bytes of the head that are looked at for programmes, and of each later place for scrambling alone.
HEAD_BYTES, LATER_BYTES = 2 * 1024 * 1024, 256 * 1024
#: Places after the head. Many recorders' first second is scrambled, until the card answers: one place tells nothing.
LATER_PLACES = 8
#: A recording with a larger share of scrambled packets is rejected with that word.
MAX_SCRAMBLED_RATIO = 0.5
#: What a disk, a share or the kernel says when it cannot read; everything else that FFmpeg says is about the content.
READ_ERRORS = frozenset({errno.EIO, errno.ENXIO, errno.ENODEV, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN})


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """An open recording; `path` is for messages only, FFmpeg reads through `fd`."""

    path: str
    fd: int
    size_bytes: int
    mtime_ns: int
    device: int
    inode: int

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


@contextmanager
def demuxed(recording: Recording) -> Iterator[tuple[InputContainer, MediaInfo]]:
    """
    Open the recording with FFmpeg; yields the container, positioned at its start, and what it holds.

    Raises:
        EncodeFailed: scrambled, or not in a container that recorders write.
    """
    try:
        head = os.pread(recording.fd, HEAD_BYTES, 0)
        begin = transport_stream.sample(head)
        scrambled = 0.0 if begin is None else _scrambled_ratio(recording, begin)
    except OSError as error:
        raise _unreadable(recording.path, error) from error
    if scrambled > MAX_SCRAMBLED_RATIO:
        raise rejected(
            f"The recording is scrambled: {scrambled:.0%} of its packets are encrypted.",
            remedy="Nothing here can descramble it; look at the recorder's card reader (B-CAS, CI) and record again.",
        )
    container = _open(recording, head)
    try:
        media = media_info(container, recording.size_bytes, () if begin is None else begin.programmes)
        yield container, replace(media, scrambled_ratio=scrambled)
    finally:
        container.close()


def _scrambled_ratio(recording: Recording, begin: transport_stream.TransportSample) -> float:
    """Return the share of scrambled packets (0…1) over places that are spread evenly, the head as one of them."""
    ratios = [begin.scrambled_ratio]
    if recording.size_bytes > HEAD_BYTES + LATER_BYTES:
        step = (recording.size_bytes - HEAD_BYTES - LATER_BYTES) // LATER_PLACES
        for number in range(1, LATER_PLACES + 1):
            found = transport_stream.sample(os.pread(recording.fd, LATER_BYTES, HEAD_BYTES + number * step))
            if found is not None:
                ratios.append(found.scrambled_ratio)
    return sum(ratios) / len(ratios)


def _open(recording: Recording, head: bytes) -> InputContainer:
    container: InputContainer | None = None
    for probesize, analyzeduration in PROBE_SIZES:
        if container is not None:
            container.close()
        options = {
            "format_whitelist": DEMUXERS,
            "protocol_whitelist": "file",
            "probesize": str(probesize),
            "analyzeduration": str(analyzeduration),
        }
        try:
            container = open_input(f"/proc/self/fd/{recording.fd}", options)
        except MemoryError:
            raise
        except (av.error.FFmpegError, OSError) as error:
            if error.errno in READ_ERRORS:
                _read_through(recording)
            raise rejected(
                f"This is not a recording that can be read: {describe(head)} (FFmpeg: {error.strerror or error}).",
                remedy="If it plays elsewhere, report it; else delete it or look into the recorder's log.",
            ) from error
        if all(_is_known(stream) for stream in container.streams):
            break
    assert container is not None
    return container


def _is_known(stream: Stream) -> bool:
    """Whether probing found what a decoder needs; a stream that no decoder knows is as known as it can be."""
    context: Any = stream.codec_context
    if isinstance(stream, AudioStream) and context is not None:
        return bool(context.sample_rate)
    return not isinstance(stream, VideoStream) or context is None or bool(context.width)


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


def describe(head: bytes) -> str:
    """Say in words what a file that is no recording looks like, from its first bytes."""
    text = head[:4096].lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"#EXTM3U"):
        return "it is a playlist (M3U)"
    if text.startswith(b"ffconcat"):
        return "it is a concat script"
    if text.startswith((b"<?xml", b"<MPD", b"<")):
        return "it is XML or HTML"
    if text.startswith((b"\xff\xd8\xff", b"\x89PNG", b"GIF8")):
        return "it is a picture"
    if text and all(byte in b"\t\r\n" or 32 <= byte < 127 or byte >= 128 for byte in text) and b"\n" in text:
        return "it is text"
    if transport_stream.packet_shape(head[: 188 * 64]) is not None:
        return "it is a transport stream without usable streams"
    return "its first bytes are those of no container that recorders write"


def media_info(
    container: InputContainer, size_bytes: int, programmes: tuple[transport_stream.Programme, ...] = ()
) -> MediaInfo:
    """
    Return what the container holds. Of several programmes the first that has video is kept, the others are noted.
    """
    chosen, notes = _chosen_pids(container, programmes)
    video, audio, other, starts = [], [], [], []
    for stream in container.streams:
        if chosen is not None and stream.id not in chosen:
            continue
        if stream.codec_context is None:  # no decoder knows it
            other.append(f"unknown {stream.type} (stream {stream.index}, pid {stream.id:#x})")
            continue
        if isinstance(stream, VideoStream) and not disposition(stream) & 0x400:  # an attached picture is no video
            video.append(_video_info(stream))
        elif isinstance(stream, AudioStream):
            audio.append(_audio_info(stream))
        else:
            name = stream.codec_context.name
            other.append(f"{name} (stream {stream.index}, pid {stream.id:#x})")
            continue
        if stream.start_time is not None and stream.time_base is not None:
            starts.append(stream.start_time * stream.time_base)
    return MediaInfo(
        format=container.format.name,
        size_bytes=size_bytes,
        start_s=min(starts, default=None),
        duration_s=None if container.duration is None else Fraction(container.duration, 1_000_000),
        video=tuple(video),
        audio=tuple(audio),
        other=tuple(other),
        comment=container.metadata.get("comment", "") or container.metadata.get("COMMENT", ""),
        notes=notes,
    )


def _chosen_pids(
    container: InputContainer, programmes: tuple[transport_stream.Programme, ...]
) -> tuple[set[int] | None, tuple[str, ...]]:
    if len(programmes) < 2:
        return None, ()
    with_video = {stream.id for stream in container.streams.video}
    for programme in programmes:
        if with_video & set(programme.pids):
            others = [str(other.number) for other in programmes if other is not programme]
            return set(programme.pids), (f"programme {programme.number} kept, left out: {', '.join(others)}",)
    return None, ()


def _video_info(stream: VideoStream) -> VideoInfo:
    context = stream.codec_context
    return VideoInfo(
        index=stream.index,
        pid=stream.id,
        codec=context.name,
        width=context.width,
        height=context.height,
        pix_fmt=pixel_format(context),
        frame_rate=Fraction(stream.guessed_rate or stream.average_rate or 0),
        sample_aspect_ratio=Fraction(stream.sample_aspect_ratio or context.sample_aspect_ratio or 0),
        time_base=Fraction(stream.time_base or 0),
        color_primaries=int(context.color_primaries),
        color_trc=int(context.color_trc),
        colorspace=int(context.colorspace),
        color_range=int(context.color_range),
    )


def _audio_info(stream: AudioStream) -> AudioInfo:
    context = stream.codec_context
    return AudioInfo(
        index=stream.index,
        pid=stream.id,
        codec=context.name,
        sample_rate_hz=context.sample_rate or 0,
        channels=context.channels or 0,
        layout=context.layout.name if context.channels else "",
        bit_rate_bps=context.bit_rate or 0,
        language=stream.language or "",
        title=stream.metadata.get("title", ""),
        default=bool(disposition(stream) & 1),
        time_base=Fraction(stream.time_base or 0),
    )
